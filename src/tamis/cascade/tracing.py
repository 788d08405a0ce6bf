"""Explains the place of an item from the columns that the stages left; costs nothing otherwise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Explains, GivesReasons, InsertsItems
from tamis.cascade.query import Queries
from tamis.cascade.runner import Cascade, Outcome, Retrieval

log = logging.getLogger("tamis.cascade")

DEPTH = 5_000
"""Depth to which a why-not question searches a channel's list."""


@dataclass(frozen=True)
class Found:
    """A channel that found the item."""

    channel: str
    rank: int
    """1 = the channel's best."""
    score: float
    because: int | None = None
    """Item row in the user's history that contributed most, where the channel can name one."""
    reason: str | None = None
    """Why in words, where the channel has any."""


@dataclass(frozen=True)
class Trace:
    """What each stage did with one item for one query."""

    item: int
    place: int | None
    """Place in the slate from 1; None: not in it."""
    lost: str | None
    """Stage that removed it, as in the stage-loss report; None: it is shown."""
    detail: str
    """The same as a sentence."""
    found: tuple[Found, ...] = ()
    prerank: float | None = None
    prerank_place: int | None = None
    predictions: dict[str, float] = field(default_factory=dict[str, float])
    """Each task's prediction."""
    value: float | None = None
    """What orders the candidates: the fused value of the predictions, or its combination with
    recall channels."""
    fused: float | None = None
    """The fused value of the predictions."""
    order: str = ""
    """What the value is made of, in words."""
    value_place: int | None = None
    """Place by that value from 1, before re-rank."""
    boost: float | None = None
    """Factor of the request that `value` contains; None where the request has no boost."""
    rerank: dict[str, float] = field(default_factory=dict[str, float])
    inserted_by: tuple[str, ...] = ()
    """The re-rank rules that brought the item along."""


def trace(cascade: Cascade, outcome: Outcome, item: int) -> Trace:
    """The trace of item row `item` in the outcome of one query."""
    place = _place(outcome.slate, item)
    lost, detail = _lost(cascade, outcome, item, place)
    known: dict[str, Any] = {"item": item, "place": place, "lost": lost, "detail": detail}
    at = _at(outcome.recalled, item)
    if at is None:
        return Trace(**known)
    ranked = _at(outcome.ranked, item)
    kept = _at(outcome.kept, item)
    return Trace(
        **known,
        found=_found(cascade, outcome, item, at),
        prerank=_cell(outcome.kept, "prerank", kept),
        prerank_place=_place_by(outcome.kept, "prerank", kept),
        predictions={
            task: float(prediction[ranked])
            for task, prediction in outcome.ranked.predictions.items()
            if ranked is not None
        },
        value=_cell(outcome.ranked, "value", ranked),
        fused=_cell(
            outcome.ranked, "fused" if "fused" in outcome.ranked.columns else "value", ranked
        ),
        order=cascade.order_text(outcome.queries),
        value_place=None if ranked is None else ranked + 1,
        boost=_cell(outcome.ranked, "boost", ranked),
        rerank=_rerank_notes(outcome.slate, place),
        inserted_by=_inserted_by(cascade, outcome, item),
    )


def named_reasons(
    found: Sequence[Found], retrieval: Retrieval, queries: Queries, item: int
) -> tuple[Found, ...]:
    """What channels found, with the items of the single query's history that led to `item`, and
    the channels' own words. A channel that fails, or is not there, names neither."""
    named: list[Found] = []
    for one in found:
        channel = retrieval.channels.get(one.channel)
        asked = retrieval.asked(channel, queries)
        try:
            because = channel.because(asked, item) if isinstance(channel, Explains) else None
            reason = channel.reason(asked, item) if isinstance(channel, GivesReasons) else None
            named.append(replace(one, because=because, reason=reason))
        except Exception:  # an explanation does without a channel that fails
            log.exception("recall channel %s failed in a trace", one.channel)
            named.append(one)
    return tuple(named)


def _inserted_by(cascade: Cascade, outcome: Outcome, item: int) -> tuple[str, ...]:
    """The re-rank rules that bring the item along."""
    found: list[str] = []
    for name, rule in cascade.rerank.items():
        if isinstance(rule, InsertsItems):
            try:
                listed = item in rule.inserted(outcome.queries)[0]
            except Exception:  # an explanation does without a rule that fails
                log.exception("re-rank rule %s failed in a trace", name)
                continue
            if listed:
                found.append(name)
    return tuple(found)


