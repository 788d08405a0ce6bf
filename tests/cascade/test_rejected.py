"""Which candidates of an answer pre-rank and rank reject, and which of them are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.cascade import (
    Cascade,
    Outcome,
    Queries,
    Recalled,
    Retrieval,
    drawn_rejections,
    seed_of,
)
from tamis.data import Ragged
from tamis.features import Block, History, Layout, Rows
from tamis.schema import CascadeConfig


class Ten:
    """A channel that returns the items 0 to 9."""

    def recall(self, queries: Queries, k: int) -> Recalled:
        items = np.arange(10, dtype=np.int32)[None]
        return Recalled(items, -items.astype(np.float32))


class Nothing:
    def recall(self, queries: Queries, k: int) -> Recalled:
        return Recalled(np.full((1, k), -1, np.int32), np.full((1, k), -np.inf, np.float32))


class ByItem:
    """Scores an item by its number, times `sign`."""

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def score_rows(self, rows: Rows) -> dict[str, Any]:
        return {"like": self.sign * rows.blocks[0].dense[:, 0]}


class Fails(ByItem):
    def score_rows(self, rows: Rows) -> dict[str, Any]:
        raise ConnectionError("gone")


class Last:
    """Shows the last ranked item first."""

    def arrange(self, queries: Queries, candidates: Any, n: int) -> Any:
        return np.roll(np.arange(len(candidates)), 1), candidates.item.astype(np.float32)


class Brings(Last):
    """Brings item 8 along, and shows it where it is."""

    def inserted(self, queries: Queries) -> Ragged:
        return Ragged.of([np.array([8], np.int32)])

    def arrange(self, queries: Queries, candidates: Any, n: int) -> Any:
        return np.arange(len(candidates)), candidates.item.astype(np.float32)


def hydrate(queries: Queries, candidates: Any) -> Rows:
    dense = candidates.item.astype(np.float32)[:, None]
    ids = np.zeros((len(dense), 0), np.int32)
    return Rows(Layout((), (), ()), [Block(ids, dense)], len(dense))


def run(name: str = "r", n: int = 2, **stages: Any) -> tuple[Cascade, Outcome]:
    """Pre-rank keeps 4 to 9, and rank orders them from 4 on."""
    settings = {
        "channels": {"ten": {}},
        "rank": {"use": "lr"},
        "prerank_keep": 6,
        "cold_start": stages.pop("cold_start", "rank"),
    }
    boost = stages.pop("boost", None)
    made = Cascade(
        Retrieval(
            CascadeConfig.model_validate(settings), {"ten": stages.pop("channel", Ten())}, {}
        ),
        hydrate,
        stages.pop("prerank", ByItem(1.0)),
        stages.pop("rank", ByItem(-1.0)),
        lambda candidates, scores: scores["like"],
        stages.pop("rerank", {}),
    )
    no_one = np.zeros(1, np.int32), np.zeros(1, np.int64), History.empty(1), Ragged.empty(1)
    queries = Queries(*no_one, seed=seed_of(name))
    return made, made.run(queries, n, degrade=True, boost=boost)


def drawn(most: int = 10, **fields: Any) -> dict[str, list[int]]:
    found = drawn_rejections(*run(**fields), most)
    return {stage: sorted(items.tolist()) for stage, items in found.items()}


def test_pre_rank_rejects_what_it_does_not_keep_and_rank_the_lower_half_behind_the_slate() -> None:
    assert drawn() == {"prerank": [0, 1, 2, 3], "rank": [7, 8, 9]}
    assert drawn(n=4) == {"prerank": [0, 1, 2, 3], "rank": [8, 9]}
    assert drawn(n=6) == {"prerank": [0, 1, 2, 3]}
    assert drawn(rerank={"last": Last()})["rank"] == [7, 8]  # item 9 is shown
    assert drawn(prerank=None) == {"rank": [5, 6, 7, 8, 9]}
    assert drawn(channel=Nothing()) == {}


def test_what_a_rule_has_brought_along_is_not_rejected() -> None:
    assert drawn(rerank={"brings": Brings()})["rank"] == [7, 9]


@pytest.mark.parametrize(
    "changed",
    [
        {"prerank": Fails(1.0)},
        {"rank": Fails(1.0)},
        {"boost": lambda _, found: np.ones(len(found), np.float32)},
        {"cold_start": "recall"},
    ],
    ids=["prerank", "rank", "boost", "new user"],
)
def test_none_where_the_stages_did_not_judge_by_themselves(changed: dict[str, Any]) -> None:
    assert drawn(**changed) == {}


def test_the_draw_is_uniform_and_follows_from_the_request() -> None:
    assert drawn(2, name="a") == drawn(2, name="a")
    draws = [drawn(2, name=str(k)) for k in range(400)]
    assert {(len(one["prerank"]), len(one["rank"])) for one in draws} == {(2, 2)}
    for stage, items in (("prerank", range(4)), ("rank", range(7, 10))):
        times = np.bincount([i for one in draws for i in one[stage]], minlength=10)[list(items)]
        assert times.sum() == 800
        assert np.abs(times - times.mean()).max() < 0.15 * times.mean()
