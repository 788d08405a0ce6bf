"""A log with the positions of impressions: the ranker knows them in training, and only there."""

import numpy as np
import polars as pl
import pytest

import tamis

CONFIG = """
name = "places"
clock = "data"
windows = []
[events]
path = "events.csv"
time_unit = "s"
behaviour = "behaviour"
request = "request"
{position}
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[tasks.click]
[[features]]
kind = "sparse"
name = "item_id"
[cascade.channels.hot]
[cascade.rank]
use = "lr"
epochs = 12
learning_rate = 0.05
"""


def log_of_slates(requests=3000, items=20):
    """Slates of 6 items, of which the first half of the items mostly stand at the top; all items
    are equally liked, and a place is clicked the less the lower it is."""
    draw = np.random.default_rng(4)
    rows = []
    for r in range(requests):
        shown = draw.permutation(items)[:6]
        order = shown[np.argsort(np.where(shown < items // 2, 0.0, 1.0) + draw.normal(0, 0.5, 6))]
        clicked = draw.random(6) < 0.6 / np.arange(1, 7)
        user, time = f"u{draw.integers(300)}", 1_700_000_000 + r * 60
        for k, item in enumerate(order):
            rows.append((user, f"i{item}", time, "show", r, k + 1))
            if clicked[k]:
                rows.append((user, f"i{item}", time + 5, "click", r, None))
    columns = ["user_id", "item_id", "time", "behaviour", "request", "place"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def scores(folder, position):
    """The served scores of all items for one user, those of the favoured half and the others."""
    (folder / "tamis.toml").write_text(CONFIG.format(position=position))
    project = tamis.open(folder)
    project.train()
    rows = pl.DataFrame({"user_id": ["u1"] * 20, "item_id": [f"i{k}" for k in range(20)]})
    project.score(rows, folder / "scores.csv")
    score = pl.read_csv(folder / "scores.csv")["score"].to_numpy()
    return score[:10], score[10:]


@pytest.mark.filterwarnings("ignore::tamis.schema.TamisWarning")
def test_a_place_at_the_top_is_not_taken_for_interest_in_the_item(tmp_path):
    log_of_slates().write_csv(tmp_path / "events.csv")
    top, low = scores(tmp_path, "")
    known_top, known_low = scores(tmp_path, 'position = "place"')
    # All items are equally liked: what is left of the gap between the halves is estimation error.
    gap, known_gap = np.log(top.mean() / low.mean()), np.log(known_top.mean() / known_low.mean())
    assert gap > 0.3
    assert abs(known_gap) < 0.7 * gap
    # Requests do not know the place: the scores are those of the mean place.
    assert 0.1 < known_top.mean() < 0.5