def _found(cascade: Cascade, outcome: Outcome, item: int, at: int) -> tuple[Found, ...]:
    found: list[Found] = []
    for name in cascade.retrieval.channels:
        rank = int(outcome.recalled.columns[f"rank:{name}"][at])
        if rank:
            score = float(outcome.recalled.columns[f"score:{name}"][at])
            found.append(Found(name, rank, score))
    found.sort(key=lambda f: f.rank)
    return named_reasons(found, cascade.retrieval, outcome.queries, item)


def _lost(
    cascade: Cascade, outcome: Outcome, item: int, place: int | None
) -> tuple[str | None, str]:
    if place is not None:
        return None, f"shown at place {place}"
    for name, excluded in outcome.excluded.items():
        if item in excluded[0]:
            return "filtered", f"filter {name}: {cascade.retrieval.filters[name].reason}"
    if item in outcome.queries.exclude[0]:
        return "filtered", "the request's exclusion list"
    at = _at(outcome.recalled, item)
    if at is None:
        return "not_recalled", _not_recalled(cascade, outcome, item)
    for name, removed in outcome.removed.items():
        if removed[at]:
            return "filtered", f"filter {name}: {cascade.retrieval.filters[name].reason}"
    kept = _at(outcome.kept, item)
    if _at(outcome.preranked, item) is None:
        place = _place_by(outcome.kept, "prerank", kept)
        keep = cascade.config.prerank_keep
        return "prerank_cut", f"pre-rank placed it {place}; the first {keep} are kept"
    by_value = _at(outcome.ranked, item)
    assert by_value is not None  # rank neither adds nor removes candidates
    if by_value + 1 > len(outcome.slate):
        return (
            "rank_cut",
            f"ranked {by_value + 1} by value; the slate has {len(outcome.slate)} places",
        )
    return "rerank_displaced", f"ranked {by_value + 1} by value, {_displaced(outcome, item)}"


def _displaced(outcome: Outcome, item: int) -> str:
    """What kept an item of a high value out of the slate."""
    kept_by = outcome.slates.kept_by(item)
    if not kept_by:
        return "displaced by a re-rank rule"
    rules = "; ".join(f"{one.rule} ({one.text})" for one in kept_by)
    return f"kept out by the re-rank rules {rules}" if len(kept_by) > 1 else f"kept out by {rules}"


def _not_recalled(cascade: Cascade, outcome: Outcome, item: int) -> str:
    notes: list[str] = []
    for name, channel in cascade.retrieval.channels.items():
        quota = cascade.config.channels[name].quota
        try:
            where = np.flatnonzero(channel.recall(outcome.queries, DEPTH).item[0] == item)
        except Exception as error:  # a failing channel degrades an answer, also its trace
            log.exception("recall channel %s failed in a trace", name)
            notes.append(f"{name}: failed ({type(error).__name__})")
            continue
        if not len(where):
            notes.append(f"{name}: not found")
        elif where[0] >= quota:
            notes.append(f"{name}: at rank {where[0] + 1}, its quota is {quota}")
        else:
            notes.append(f"{name}: at rank {where[0] + 1}, removed by the limit of the merge")
    return "not recalled (" + "; ".join(notes) + ")"


def _at(candidates: Candidates, item: int) -> int | None:
    where = np.flatnonzero(candidates.item == item)
    return int(where[0]) if len(where) else None


def _place(slate: Candidates, item: int) -> int | None:
    at = _at(slate, item)
    return None if at is None else at + 1


def _place_by(candidates: Candidates, column: str, at: int | None) -> int | None:
    """Place by a column from 1, highest value first."""
    if at is None or column not in candidates.columns:
        return None
    return int(np.flatnonzero(candidates.best(column, len(candidates)) == at)[0]) + 1


def _cell(candidates: Candidates, column: str, at: int | None) -> float | None:
    if at is None or column not in candidates.columns:
        return None
    return float(candidates.columns[column][at])


def _rerank_notes(slate: Candidates, place: int | None) -> dict[str, float]:
    if place is None:
        return {}
    return {
        name.removeprefix("rerank:"): float(column[place - 1])
        for name, column in slate.columns.items()
        if name.startswith("rerank:")
    }
