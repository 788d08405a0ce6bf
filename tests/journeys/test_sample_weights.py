"""`sample_weight` of events and tasks: from the table to the rows that scorers are fitted on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.data import read_dataset
from tamis.jobs._trainer import choice_rows
from tamis.schema import DataError, parse_config
from tamis.service import ProjectFolder, registry

CONFIG = """
name = "weights"
[events]
path = "events.csv"
behaviour = "what"
request = "request"
sample_weight = "weight"
[items]
path = "items.csv"
id = "item_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[behaviours.buy]
positive = true
[tasks.click]
[tasks.buy]
sample_weight = "price"
[split]
windows = 2
[cascade.channels.hot]
[cascade.rank]
use = "lr"
"""
SHOWN = 0.5
"""Weight of impressions; that of a click is 2 or empty, that of a purchase its price, 3 … 7."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    draw = np.random.default_rng(0)
    rows = []
    for request in range(400):
        user, time = int(draw.integers(0, 30)), 1_700_000_000 + 3600 * request
        for item in draw.choice(12, 3, replace=False).tolist():
            rows.append((user, item, "show", time, request, SHOWN, SHOWN))
            if draw.random() < 0.3 + 0.04 * item:
                rows.append((user, item, "click", time + 1, request, 2 if item % 2 else None, 9))
                if draw.random() < 0.4:
                    price = 3 + item % 5
                    rows.append((user, item, "buy", time + 2, request, 1, price))
    columns = ["user_id", "item_id", "what", "time", "request", "weight", "price"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / "events.csv")
    items = {"item_id": range(12), "kind": [f"k{i % 3}" for i in range(12)]}
    pl.DataFrame(items).write_csv(folder / "items.csv")
    (folder / "tamis.toml").write_text(CONFIG)
    return folder


def test_rows_have_the_weights_of_their_events_and_scorers_read_them(project: Path):
    made = choice_rows(ProjectFolder(project))
    labels, weights = made.rows.labels, made.rows.weights
    assert made.valid.weights is None  # metrics are not weighted
    assert weights.shape == labels.shape
    assert set(weights[labels[:, 0] == 1, 0]) == {2.0, 1.0}  # an empty cell is 1
    assert set(weights[labels[:, 0] == 0, 0]) == {SHOWN}
    bought = set(weights[labels[:, 1] == 1, 1].tolist())
    assert len(bought) > 2
    assert bought <= {3.0, 4.0, 5.0, 6.0, 7.0}
    assert set(weights[labels[:, 1] == 0, 1]) == {SHOWN}
    plain = replace(made.rows, weights=None, _tensors={})
    small: dict[str, dict[str, Any]] = {
        "lr": {"epochs": 2},
        "deepfm": {"epochs": 2, "hidden_units": (4,), "embedding_dim": 2},
        "gbdt": {"trees": 10, "min_leaf": 10},
    }
    for kind in ("rank", "prerank"):
        for name, options in small.items():
            if name not in registry.available(kind):
                continue
            build = registry.available(kind)[name]
            scorer, other = (
                build(**options, calibrate="none").fit(rows, None, made.tasks, None)
                for rows in (made.rows, plain)
            )
            both = scorer.score_rows(made.valid), other.score_rows(made.valid)
            for task in ("click", "buy"):
                assert not np.allclose(both[0][task], both[1][task], atol=1e-3), (kind, name, task)


@pytest.mark.parametrize(
    ("value", "shown"), [("-1", "-1"), ("inf", "inf"), ("heavy", "heavy"), ("1e60", "1e60")]
)
def test_an_impossible_weight_is_an_error_with_its_row(tmp_path: Path, value: str, shown: str):
    lines = ["user_id,item_id,what,time,request,weight,price"]
    lines += [f"u,{k},show,{k + 1},1,0,1" for k in range(9)]
    lines[4] = lines[4].replace(",1,0,1", f",1,{value},1")
    (tmp_path / "events.csv").write_text("\n".join(lines))
    (tmp_path / "items.csv").write_text("item_id,kind\n1,a\n")
    message = (
        rf"events.csv, row 5: .*{shown}.* in `weight` .*\(`events.sample_weight`\); give finite"
    )
    with pytest.raises(DataError, match=message):
        read_dataset(parse_config(_parsed()), tmp_path)


def test_a_column_that_is_missing_is_named(tmp_path: Path, project: Path):
    for name in ("items.csv", "tamis.toml"):
        (tmp_path / name).write_text((project / name).read_text())
    frame = pl.read_csv(project / "events.csv").drop("price")
    frame.write_csv(tmp_path / "events.csv")
    with pytest.raises(DataError, match=r"tasks\.buy\.sample_weight.*price"):
        read_dataset(parse_config(_parsed()), tmp_path)


def _parsed() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(CONFIG)
