"""Time budgets of stages, by a clock that only the stages move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tamis.cascade import Cascade, Guard, Queries, Recalled, Retrieval, StageBudgets
from tamis.data import Ragged
from tamis.features import Block, History, Layout, Rows
from tamis.schema import BudgetsConfig, CascadeConfig, ConfigError, load_config


class Clock:
    """Seconds, as a test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """A channel, scorer or rule that takes `seconds` and counts its runs."""

    clock: Clock
    seconds: float
    items: tuple[int, ...] = ()
    runs: int = 0

    def _run(self) -> None:
        self.clock.now += self.seconds
        self.runs += 1

    def recall(self, queries: Queries, k: int) -> Recalled:
        self._run()
        item = np.array([self.items], np.int32)
        return Recalled(item, -np.arange(len(self.items), dtype=np.float32)[None])

    def score_rows(self, rows: Rows) -> dict[str, Any]:
        self._run()
        return {"like": rows.blocks[0].dense[:, 0]}

    def arrange(self, queries: Queries, candidates: Any, n: int) -> Any:
        self._run()
        return np.arange(len(candidates))[::-1], candidates.columns["value"]


def hydrate(queries: Queries, candidates: Any) -> Rows:
    dense = candidates.item.astype(np.float32)[:, None]
    return Rows(Layout((), (), ()), [Block(np.zeros((len(dense), 0), np.int32), dense)], len(dense))


QUERY = Queries(np.zeros(1, np.int32), np.zeros(1, np.int64), History.empty(1), Ragged.empty(1))


def cascade(
    clock: Clock, budgets: dict[str, Any], *, channels: dict[str, Stage], **stages: Any
) -> Cascade:
    config = CascadeConfig.model_validate(
        {"channels": {name: {} for name in channels}, "rank": {"use": "lr"}, "budgets": budgets}
    )
    return Cascade(
        retrieval=Retrieval(config, channels, {}),
        hydrate=hydrate,
        prerank=stages.get("prerank"),
        rank=stages.get("rank", Stage(clock, 0.0)),
        fusion=lambda candidates, scores: scores["like"],
        rerank=stages.get("rerank", {}),
        budgets=StageBudgets(config.budgets, clock),
    )


def answers(made: Cascade, times: int) -> list[list[str]]:
    return [made.run(QUERY, 5, degrade=True).degraded for _ in range(times)]


def test_a_channel_that_is_usually_late_is_skipped_and_tried_again() -> None:
    clock = Clock()
    slow, fast = Stage(clock, 0.030, (1, 2)), Stage(clock, 0.001, (3,))
    made = cascade(clock, {"channel": 20}, channels={"slow": slow, "fast": fast})
    note = "recall:slow: skipped: it usually takes 30 ms, and its budget is 20 ms"
    assert answers(made, 3) == [[], [note], [note]]
    assert (slow.runs, fast.runs) == (1, 3)
    assert made.run(QUERY, 5, degrade=True).slate.item.tolist() == [3]
    clock.now += 10.0  # rested: one request measures it again, and it is still late
    assert answers(made, 2) == [[], [note]]
    clock.now += 10.0  # the rest has doubled
    assert answers(made, 1) == [[note]]
    clock.now += 10.0
    slow.seconds = 0.005
    assert answers(made, 2) == [[], []]
    assert slow.runs == 4
    assert made.budgets.counts == {("recall:slow", "late"): 2, ("recall:slow", "skipped"): 5}


def test_a_single_slow_run_among_fast_ones_skips_nothing() -> None:
    clock = Clock()
    channel = Stage(clock, 0.010, (1,))
    made = cascade(clock, {"channel": 20}, channels={"a": channel})
    answers(made, 3)
    channel.seconds = 0.500
    assert answers(made, 2) == [[], []]  # of 10, 10, 10, 500, 500 ms the median is 10
    assert answers(made, 2)[1] == [
        "recall:a: skipped: it usually takes 500 ms, and its budget is 20 ms"
    ]


def test_the_ranker_is_skipped_where_the_request_has_no_time_left_for_it() -> None:
    clock = Clock()
    channel, ranker = Stage(clock, 0.010, (4, 2, 6)), Stage(clock, 0.040)
    made = cascade(clock, {"total": 100}, channels={"a": channel}, rank=ranker)
    assert made.run(QUERY, 5, degrade=True).slate.item.tolist() == [6, 4, 2]
    channel.seconds = 0.075
    late = made.run(QUERY, 5, degrade=True)
    assert late.slate.item.tolist() == [4, 2, 6]  # the order of recall
    assert late.degraded == [
        "rank: skipped: it usually takes 40 ms, and 25 ms of the request's budget are left"
    ]
    channel.seconds = 0.010
    assert answers(made, 1) == [[]]


def test_pre_rank_replaces_a_ranker_and_a_rule_is_left_out() -> None:
    clock = Clock()
    stages = {"prerank": Stage(clock, 0.001), "rank": Stage(clock, 0.050)}
    made = cascade(
        clock,
        {"rank": 30, "stages": {"rerank:back": 2}},
        channels={"a": Stage(clock, 0.0, (4, 2, 6))},
        rerank={"back": Stage(clock, 0.003)},
        **stages,
    )
    assert made.run(QUERY, 5, degrade=True).slate.item.tolist() == [2, 4, 6]
    second = made.run(QUERY, 5, degrade=True)
    assert second.slate.item.tolist() == [6, 4, 2]
    assert [note.split(": skipped")[0] for note in second.degraded] == ["rank", "rerank:back"]


def test_evaluations_have_no_budgets() -> None:
    clock = Clock()
    channel = Stage(clock, 0.030, (1, 2))
    made = cascade(clock, {"channel": 20, "total": 20}, channels={"a": channel})
    for _ in range(4):
        assert made.run(QUERY, 5).degraded == []
    assert channel.runs == 4


def test_a_stage_that_fails_after_its_budget_is_left_out_too() -> None:
    clock = Clock()
    budgets = StageBudgets(BudgetsConfig(channel=20), clock)

    def fails() -> int:
        clock.now += 2.0  # a store that does not answer
        raise ConnectionError("timed out")

    notes = [Guard(True, budgets), Guard(True, budgets)]
    assert [guard("recall:a", fails, 0) for guard in notes] == [0, 0]
    assert notes[0].notes == ["recall:a: ConnectionError: timed out"]
    assert notes[1].notes == [
        "recall:a: skipped: it usually takes 2000 ms, and its budget is 20 ms"
    ]
    assert budgets.counts["recall:a", "failed"] == 1


TOML = """
[events]
path = "events.csv"
[behaviours.click]
positive = true
[cascade.channels.itemcf]
[cascade.rank]
use = "lr"
[cascade.budgets]
"""


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('stages = {"recall:itemfc" = 5}', "no stage with a budget. Did you mean `recall:itemcf`"),
        ("rerank = 5", "no effect: there is no"),
        ("totl = 5", "total"),
        ("total = 0", "greater than 0"),
    ],
)
def test_wrong_budgets_are_refused(line: str, text: str, tmp_path: Any) -> None:
    (tmp_path / "tamis.toml").write_text(f'name = "x"\n{TOML}{line}\n')
    with pytest.raises(ConfigError, match=text):
        load_config(tmp_path)
