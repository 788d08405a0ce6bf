"""Drawn slates of the journal, with what another policy makes of them, place by place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tamis.cascade import RankedRecord, Record
from tamis.experiments import SlatePolicy
from tamis.jobs._other_policy import LeftOut, OtherPolicy, PolicyValues, sample_policy
from tamis.journal import Journal, Recommendation, entry_blocks
from tamis.runtime import Float64
from tamis.schema import DataError, MetricTerm, ProjectConfig

PAGE = 200
"""Answers that are read at once: each has a trace."""


@dataclass(frozen=True)
class DrawnSlate:
    """One logged answer; K inputs of the reward model are 1 and the predictions of a candidate."""

    answer: str
    user: str
    items: Sequence[str]
    """(places,)"""
    propensity: Float64
    """(places,)"""
    target: Float64
    """(places,) the other policy's probability of the shown item."""
    supported: Float64
    """(places,) probability of the other policy on candidates that could be drawn."""
    again: Float64
    """(places,) the logged probabilities, recomputed."""
    inputs: Float64
    """(places, K) of the shown items."""
    mean_inputs: Float64
    """(places, K) mean over the other policy's choices."""


def drawn_slates(
    journal: Journal,
    config: ProjectConfig,
    other: OtherPolicy,
    values: PolicyValues,
    places: int | None,
    most: int,
) -> tuple[list[DrawnSlate], Mapping[str, int]]:
    """The drawn slates of the latest answers, and how many others were left out for each reason."""
    rules = {n: s for n, s in config.cascade.rerank.items() if (s.use or n) == "sample"}
    logging = sample_policy(next(iter(rules.values()))) if rules else None
    alone = logging is not None and len(config.cascade.rerank) == 1
    found: list[DrawnSlate] = []
    left_out = Counter[str]()
    answers = (one for one in _latest(journal, most))
    for answer in sorted(answers, key=values.place) if other.of_items else answers:
        slate = _slate(answer, other, values, logging, alone, places)
        if isinstance(slate, LeftOut):
            left_out[slate.value] += 1
        else:
            found.append(slate)
    if not found and values.problem is not None and set(left_out) == {LeftOut.NO_VERSION.value}:
        raise values.problem
    if not found:
        reasons = [f"{n:,} {reason}" for reason, n in left_out.most_common()]
        raise DataError(
            f"none of the {left_out.total():,} answers of the journal can be read: "
            + ("; ".join(reasons) or f"0 {LeftOut.NOT_DRAWN.value}")
            + ". Or compare by an experiment"
        )
    return found, dict(left_out.most_common())


def _latest(journal: Journal, most: int) -> Iterator[Recommendation]:
    after = max(journal.answers.head - most, 0)
    while page := journal.answers.read(after, PAGE):
        yield from (one.answer for one in page)
        after = page[-1].number


def _slate(
    answer: Recommendation,
    other: OtherPolicy,
    values: PolicyValues,
    logging: SlatePolicy | None,
    alone: bool,
    places: int | None,
) -> DrawnSlate | LeftOut:
    """An answer whose slate was drawn, or why it does not count."""
    shown = answer.slate[:places]
    if not shown:
        return LeftOut.EMPTY
    if answer.request.get("arms"):
        return LeftOut.TESTER
    if answer.teams:
        return LeftOut.INTERLEAVED
    if answer.request.get("pins"):
        return LeftOut.PINNED
    if any(place.propensity is None for place in shown):
        return LeftOut.NOT_DRAWN
    if answer.trace is None:
        return LeftOut.NO_TRACE
    record = Record.of(answer.trace)
    ranked = record.ranked
    chosen = ranked.slate[: len(shown)]
    if len(chosen) < len(shown):
        return LeftOut.NOT_RANKED
    value = values.of(answer, record, ranked)
    if isinstance(value, LeftOut):
        return value
    odds = other.draw.odds(value, chosen)
    before = (logging or SlatePolicy(None)).odds(ranked.value.astype(np.float64), chosen)
    at = (np.arange(len(chosen)), chosen)
    again = before[at] if alone else np.full(len(shown), np.nan)
    drawable = before > 0
    drawable[at] = True
    inputs = _inputs(ranked)
    return DrawnSlate(
        answer=answer.recommendation_id,
        user=answer.user_id or answer.recommendation_id,
        items=[place.item_id for place in shown],
        propensity=np.array([place.propensity for place in shown], np.float64),
        target=odds[at],
        supported=(odds * drawable).sum(axis=1),
        again=again,
        inputs=inputs[chosen],
        mean_inputs=odds @ inputs,
    )


def _inputs(ranked: RankedRecord) -> Float64:
    """(n, K) what the reward model reads of each candidate."""
    columns = [np.nan_to_num(p.astype(np.float64)) for p in ranked.predictions.values()]
    return np.stack([np.ones(len(ranked.value)), *columns], axis=1)


def rewards_of(
    slates: Sequence[DrawnSlate], root: Path, journal: Journal, term: MetricTerm
) -> Float64:
    """(rows,) the events, or their values, that each place of each answer led to."""
    answer = [slate.answer for slate in slates for _ in slate.items]
    item = [item for slate in slates for item in slate.items]
    placed = pl.DataFrame({"recommendation_id": answer, "item_id": item}).with_row_index("row")
    rewards = np.zeros(len(placed))
    for block in entry_blocks(root, journal):
        events = block.filter(
            (pl.col("kind") == "event") & pl.col("behaviour").is_in(list(term.behaviours))
        ).select("recommendation_id", "item_id", "value")
        hit = events.join(placed, on=["recommendation_id", "item_id"], how="inner")
        values = hit["value"].fill_null(0.0).fill_nan(0.0).to_numpy()
        np.add.at(rewards, hit["row"].to_numpy(), values if term.kind == "values" else 1.0)
    return rewards
