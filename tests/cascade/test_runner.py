"""The runner: every candidate is accounted for, a failing channel degrades, laws are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tamis.cascade import (
    Candidates,
    Cascade,
    Fallbacks,
    Fusion,
    Queries,
    Recalled,
    Retrieval,
    Value,
)
from tamis.cascade.tracing import trace
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import Block, DenseColumn, History, Layout, Rows
from tamis.features.rows import LazyBlock, LazyBlocks
from tamis.rerank import AtMost, Pins
from tamis.schema import CascadeConfig, Side, StageError


@dataclass
class Listed:
    """A channel that gives the same list to everybody."""

    items: Sequence[int]
    name: str = "listed"

    def recall(self, queries: Queries, k: int) -> Recalled:
        found = np.full((len(queries), k), -1, np.int32)
        for q in range(len(queries)):
            left = [i for i in self.items if i not in queries.exclude[q]][:k]
            found[q, : len(left)] = left
        score = np.where(found >= 0, -np.arange(k, dtype=np.float32), -np.inf)
        return Recalled(found, score.astype(np.float32))


class Broken(Listed):
    def recall(self, queries: Queries, k: int) -> Recalled:
        raise ConnectionError("index is gone")


@dataclass
class Odd:
    """Keeps even items."""

    reason: str = "odd"

    def excluded(self, queries: Queries) -> Ragged | None:
        return None

    def keep(self, queries: Queries, candidates: Candidates) -> Any:
        return candidates.item % 2 == 0


@dataclass
class ByItem:
    """Scores an item by its number, times `sign`."""

    sign: float = 1.0
    task: str = "like"

    def score_rows(self, rows: Rows) -> Mapping[str, Any]:
        return {self.task: self.sign * rows.blocks[0].dense[:, 0]}


class Backwards:
    def arrange(self, queries: Queries, candidates: Candidates, n: int) -> Any:
        ends = zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)
        order = np.concatenate([np.arange(end - 1, begin - 1, -1) for begin, end in ends])
        return order, candidates.item.astype(np.float32)


def hydrate(queries: Queries, candidates: Candidates) -> Rows:
    dense = candidates.item.astype(np.float32)[:, None]
    return Rows(Layout((), (), ()), [Block(np.zeros((len(dense), 0), np.int32), dense)], len(dense))


def config(keep: int = 4, quota: int = 10, **channels: Any) -> CascadeConfig:
    names = channels or {"a": {}, "b": {}}
    return CascadeConfig.model_validate(
        {
            "channels": {name: {"quota": quota, **entry} for name, entry in names.items()},
            "rank": {"use": "deepfm"},
            "prerank_keep": keep,
        }
    )


def cascade(channels: Mapping[str, Any], **stages: Any) -> Cascade:
    settings = stages.pop("config", config(**{name: {} for name in channels}))
    return Cascade(
        retrieval=Retrieval(settings, channels, stages.pop("filters", {})),
        hydrate=stages.pop("hydrate", hydrate),
        prerank=stages.pop("prerank", ByItem()),
        rank=stages.pop("rank", ByItem(-1.0)),
        fusion=stages.pop("fusion", lambda candidates, scores: scores["like"]),
        rerank=stages.pop("rerank", {}),
    )


def ask(n: int = 1, exclude: Sequence[Sequence[int]] = ()) -> Queries:
    lists = [np.array(x, dtype=np.int32) for x in exclude] or [np.zeros(0, np.int32)] * n
    return Queries(
        np.arange(n, dtype=np.int32), np.zeros(n, np.int64), History.empty(n), Ragged.of(lists)
    )


class Both:
    """Likes large numbers, and buys the small ones."""

    def score_rows(self, rows: Rows) -> Mapping[str, Any]:
        number = rows.blocks[0].dense[:, 0]
        return {"like": number, "buy": -number}


def test_prerank_and_rank_order_by_the_same_fusion() -> None:
    sieve = cascade(
        {"a": Listed([1, 2, 3, 4, 5, 6])},
        prerank=Both(),
        rank=Both(),
        fusion=lambda candidates, scores: scores["like"] + 2 * scores["buy"],
    )
    out = sieve.run(ask(), n=2)
    assert list(out.preranked.item) == [1, 2, 3, 4]  # not the four that are liked most
    assert list(out.ranked.item) == [1, 2, 3, 4]
    assert "buy" not in out.kept.columns  # its predictions are not taken for the ranker's


def test_candidates_without_a_finite_prerank_value_rank_last() -> None:
    sieve = cascade(
        {"a": Listed([1, 2, 3, 4, 5, 6])},
        fusion=lambda candidates, scores: np.log(scores["like"] - 5).astype(np.float32),
        rank=ByItem(),
    )
    with np.errstate(all="ignore"):
        out = sieve.run(ask(), n=2)
    assert out.preranked.item[0] == 6
    assert out.degraded[0] == "prerank: 5 candidates have no finite score and rank last"


def test_a_request_passes_every_stage() -> None:
    sieve = cascade(
        {"a": Listed([1, 2, 3, 4]), "b": Listed([6, 4, 8, 10, 12])}, filters={"odd": Odd()}
    )
    out = sieve.run(ask(), n=3)
    assert sorted(out.recalled.item) == [1, 2, 3, 4, 6, 8, 10, 12]
    assert sorted(out.recalled.item[out.removed["odd"]]) == [1, 3]
    assert sorted(out.kept.item) == [2, 4, 6, 8, 10, 12]
    assert list(out.preranked.item) == [12, 10, 8, 6]  # the best four by item number
    assert list(out.ranked.item) == [6, 8, 10, 12]  # the ranker prefers small numbers
    assert list(out.slate.item) == [6, 8, 10]
    both = list(out.recalled.item).index(4)
    assert out.recalled.columns["rank:a"][both] == 4
    assert out.recalled.columns["rank:b"][both] == 2


def test_a_batch_equals_its_requests() -> None:
    sieve = cascade({"a": Listed(range(30)), "b": Listed(range(29, 5, -1))})
    lists = [[1, 2], [], [28, 29, 7]]
    together = sieve.run(ask(3, lists), n=4).slate
    for q, exclude in enumerate(lists):
        alone = sieve.run(ask(1, [exclude]), n=4).slate
        mine = together.item[together.indptr[q] : together.indptr[q + 1]]
        assert list(alone.item) == list(mine)


def test_fusion_reads_channel_scores_in_both_stages_and_works_without_a_failing_channel() -> None:
    fusion = Fusion("rank(like) + 10 / rank(a)", ["like"], channels=["a"])  # low likes, then a's
    sieve = cascade(
        {"a": Listed([3, 1]), "b": Listed([6, 5, 4, 2])},
        config=config(keep=3, a={}, b={}),
        rank=ByItem(),
        fusion=Value(fusion, {}),
    )
    # a's places: 3 first, 1 second, the others share 4.5; likes' places: 6 first, 1 last
    out = sieve.run(ask(), n=3)
    assert list(out.preranked.item) == [3, 1, 2]  # 4 + 10, 6 + 5, 5 + 10 / 4.5
    assert list(out.slate.item) == [3, 1, 2]
    sieve = cascade(
        {"a": Broken([]), "b": Listed([6, 5, 4, 2])}, rank=ByItem(), fusion=Value(fusion, {})
    )
    out = sieve.run(ask(), n=3, degrade=True)
    assert list(out.slate.item) == [2, 4, 5]
    assert out.degraded == ["recall:a: ConnectionError: index is gone"]


def test_a_failing_channel_degrades_the_answer_visibly() -> None:
    sieve = cascade({"a": Broken([]), "b": Listed([2, 4])})
    out = sieve.run(ask(), n=5, degrade=True)
    assert list(out.slate.item) == [2, 4]
    assert out.degraded == ["recall:a: ConnectionError: index is gone"]


def test_an_evaluation_raises_the_error_of_a_failing_channel() -> None:
    with pytest.raises(ConnectionError, match="index is gone"):
        cascade({"a": Broken([]), "b": Listed([2, 4])}).run(ask(), n=5)


class Fails:
    """A stage of any kind of which every part fails."""

    reason = "fails"

    def excluded(self, queries: Queries) -> Ragged | None:
        raise OSError("disk gone")

    def keep(self, *given: Any) -> Any:
        raise OSError("disk gone")

    score_rows = arrange = __call__ = keep


NOTE = "OSError: disk gone"


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(
    ("stages", "shown", "notes"),
    [
        ({"filters": {"odd": Odd(), "bad": Fails()}}, [2, 4, 6], [f"filter:bad: {NOTE}"] * 2),
        ({"rank": Fails()}, [6, 4, 2], [f"rank: {NOTE}"]),
        ({"rank": Fails(), "prerank": None}, [4, 2, 6], [f"rank: {NOTE}"]),
        ({"prerank": Fails()}, [2, 4, 6], [f"prerank: {NOTE}"]),
        ({"fusion": Fails()}, [4, 2, 6], [f"prerank: {NOTE}", f"rank: {NOTE}"]),
        ({"hydrate": Fails()}, [4, 2, 6], [f"features: {NOTE}"]),
        ({"rerank": {"bad": Fails(), "back": Backwards()}}, [6, 4, 2], [f"rerank:bad: {NOTE}"]),
    ],
)
def test_a_request_is_answered_without_a_failing_stage(
    stages: dict[str, Any], shown: list[int], notes: list[str], queries: int
) -> None:
    """Recall has the order 4, 2, 6, pre-rank 6, 4, 2, and the ranker 2, 4, 6."""
    made = cascade({"a": Listed([4, 2, 6])}, **stages)
    out = made.run(ask(queries), n=3, degrade=True)
    assert out.slate.item.reshape(queries, 3).tolist() == [shown] * queries
    assert out.degraded == notes
    with pytest.raises(OSError, match="disk gone"):
        made.run(ask(queries), n=3)


def test_a_rule_that_breaks_the_contract_is_left_out_of_a_request() -> None:
    class Twice:
        def arrange(self, queries: Queries, candidates: Candidates, n: int) -> Any:
            return np.zeros(len(candidates), dtype=np.int64), candidates.columns["value"]

    out = cascade({"a": Listed([2, 4, 6])}, rerank={"twice": Twice()}).run(ask(), 3, degrade=True)
    assert list(out.slate.item) == [2, 4, 6]
    assert out.degraded == [
        "rerank:twice: StageError: re-rank rule twice must return a permutation of its candidates"
    ]


def test_a_replay_refuses_a_degraded_recall() -> None:
    sieve = cascade({"a": Broken([]), "b": Listed([2, 4])})
    with pytest.raises(ConnectionError, match="index is gone"):
        sieve.retrieval.candidates(ask())


def test_if_every_channel_fails_the_answer_is_empty_and_degraded() -> None:
    out = cascade({"a": Broken([])}).run(ask(2), n=5, degrade=True)
    assert len(out.slate) == 0
    assert len(out.slate.indptr) == 3
    assert out.degraded == ["recall:a: ConnectionError: index is gone"]


def with_fallbacks(channels: Mapping[str, Any], popular: Sequence[int]) -> Cascade:
    made = cascade(channels, filters={"odd": Odd()}, rank=ByItem())
    made.retrieval.fallbacks = Fallbacks(lambda: np.array(popular, np.int32))
    return made


def test_if_every_channel_fails_popular_items_pass_the_other_stages() -> None:
    made = with_fallbacks({"a": Broken([])}, [1, 4, 8, 2, 6])
    out = made.run(ask(1, [[8]]), n=2, degrade=True)
    assert out.recalled.item.tolist() == [1, 4, 2, 6]  # 8 is excluded
    assert out.slate.item.tolist() == [6, 4]  # even ones, by the ranker
    assert out.degraded == [
        "recall:a: ConnectionError: index is gone",
        "recall: channels failed and no other found items; popular items",
    ]
    assert trace(made, out, 6).found == ()
    with pytest.raises(ConnectionError):
        made.run(ask(), n=2)


def answered(made: Cascade, queries: Queries) -> list[int]:
    """The slate of a request that is remembered."""
    outcome = made.run(queries, n=3, degrade=True)
    made.remember(outcome)
    return outcome.slate.item.tolist()


def test_without_popular_items_the_last_complete_slate_of_the_user_is_shown() -> None:
    made = with_fallbacks({"a": Listed([2, 4, 6, 10])}, [])
    assert answered(made, ask()) == [10, 6, 4]
    other = Queries(
        np.array([7], np.int32), np.zeros(1, np.int64), History.empty(1), Ragged.empty(1)
    )
    made.retrieval.channels = {"a": Listed([12])}
    assert answered(made, other) == [12]
    made.retrieval.channels = {"a": Broken([])}
    out = made.run(ask(1, [[6]]), n=3, degrade=True)
    made.remember(out)  # it is degraded
    assert out.slate.item.tolist() == [10, 4]
    assert out.degraded[-1].endswith("the user's last slate")
    unknown = made.run(replace(other, user=np.full(len(other), -1, np.int32)), n=3, degrade=True)
    assert unknown.slate.item.tolist() == [12]  # the last slate of any user


class Few(ByItem):
    """Reads one of the two columns."""

    def reads(self, layout: Layout) -> set[str]:
        return {"number"}


def test_columns_that_pre_rank_does_not_read_are_gathered_for_what_it_keeps() -> None:
    gathered: list[tuple[str, int]] = []

    def lazy(queries: Queries, candidates: Candidates) -> Rows:
        def column(name: str, factor: float) -> LazyBlock:
            def gather(at: Any) -> Block:
                items = candidates.item if at is None else candidates.item[at]
                gathered.append((name, len(items)))
                dense = factor * items.astype(np.float32)[:, None]
                return Block(np.zeros((len(items), 0), np.int32), dense)

            return LazyBlock(0, 1, gather)

        dense = (DenseColumn("number", Side.ITEM, 0), DenseColumn("other", Side.ITEM, 1))
        blocks = LazyBlocks([column("number", 1.0), column("other", -1.0)])
        return Rows(Layout((), (), dense), blocks, len(candidates))

    class Reads(ByItem):
        def score_rows(self, rows: Rows) -> Mapping[str, Any]:
            return {self.task: rows.take(torch.arange(len(rows))).dense[:, 1].numpy()}

    made = cascade({"a": Listed(range(1, 10))}, prerank=Few(), rank=Reads(), hydrate=lazy)
    assert made.run(ask(), n=2).slate.item.tolist() == [6, 7]
    assert gathered == [("number", 9), ("other", 4)]
    gathered.clear()
    made.prerank = ByItem()  # says nothing of what it reads
    made.run(ask(), n=2)
    assert gathered == [("number", 9), ("other", 9)]


def test_channels_that_find_nothing_without_failing_give_an_empty_answer() -> None:
    out = with_fallbacks({"a": Listed([])}, [2, 4]).run(ask(), n=2, degrade=True)
    assert len(out.slate) == 0
    assert out.degraded == []


def test_every_stage_accepts_an_empty_list() -> None:
    out = cascade({"a": Listed([])}, filters={"odd": Odd()}, rerank={"back": Backwards()}).run(
        ask(2), n=5
    )
    assert len(out.slate) == 0
    assert out.degraded == []


def test_scores_that_are_not_finite_rank_last_and_are_counted() -> None:
    def fusion(candidates: Candidates, scores: Mapping[str, Any]) -> Any:
        return np.where(scores["like"] == -4, np.nan, scores["like"])

    out = cascade({"a": Listed([2, 4, 6])}, fusion=fusion).run(ask(), n=3)
    assert list(out.slate.item) == [2, 6, 4]
    assert out.degraded == ["rank: 1 candidates have no finite score and rank last"]


def test_a_scorer_that_loses_candidates_raises() -> None:
    class Short(ByItem):
        def score_rows(self, rows: Rows) -> Mapping[str, Any]:
            return {"like": np.zeros(len(rows) - 1)}

    with pytest.raises(StageError, match=r"rank task like returned \(2,\) scores for 3"):
        cascade({"a": Listed([2, 4, 6])}, rank=Short()).run(ask(), n=3)


def test_a_rule_that_returns_no_permutation_raises() -> None:
    class Twice:
        def arrange(self, queries: Queries, candidates: Candidates, n: int) -> Any:
            return np.zeros(len(candidates), dtype=np.int64), candidates.columns["value"]

    with pytest.raises(StageError, match="rule twice must return a permutation"):
        cascade({"a": Listed([2, 4, 6])}, rerank={"twice": Twice()}).run(ask(), n=3)


def test_a_rule_that_moves_candidates_between_queries_is_named() -> None:
    class Reversed:
        def arrange(self, queries: Queries, candidates: Candidates, n: int) -> Any:
            return np.arange(len(candidates))[::-1], candidates.columns["value"]

    one = cascade({"a": Listed([2, 4, 6])}, rerank={"reversed": Reversed()})
    assert one.run(ask(), n=3).slate.item.tolist() == [6, 4, 2]
    with pytest.raises(StageError, match="rule reversed moved candidates from one query"):
        one.run(ask(2), n=3)


@pytest.mark.parametrize(
    ("item", "stage", "detail"),
    [
        (6, None, "shown at place 1"),
        (99, "not_recalled", "a: not found; b: not found"),
        (3, "filtered", "filter odd: odd"),
        (2, "prerank_cut", "pre-rank placed it 6; the first 4 are kept"),
        (10, "rank_cut", "ranked 3 by value; the slate has 2"),
        (20, "filtered", "the request's exclusion list"),
    ],
)
def test_the_trace_names_the_stage_that_removed_an_item(
    item: int, stage: str | None, detail: str
) -> None:
    sieve = cascade(
        {"a": Listed([1, 2, 3, 4]), "b": Listed([6, 4, 8, 10, 12, 20])}, filters={"odd": Odd()}
    )
    found = trace(sieve, sieve.run(ask(1, [[20]]), n=2), item)
    assert found.lost == stage
    assert detail in found.detail


def test_the_trace_gives_the_rank_of_an_item_beyond_its_quota() -> None:
    sieve = cascade({"a": Listed(range(0, 40, 2))}, config=config(quota=5, a={}))
    found = trace(sieve, sieve.run(ask(), n=2), 12)
    assert found.lost == "not_recalled"
    assert "a: at rank 7, its quota is 5" in found.detail


def test_a_trace_names_a_channel_that_fails() -> None:
    sieve = cascade({"a": Broken([]), "b": Listed([2, 4])}, filters={"bad": Fails()})
    out = sieve.run(ask(), n=5, degrade=True)
    missing = trace(sieve, out, 99)
    assert missing.lost == "not_recalled"
    assert "a: failed (ConnectionError); b: not found" in missing.detail
    assert [found.channel for found in trace(sieve, out, 4).found] == ["b"]


def test_the_trace_distinguishes_displaced_items_from_low_ranked_ones() -> None:
    sieve = cascade({"a": Listed([2, 4, 6, 8])}, rerank={"back": Backwards()})
    out = sieve.run(ask(), n=2)
    assert list(out.slate.item) == [8, 6]
    assert trace(sieve, out, 2).lost == "rerank_displaced"
    assert trace(sieve, out, 8).rerank == {"back": 8.0}


def test_a_trace_holds_what_each_stage_did() -> None:
    sieve = cascade({"a": Listed([1, 2, 3, 4]), "b": Listed([6, 4])})
    way = trace(sieve, sieve.run(ask(), n=3), 4)
    assert [(f.channel, f.rank, f.score) for f in way.found] == [("b", 2, -1.0), ("a", 4, -3.0)]
    assert (way.prerank, way.prerank_place) == (4.0, 2)
    assert way.predictions == {"like": -4.0}
    assert (way.value, way.value_place, way.place) == (-4.0, 3, 3)


def test_cold_start_users_keep_the_order_of_recall_if_configured() -> None:
    settings = config(a={}).model_copy(update={"cold_start": "recall"})
    sieve = cascade({"a": Listed([8, 2, 6, 4])}, config=settings)
    assert list(sieve.run(ask(), n=4).slate.item) == [8, 2, 6, 4]
    known = ask()
    past = History(
        np.array([0, 1]),
        np.array([1], np.int32),
        np.zeros(1, np.uint8),
        np.zeros(1, np.int64),
        np.zeros(1, np.float32),
    )
    known = Queries(known.user, known.time, past, known.exclude)
    ordered = sieve.run(known, n=4)
    assert list(ordered.slate.item) == [2, 4, 6, 8]  # the ranker's order
    assert trace(sieve, ordered, 8).order == "the ranker"
    new = trace(sieve, sieve.run(ask(), n=4), 2)
    assert (new.order, new.value_place, new.value) == ("recall (new user)", 2, 0.5)
    assert new.fused == -2.0  # the ranker's value, which orders nothing


def test_the_trace_says_which_limit_of_a_rule_a_place_breaks() -> None:
    """Items 2 and 4 share a category, and there is no third item to place between them."""
    ids = pl.Series([f"i{k}" for k in range(5)])
    none = (np.zeros(0, kind) for kind in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2"))
    items = Table("items", ids, pl.DataFrame({"category": ["", "", "war", "", "war"]}))
    data = Dataset(Table("users", ids[:0], pl.DataFrame()), items, Events(*none), ())
    rule = AtMost(limit=1, window=2, slate=1).fit(data)
    sieve = cascade({"a": Listed([2, 4])}, rerank={"one_kind": rule})
    out = sieve.run(ask(), n=2)
    assert list(out.slate.item) == [2, 4]
    assert trace(sieve, out, 2).rerank == {"one_kind": 0.0}
    assert trace(sieve, out, 4).rerank == {"one_kind": 3.0}  # both limits


def test_inserted_items_pass_filters_and_prerank_and_are_ranked() -> None:
    """Items 1 (odd) and 0 (the lowest value) are pinned; pre-rank keeps two of the others."""
    items = pl.DataFrame({"kind": ["x"] * 12})
    ids = pl.Series([f"i{k}" for k in range(12)], dtype=pl.String)
    empty = np.zeros(0)
    kinds = ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")
    data = Dataset(
        Table("users", ids[:0], pl.DataFrame()),
        Table("items", ids, items),
        Events(*(empty.astype(kind) for kind in kinds)),
        (),
    )
    pins = Pins(items=["i0", "i1"], places=[1, 2]).fit(data)
    one = cascade(
        {"a": Listed([2, 4, 6, 8])},
        config=config(keep=2, a={}),
        rank=ByItem(),
        filters={"odd": Odd()},
        rerank={"pins": pins},
    )
    out = one.run(ask(), n=3)
    assert list(out.slate.item) == [0, 8, 6]
    assert list(out.preranked.item) == [8, 6, 0]
    assert [str(way) for way in out.slates.broken()] == ["pins is broken at place 2: i1 at place 2"]
    shown, lost = trace(one, out, 0), trace(one, out, 1)
    assert (shown.place, shown.inserted_by, shown.found) == (1, ("pins",), ())
    assert (lost.lost, lost.detail) == ("filtered", "filter odd: odd")
