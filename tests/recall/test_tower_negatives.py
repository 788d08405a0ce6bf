"""Hard negatives from answers, replays, a file or a behaviour; shown items are refused."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.recall.two_tower import _hard_negatives as module
from tamis.recall.two_tower._hard_negatives import hard_negatives
from tamis.recall.two_tower.two_tower import TwoTower
from tamis.schema import Behaviour, ConfigError, DataError, TrainingError
from tamis.testing import two_clans

FAST = {"embedding_dim": 8, "epochs": 20, "batch_size": 8, "learning_rate": 0.03}


def shown():
    """Two clans, whose clicks on the other clan's items are impressions."""
    data = two_clans()
    kinds = (data.behaviours[0], Behaviour(name="seen", impression=True))
    return replace(data, behaviours=kinds)


def rejected(tmp_path, data, rows, **columns):
    users, items = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            "user_id": data.users.ids.gather(list(users)),
            "item_id": data.items.ids.gather(list(items)),
            **columns,
        }
    )
    path = tmp_path / "rejected.parquet"
    frame.write_parquet(path)
    return str(path)


@pytest.mark.parametrize("given", ["impressions", "seen", "behaviour:seen", "Shown"])
def test_shown_items_are_refused_as_negatives(given):
    with pytest.raises(ConfigError, match=r"lowers the scores of good matches.*weak positives"):
        hard_negatives(given, shown())
    with pytest.raises(ConfigError, match="refused as negatives of recall"):
        TwoTower(hard_negatives=given).fit(shown())


def test_pairs_that_were_shown_are_refused_with_their_count(tmp_path):
    data = shown()
    path = rejected(tmp_path, data, [(4, 3), (0, 1), (2, 1), (3, 2), (5, 0)])
    with pytest.raises(
        TrainingError, match=r"3 of 5 rows .* first user 'u0' and item 'i1'.*lowers the scores"
    ):
        hard_negatives(path, data)


def test_a_file_of_rejected_candidates(tmp_path):
    data = shown()
    mine = int(data.events.item[(data.events.user == 6) & data.positive][0])
    rows = [(6, 5), (6, mine), (6, 3), (7, 2), (7, 2)]
    path = rejected(tmp_path, data, rows, time=[0, 0, data.end, 5, data.end - 1])
    hard = hard_negatives(path, data)
    assert hard.counts(np.array([5, 6, 7])).tolist() == [
        0,
        1,
        1,
    ]  # a like and a future row are left out
    assert hard.pairs(np.array([6, 7]))[1].tolist() == [5, 2]
    unknown = pl.read_parquet(path).with_columns(pl.lit("nobody").alias("user_id"))
    unknown.write_parquet(path)
    assert not len(hard_negatives(path, data).item)


def test_a_behaviour_can_mean_a_rejection():
    data = two_clans()
    hard = hard_negatives("click", data)
    assert (hard.counts(np.arange(24)) == 1).all()
    assert hard.pairs(np.arange(2))[1].tolist() == [1, 0]
    with pytest.raises(ConfigError, match="is positive"):
        hard_negatives("like", data)


