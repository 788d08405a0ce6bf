"""The answer to a request: the slate, the reasons of each item, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tamis.cascade import RECALL_ORDER
from tamis.data import Table
from tamis.schema import ProjectConfig


@dataclass(frozen=True)
class Reason:
    """Why an item has its place."""

    text: str
    """One sentence for a person."""
    channels: tuple[dict[str, Any], ...]
    """The recall channels that found it: {channel, rank, score, because, reason}; `because` is the
    title of the item in the user's history that led to it, `reason` the channel's own words; None
    where the channel has none."""
    prerank: dict[str, float | None]
    """{score, place} of pre-rank."""
    predictions: dict[str, float]
    """The ranker's prediction of each task."""
    value: float | None
    """What orders the list before re-rank: the fused value, or its combination with channels."""
    value_place: int | None
    """Its place by that value, from 1."""
    rerank: dict[str, float]
    """The note of each re-rank rule."""
    fused: float | None = None
    """The fused value of the predictions."""
    order: str = ""
    """What `value` is made of: the ranker, a channel, a fusion of both, or "recall (new user)"."""
    boost: float | None = None
    """Factor of the request's `boost` that `value` contains; None without `boost`."""

    @property
    def by_recall(self) -> bool:
        """Whether recall orders the list: a new user under `cold_start = "recall"`."""
        return self.order == RECALL_ORDER


@dataclass(frozen=True)
class Place:
    """One item of a slate."""

    item_id: str
    """External item id."""
    title: str
    place: int
    """From 1."""
    score: float
    """The fused value; comparable within one answer."""
    reasons: Reason | None = None
    propensity: float | None = None
    """Probability with which the item was drawn at this place, given those above it; None where the
    slate is not drawn (re-rank rules `sample` and `explore`)."""


@dataclass(frozen=True)
class WhyNot:
    """Which stage removed an item from the answer."""

    item_id: str
    title: str
    stage: str | None
    """not_recalled, filtered, prerank_cut, rank_cut, rerank_displaced; None: it is shown."""
    detail: str
    reasons: Reason | None = None
    notes: tuple[str, ...] = ()
    """Of an earlier answer: what the explanation cannot tell, and why."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    recommendation_id: str
    """That of the request, or a new one."""
    version: str
    user_id: str | None
    known: bool
    """Whether this version, or an event since, knows the user; otherwise the items are not
    personalised."""
    time: int
    """The time that was answered for, in ms since 1970 UTC."""
    clock: Literal["request", "now", "data"]
    """Source of that time: the request, the clock, or the end of the data."""
    items: tuple[Place, ...]
    took_ms: float
    degraded: tuple[str, ...] = ()
    """What failed or was left out; empty: the whole cascade answered."""
    delta: int = 0
    """Number of the newest delta of the version that the answer took into account; 0: none."""
    broken_rules: tuple[str, ...] = ()
    """The re-rank rules that do not hold in this slate, with their places, the most important
    first; empty: all hold."""
    why_not: WhyNot | None = None
    lag: int = 0
    """Entries of the journal that this answer does not take into account yet."""
    session_id: str = ""
    """That of the request."""
    scene: str = ""
    """That of the request."""
    arms: dict[str, str] = field(default_factory=dict[str, str])
    """Experiment → the arm that answered."""
    teams: tuple[str, ...] = ()
    """Of an interleaved slate: the arm that placed each item."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds per stage."""
    candidates: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """(stage, "in" or "out") → number of candidates."""
    removed: dict[str, int] = field(default_factory=dict[str, int])
    """Filter → number of candidates that it removed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as HTTP answers: places that were not drawn have no propensity."""
        counts = {f"{stage}:{side}": n for (stage, side), n in self.candidates.items()}
        given = asdict(self)
        for place in given["items"]:
            if place["propensity"] is None:
                del place["propensity"]
        return {**given, "candidates": counts}


def title_of(config: ProjectConfig, items: Table, row: int) -> str:
    """The title of an item row, or its id where it has none."""
    return titles_of(config, items, [row])[0]


def titles_of(config: ProjectConfig, items: Table, rows: Sequence[int]) -> list[str]:
    """The titles of item rows; the id of an item without a title."""
    column = config.items.title
    if column is None or column not in items:
        return [items.id_of(row) for row in rows]
    titles = ["" if t is None else str(t).strip() for t in items.cells_of(rows, column)]
    if all(titles):
        return titles
    return [title or items.id_of(row) for title, row in zip(titles, rows, strict=True)]


def unknown_item(config: ProjectConfig, item: object, version: str) -> str:
    """The message of an error about an item that a version does not know."""
    if config.items.path is None:
        return (
            f"item {item!r} is unknown: no event of the log of version {version} has it; check "
            f"the id (the text of the log's column {config.events.item!r})"
        )
    return (
        f"item {item!r} is not in the items' table of version {version}: check the id (the text of "
        f"the table's column {config.items.id!r})"
    )
