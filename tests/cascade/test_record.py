"""The record of an answer explains each item as the answer itself did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import (
    Cascade,
    Outcome,
    Queries,
    RankerInputs,
    Recalled,
    Record,
    Retrieval,
    recorded,
    trace,
)
from tamis.cascade import record as module
from tamis.data import Ragged
from tamis.features import Block, History, IdColumn, Layout, Rows, TableRange
from tamis.schema import CascadeConfig, Side, StoreError

ITEMS = 40


class Listed:
    """A channel that returns its items that are not excluded."""

    def __init__(self, items: Sequence[int]) -> None:
        self.items = items

    def recall(self, queries: Queries, k: int) -> Recalled:
        left = [item for item in self.items if item not in queries.exclude[0]][:k]
        found = np.full((1, k), -1, np.int32)
        found[0, : len(left)] = left
        score = np.where(found >= 0, 1.0 - 0.123456 * np.arange(k), -np.inf)
        return Recalled(found, score.astype(np.float32))


class Fails(Listed):
    def recall(self, queries: Queries, k: int) -> Recalled:
        raise ConnectionError("gone")


class Thirds:
    """Keeps items that 3 does not divide; lists item 1 in advance."""

    reason = "a multiple of 3"

    def excluded(self, queries: Queries) -> Ragged:
        return Ragged.of([np.array([1], np.int32)])

    def keep(self, queries: Queries, candidates: Any) -> Any:
        return candidates.item % 3 != 0


class Scores:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def score_rows(self, rows: Rows) -> dict[str, Any]:
        like = np.sin(self.factor * rows.blocks[0].dense[:, 0]).astype(np.float32)
        return {"like": like, "buy": like * like}


class Swap:
    """Exchanges the first two places of the slate with the two after it."""

    def arrange(self, queries: Queries, candidates: Any, n: int) -> Any:
        order = np.arange(len(candidates))
        if len(order) >= n + 2:
            order[:2], order[n : n + 2] = order[n : n + 2].copy(), order[:2].copy()
        return order, candidates.item.astype(np.float32) / 7


def hydrate(queries: Queries, candidates: Any) -> Rows:
    dense = candidates.item.astype(np.float32)[:, None]
    ids = candidates.item[:, None] + 1
    layout = Layout((TableRange("item", 0, 99),), (IdColumn("item", Side.ITEM, "item", 0),), ())
    return Rows(layout, [Block(ids.astype(np.int32), dense)], len(dense))


def run(
    channels: dict[str, Any], n: int = 3, *, prerank: bool = True, boost: bool = False
) -> tuple[Cascade, Outcome]:
    config = CascadeConfig.model_validate(
        {
            "channels": {name: {"quota": 12} for name in channels},
            "rank": {"use": "lr"},
            "prerank_keep": 8,
        }
    )
    made = Cascade(
        Retrieval(config, channels, {"thirds": Thirds()}),
        hydrate,
        Scores(0.7) if prerank else None,
        Scores(1.3),
        lambda candidates, scores: scores["like"] + scores["buy"],
        {"swap": Swap()},
    )
    queries = Queries(
        np.zeros(1, np.int32),
        np.zeros(1, np.int64),
        History.empty(1),
        Ragged.of([np.array([5], np.int32)]),
    )
    factors = (lambda _, found: (1 + found.item % 2 / 3).astype(np.float32)) if boost else None
    return made, made.run(queries, n, degrade=True, boost=factors)


def opened(made: Cascade, outcome: Outcome) -> Record:
    return Record.of(recorded(made, outcome, {"the request's exclusion list": np.array([5])}))


def same(stored: Any, live: Any, shown: bool) -> None:
    """Equal, numbers of items that were not shown within the digits that are kept."""
    exact = ("place", "lost", "value_place", "prerank_place", "order")
    assert [getattr(stored, f) for f in exact] == [getattr(live, f) for f in exact]
    assert [(f.channel, f.rank) for f in stored.found] == [(f.channel, f.rank) for f in live.found]
    if live.lost != "not_recalled":
        assert stored.detail == live.detail
    close = {"rel": 0 if shown else 4e-3, "abs": 0}
    for name in ("prerank", "value", "fused", "boost"):
        wanted = getattr(live, name)
        assert getattr(stored, name) == (None if wanted is None else pytest.approx(wanted, **close))
    assert stored.predictions == pytest.approx(live.predictions, **close)
    assert stored.rerank == live.rerank
    assert [f.score for f in stored.found] == pytest.approx([f.score for f in live.found], **close)


LISTS = st.lists(st.integers(0, ITEMS - 1), max_size=15, unique=True)


@settings(max_examples=60, deadline=None)
@given(a=LISTS, b=LISTS, n=st.integers(1, 6), prerank=st.booleans(), other=st.booleans())
def test_it_explains_every_item_as_the_answer_did(
    a: list[int], b: list[int], n: int, prerank: bool, other: bool
) -> None:
    channels = {"a": Listed(a), "b": Fails(b) if other else Listed(b)}
    made, outcome = run(channels, n, prerank=prerank, boost=other)
    record = opened(made, outcome)
    assert record.slate.tolist() == outcome.slate.item.tolist()
    ranked = outcome.ranked.item.tolist()
    assert record.not_shown.tolist() == [i for i in ranked if i not in record.slate]
    for item in range(ITEMS):
        live = trace(made, outcome, item)
        same(record.trace(item), live, shown=live.place is not None)


def test_reasons_for_items_that_were_not_recalled() -> None:
    made, outcome = run({"a": Listed(range(20)), "b": Fails([])})
    record = opened(made, outcome)
    assert record.trace(5).detail == "the request's exclusion list"
    assert record.trace(1).detail == "filter thirds: a multiple of 3"
    assert record.trace(30).detail == (
        "not among the recalled items (a: 12 of at most 12 items; b: 0 of at most 12 items)"
    )
    assert record.trace(None).detail.startswith("not among the recalled items")


def test_an_answer_without_candidates() -> None:
    made, outcome = run({"a": Fails([])})
    record = opened(made, outcome)
    assert record.slate.tolist() == record.candidates.tolist() == []
    assert record.trace(2).lost == "not_recalled"


def test_the_size_is_bounded_and_ranked_items_are_always_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST", 9)
    made, outcome = run({"a": Listed([2, 4, 6, 8, 10]), "b": Listed([39, 38, 37, 35, 34, 32, 31])})
    record = opened(made, outcome)
    assert len(record.candidates) == 9 < len(outcome.recalled)
    assert set(outcome.ranked.item.tolist()) <= set(record.candidates.tolist())
    gone = next(i for i in outcome.recalled.item.tolist() if i not in record.candidates)
    assert "candidates that were not ranked are not recorded" in record.trace(gone).detail


def test_numbers_that_are_not_finite_are_kept() -> None:
    made, outcome = run({"a": Listed([2, 4, 7, 8])})
    value = np.array([np.inf, 1.5, np.nan, -np.inf], np.float32)
    outcome = replace(outcome, ranked=outcome.ranked.with_columns(value=value))
    record = opened(made, outcome)
    found = [record.trace(int(i)).value for i in outcome.ranked.item]
    np.testing.assert_array_equal(np.array(found, np.float32), value)


def test_the_ids_of_new_items_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items from row 7 on came after the version: candidates 7 and 8, and the excluded ones."""

    def new_ids(rows: Any) -> dict[int, str]:
        return {row: f"new{row}" for row in rows[rows >= 7].tolist()}

    made, outcome = run({"a": Listed([2, 4, 7, 8])})
    excluded = {"hidden": np.array([5, 20, 21], np.int32)}
    kept = Record.of(recorded(made, outcome, excluded, new_ids)).new_items
    assert kept == {f"new{row}": row for row in (7, 8, 20, 21)}
    monkeypatch.setattr(module, "MOST_NEW", 1)
    kept = Record.of(recorded(made, outcome, excluded, new_ids)).new_items
    assert kept == {f"new{row}": row for row in (7, 8, 20)}, "candidates are all kept"
    assert Record.of(recorded(made, outcome, excluded)).new_items == {}


def test_a_damaged_record_is_refused() -> None:
    content = recorded(*run({"a": Listed([2, 4])}))
    for broken in (content[:-5], b"", b"nothing", content[:20] + b"x" + content[21:]):
        with pytest.raises(StoreError, match="trace of the answer"):
            Record.of(broken)


def test_what_the_ranker_read_is_kept_exactly() -> None:
    _, outcome = run({"a": Listed([2, 4, 7, 8])})
    assert outcome.rows is not None
    read = RankerInputs.of(RankerInputs.read(outcome.rows, outcome.preranked.item).encoded())
    assert read.items.tolist() == outcome.preranked.item.tolist()
    assert read.ids[:, 0].tolist() == (read.items + 1).tolist()
    assert read.dense[:, 0].tolist() == read.items.tolist()
    with pytest.raises(StoreError, match="inputs of the answer"):
        RankerInputs.of(b"nothing")
