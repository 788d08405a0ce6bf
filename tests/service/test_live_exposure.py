"""The filter `exposed` knows impressions that came after the version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.journal import Event, Numbered
from tamis.service import Recommender, Request

CONFIG = """
name = "shown"
[events]
path = "events.csv"
behaviour = "what"
request = "request"
[items]
path = "items.csv"
id = "item_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[split]
windows = 2
[cascade.channels.hot]
quota = 12
[cascade.filters.exposed]
months = 2
target = 0.0001
[cascade.rank]
use = "lr"
epochs = 1
"""
DAY = 86_400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tamis_cli: Callable[..., Any]) -> Path:
    """12 items; each request shows three, and user u0 has been shown m0 and m1 only."""
    folder = tmp_path_factory.mktemp("shown")
    draw = np.random.default_rng(0)
    rows = []
    for request in range(300):
        user, time = int(draw.integers(1, 20)), 1_700_000_000 + 3600 * request
        for item in draw.choice(12, 3, replace=False).tolist():
            rows.append((f"u{user}", f"m{item}", "show", time, request))
            if draw.random() < 0.4:
                rows.append((f"u{user}", f"m{item}", "click", time + 1, request))
    rows += [("u0", f"m{item}", "show", time + 10 + item, 300) for item in (0, 1)]
    columns = ["user_id", "item_id", "what", "time", "request"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / "events.csv")
    items = pl.DataFrame({"item_id": [f"m{i}" for i in range(12)], "kind": ["a", "b"] * 6})
    items.write_csv(folder / "items.csv")
    (folder / "tamis.toml").write_text(CONFIG)
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    return folder


def test_an_item_that_was_shown_since_is_not_in_the_next_answer(folder: Path) -> None:
    recommender = Recommender.open(folder)
    end = recommender.manifest.data_until

    def answer(days: float, **asked: str) -> tuple[set[str], str]:
        request = Request.of(user_id="u0", n=12, time=int(end + days * DAY), **asked)
        found = recommender.recommend(request)
        why = "" if found.why_not is None else found.why_not.detail
        return {place.item_id for place in found.items}, why

    everything = {f"m{i}" for i in range(12)}
    assert answer(0)[0] == everything - {"m0", "m1"}
    at = end + DAY
    shown = Event(event_id="e1", user_id="u0", item_id="m5", behaviour="show", time=at, arrival=at)
    others = Event(event_id="e2", user_id="u1", item_id="m6", behaviour="show", time=at, arrival=at)
    recommender.views.apply([Numbered(1, shown), Numbered(2, others)])
    items, why = answer(2, why_not="m5")
    assert items == everything - {"m0", "m1", "m5"}
    assert "filter exposed: exposed" in why
    assert answer(100)[0] == everything  # three months later