def test_a_name_that_is_neither_a_file_nor_a_behaviour(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"neither 'log' nor 'replays' nor a file .* behaviour of the log \(click\)",
    ):
        hard_negatives("nothing.parquet", two_clans())
    pl.DataFrame({"user": ["u1"]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column user_id, item_id, only user"):
        hard_negatives(str(tmp_path / "x.parquet"), two_clans())


@pytest.mark.parametrize("loss", ["pointwise", "logistic"])
def test_hard_negatives_get_lower_scores(loss, tmp_path):
    """An item that its users rejected falls below one that others rejected. (In the softmax losses,
    the logQ correction compensates for hard ones being drawn more often.)"""
    data = two_clans()
    path = rejected(tmp_path, data, [(u, 4 if u % 4 == 0 else 6) for u in range(0, 24, 2)])
    mix = {"uniform": 0.5, "hard": 0.5}
    options = FAST | {"dropout": 0.0, "user_id": True, "loss": loss, "negatives": 8}
    channel = TwoTower(**options, hard_negatives=path, mix=mix).fit(data)
    plain = TwoTower(**options).fit(data)
    even = list(range(0, 24, 2))

    def margin(one):
        users = one.user_vectors(at_end(data, np.array(even, np.int32), False))
        scores = users @ one.item_vectors()[[4, 6]].T
        own = np.array([0 if u % 4 == 0 else 1 for u in even])
        rows = np.arange(len(even))
        liked = [[(data.positive & (data.events.user == u) & (data.events.item == i)).any()
                  for i in (4, 6)] for u in even]  # fmt: skip
        free = ~np.array(liked)[rows, own]
        return (scores[rows, own] - scores[rows, 1 - own])[free].mean()

    assert margin(channel) < margin(plain)


def test_rejections_of_replays_leave_out_what_the_user_met():
    """Likes, clicks and impressions of the pair, and rows that are not before the log's end."""
    data = shown()
    events = data.events
    mine = int(events.item[(events.user == 6) & data.positive][0])
    seen = int(events.item[(events.user == 6) & ~data.positive][0])
    new = next(i for i in range(16) if not ((events.user == 6) & (events.item == i)).any())
    frame = pl.DataFrame(
        {
            "user_id": ["u6"] * 4 + ["nobody"],
            "item_id": [f"i{mine}", f"i{seen}", f"i{new}", f"i{new}", f"i{new}"],
            "time": [0, 0, data.end - 1, data.end, 0],
        }
    )
    hard = hard_negatives("replays", data, FitContext(rejected=frame))
    assert hard.item.tolist() == [new]
    late = hard_negatives("replays", data, FitContext(rejected=frame[3:]))
    assert not len(late.item)


def pairs(*rows, shown=None):
    """A frame of rejections: (user number, item number, time), with the times of `shown`."""
    users, items, times = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "item_id": [f"i{item}" for item in items],
            "time": times,
            "shown": pl.Series(shown or [None] * len(rows), dtype=pl.Int64),
        }
    )


def unmet(data, user):
    """Items of which the log has no event of the user."""
    met = set(data.events.item[data.events.user == user].tolist())
    return [item for item in range(len(data.items)) if item not in met]


def learnt(hard, user):
    return sorted(hard.pairs(np.array([user]))[1].tolist())


def test_rejections_of_answers_count_from_before_the_end_without_what_was_met_or_shown():
    data = shown()
    a, b, c, d, *_ = unmet(data, 6)
    met = int(data.events.item[data.events.user == 6][0])
    end = data.end
    frame = pairs(
        (6, a, end - 1), (6, b, end), (6, met, 0), (6, c, 5), (6, d, 5),
        shown=[None, None, None, end - 1, end],
    )  # fmt: skip
    hard = hard_negatives("log", data, FitContext(rejected_live=frame))
    assert learnt(hard, 6) == sorted([a, d])  # d was shown only after the end
    assert hard.sources == {"log": 2, "replays": 0}
    assert not len(hard_negatives("replays", data, FitContext(rejected=frame[:0])).item)


def test_users_with_few_rejections_in_answers_get_those_of_replays(monkeypatch):
    monkeypatch.setattr(module, "FEW", 2)
    data = shown()
    (a, b, c, *_), (d, e, *_) = unmet(data, 6), unmet(data, 7)
    live = pairs((6, a, 1), (6, b, 2), (7, d, 3))
    replays = pairs((6, c, 0), (7, d, 0), (7, e, 0), (8, unmet(data, 8)[0], 0)).drop("shown")
    hard = hard_negatives("log", data, FitContext(rejected_live=live, rejected=replays))
    assert learnt(hard, 6) == sorted([a, b])
    assert learnt(hard, 7) == sorted([d, e])
    assert hard.sources == {"log": 3, "replays": 2}
    alone = hard_negatives("log", data, FitContext(rejected=replays))
    assert alone.sources == {"log": 0, "replays": 4}
    with pytest.raises(ConfigError, match="no answers of a service and no replays"):
        hard_negatives("log", data)


def test_the_newest_rejections_of_a_user_count(monkeypatch):
    monkeypatch.setattr(module, "PER_USER", 2)
    data = shown()
    a, b, c, *_ = unmet(data, 6)
    frame = pairs((6, a, 3), (6, b, 1), (6, c, 2), (7, unmet(data, 7)[0], 0))
    hard = hard_negatives("log", data, FitContext(rejected_live=frame))
    assert learnt(hard, 6) == sorted([a, c])
    assert hard.sources == {"log": 3, "replays": 0}
