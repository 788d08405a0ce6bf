"""JSON messages of the service: answers, errors, health. Requests are `tamis.service.Request`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from tamis.service import Lift, Reason, WhyNot


def unset(value: float | None) -> float | UnsetType:
    """A number, or nothing where there is none: the field is then left out."""
    return UNSET if value is None else value


class RecommendedItem(Struct, frozen=True):
    """One item of the slate."""

    item_id: str
    """External item id."""
    title: str
    place: int
    """From 1."""
    score: float | None
    """The fused value of the ranker, comparable within one answer; null where it is not finite."""
    propensity: float | UnsetType = UNSET
    """Where the re-rank rule `sample` draws the slate: the probability of the item at this place,
    given those above it."""
    reasons: Reason | UnsetType = UNSET
    """With `explain`: channels, ranks and scores, pre-rank, predictions, fusion, re-rank."""


class RecommendAnswer(Struct, frozen=True):
    """The slate."""

    recommendation_id: str
    """That of the request, or a new one; it is in the log line of the request, too."""
    version: str
    """The serving version that answered."""
    user_id: str | None
    known: bool
    """False: neither this version nor an event since knows the user; the items are not
    personalised."""
    time: int
    """The time that was answered for, in ms since 1970 UTC."""
    clock: Literal["request", "now", "data"]
    """Where `time` is from: the request, the clock, or the end of the data (a static data set)."""
    items: list[RecommendedItem]
    took_ms: float
    """Milliseconds from the decoded request to the answer, including the wait for a turn."""
    lag: int = 0
    """Entries of the journal that the answer does not take into account yet."""
    degraded: list[str] = field(default_factory=list[str])
    """What failed or was left out of this answer; empty: the whole cascade answered."""
    broken_rules: list[str] = field(default_factory=list[str])
    """The re-rank rules that do not hold in this slate, with their places; empty: all hold."""
    arms: dict[str, str] = field(default_factory=dict[str, str])
    """The experiments that the request takes part in, and its arm in each."""
    why_not: WhyNot | UnsetType = UNSET
    """With `why_not`: the stage that removed the item."""


class RankedLine(Struct, frozen=True):
    """A given item with its place."""

    item_id: str
    title: str
    place: int
    """From 1."""
    score: float | None
    """The fused value with the request's boost; null where it is not finite."""
    predictions: dict[str, float | None]
    """The ranker's prediction of each task."""


class RemovedLine(Struct, frozen=True):
    """A given item that filters remove."""

    item_id: str
    title: str
    filters: list[str]
    reasons: list[str]


class RankAnswer(Struct, frozen=True):
    """The given items, ordered."""

    version: str
    user_id: str | None
    known: bool
    time: int
    """The time that was answered for, in ms since 1970 UTC."""
    clock: Literal["request", "now", "data"]
    items: list[RankedLine]
    """Best first."""
    removed: list[RemovedLine]
    unknown: list[str]
    """Ids that are not those of an item."""
    took_ms: float
    lag: int = 0
    degraded: list[str] = field(default_factory=list[str])


class SimilarLine(Struct, frozen=True):
    """A similar item."""

    item_id: str
    title: str
    place: int
    """From 1."""
    score: float
    """Cosine of the two vectors."""


class SimilarAnswer(Struct, frozen=True):
    """The items nearest to an item."""

    version: str
    by: str
    """Whose vectors were compared: "text", or the name of a channel."""
    item_id: str
    title: str
    items: list[SimilarLine]


class FoundUser(Struct, frozen=True):
    """One user who is like the given ones."""

    user_id: str
    score: float
    """Cosine of the user's vector and that of the given users or the item."""
    rank: int
    """From 1."""


class LookalikeAnswer(Struct, frozen=True):
    """The users most like the given ones, who are left out."""

    version: str
    channel: str
    """The channel whose vectors of users were compared."""
    seeds: int
    """Users whose mean vector was compared; 0: the item's own vector was."""
    unknown_user_ids: list[str]
    """Given users of whom the version knows nothing."""
    users: list[FoundUser]
    expected_lift: Lift | None
    """How much more often such users liked an item than users at random, on held-out events."""
    note: str
    """Why no lift was measured; empty where one was."""


class Problem(Struct, frozen=True):
    """What is wrong and how to fix it."""

    code: str
    """Stable word for programs: bad_request, unauthorized, forbidden, not_found,
    conflict, method_not_allowed, too_large, unsupported_media_type, overloaded, not_ready,
    unavailable, internal."""
    message: str
    """What is wrong, where, and how to fix it, in words."""
    field: str | None = None
    """The request's field at fault."""
    value: str | float | bool | None = None
    """What was sent there, shortened."""
    cure: str = ""
    """What a program can do about errors of this code."""


class ErrorAnswer(Struct, frozen=True):
    error: Problem


class TakenEvent(Struct, frozen=True, omit_defaults=True):
    """What became of one event."""

    status: Literal["accepted", "duplicate", "refused"]
    event_id: str | None = None
    """Its id, given or new."""
    sequence: int | None = None
    """Its number in the journal; of a duplicate, that of the first."""
    error: Problem | None = None
    """Why it was refused."""


class EventsAnswer(Struct, frozen=True):
    """What became of the events, in the order in which they were sent."""

    accepted: int
    duplicates: int
    refused: int
    events: list[TakenEvent]


class StoredRow(Struct, frozen=True, omit_defaults=True):
    """What became of one user or item that was put, patched or deleted."""

    status: Literal["accepted", "refused"]
    id: str | None = None
    sequence: int | None = None
    """Number of its entry in the journal."""
    error: Problem | None = None
    """Why it was refused."""


class RowsAnswer(Struct, frozen=True):
    """What became of the users or items of one call."""

    accepted: int
    refused: int
    rows: list[StoredRow]
    """In the order of the call."""


class UserRow(Struct, frozen=True):
    """A user as the next answer knows it."""

    user_id: str
    columns: dict[str, Any]
    """The columns that are not missing."""


class ItemRow(Struct, frozen=True):
    """An item as the next answer knows it."""

    item_id: str
    columns: dict[str, Any]
    """The columns that are not missing."""
    hidden: bool


class DeletedUser(StoredRow, frozen=True, kw_only=True):
    """A user that was deleted."""

    answers: int
    """Number of earlier answers that were deleted."""
    versions: list[str]
    """Versions on the disk whose tables, histories and models still hold the user."""


class HiddenItem(StoredRow, frozen=True, kw_only=True):
    """An item that was hidden, or shown again."""

    hidden: bool
    """Whether it is in no answer from now on."""


class LoggedItem(Struct, frozen=True):
    item_id: str
    title: str
    place: int
    score: float | None
    reasons: Reason | None
    """Channels, ranks and scores, pre-rank, predictions, fusion, re-rank, as they were when
    answered; null where the answer has no trace."""
    propensity: float | UnsetType = UNSET
    """Where the slate was drawn: the probability of the item at this place."""


class LoggedAnswer(Struct, frozen=True):
    """An earlier answer, as the journal holds it, with the reasons of its items."""

    recommendation_id: str
    version: str
    user_id: str | None
    time: int
    items: list[LoggedItem]
    degraded: list[str]
    notes: list[str]
    """What the explanation cannot tell, and why."""
    broken_rules: list[str] = field(default_factory=list[str])
    """The re-rank rules that do not hold in the slate, with their places."""


class JournalState(Struct, frozen=True):
    """How far the service has read the journal, and what an accepted event survives."""

    head: int | None
    """Number of the last entry, events and answers alike; null where it is out of reach."""
    position: int
    """Number of the last entry that answers take into account."""
    durability: str
    lost_answers: int
    """Answers that could not be written to the journal."""
    skipped: dict[str, int]
    """Events that answers cannot take into account, by reason."""
    problem: str | None = None
    """Why the journal cannot be reached; answers go on by what is known."""


class ListedVersion(Struct, frozen=True):
    """A version of the project."""

    name: str
    kind: str
    """serving: it answers requests; evaluation: it is evaluated."""
    current: bool
    """Whether it is the published one of its kind."""
    data_until: int
    """Events that arrived from this time on (ms since 1970 UTC) are unknown to it."""
    created: str
    """ISO 8601, UTC."""
    mb: float
    """Megabytes of its files."""
    code: str
    """The release of Tamis that wrote it."""


class VersionsAnswer(Struct, frozen=True):
    """The project's versions, oldest first."""

    answering: str
    """The version by which this process answers."""
    problem: str | None
    """Why the published version is not the one that answers, where it could not be opened."""
    versions: list[ListedVersion]


class ListedStep(Struct, frozen=True):
    """A step in the life of an experiment."""

    step: str
    """start, ramp, full or close."""
    time: int
    """Milliseconds since 1970 UTC."""
    by: str
    note: str = ""
    traffic: float | None = None
    """Of start and ramp: share of the layer's units that take part from then on."""
    arm: str | None = None
    """Of full: the arm that everybody gets."""
    reverse: float | None = None
    """Of full: share of units that keep the control arm."""


class ListedExperiment(Struct, frozen=True):
    """An experiment of the project."""

    name: str
    stage: str
    """draft, running, full (an arm is given to everybody) or closed."""
    layer: str
    traffic: float
    """Share of the layer's units that take part."""
    arms: list[str]
    goal: str
    started: int | None = None
    """Milliseconds since 1970 UTC; null for a draft."""
    steps: list[ListedStep] = field(default_factory=list[ListedStep])
    """The oldest first."""
    warning: str | None = None
    """After a rollout: why it came before the end of the test; null otherwise."""


class ExperimentsAnswer(Struct, frozen=True):
    """All experiments of the project."""

    experiments: list[ListedExperiment]


class PlannedTest(Struct, frozen=True):
    """A test of one duration."""

    days: int
    users: int
    """Of both arms. Of a known retention: those who joined long enough before the end to be
    observed."""
    value: float
    """The metric over them."""
    detectable: float
    """Smallest relative difference that the test finds with the wanted power."""
    with_before: float | None
    """The same with CUPED; null where the log is too short."""


class PlanAnswer(Struct, frozen=True):
    """What an A/B test could find, by how long it runs."""

    metric: str
    share: float
    power: float
    alpha: float
    plans: list[PlannedTest]
    """The shortest first. Empty where `value` was given without `users_per_day`."""
    days: int | None
    """Shortest of the durations that finds `effect`; null: none does, or no `effect` was given."""
    effect: float | None
    planned: int | None
    """Users of all arms that find `effect`: `planned` of an experiment; of a known retention, those
    who are observed. null: no `effect` was given."""


class ExperimentResultAnswer(Struct, frozen=True):
    """The result of an experiment."""

    experiment: str
    state: str
    """not healthy, no data yet, running, ship, roll back, no difference found, preferred …"""
    text: str
    """The state in a sentence."""
    winner: str | None
    """The arm to ship; null where none may be named."""
    report: dict[str, Any]
    """All of `tamis experiment report --json`: health, effects, raw counts, by day, by segment."""


class Live(Struct, frozen=True):
    status: str = "live"


class AppliedDelta(Struct, frozen=True):
    """What an incremental update has changed."""

    number: int
    """Its place in the sequence of the version."""
    position: int
    """Number of the last entry of the journal that it has read."""
    created: int
    """When it was made, ms since 1970 UTC."""
    newest: int
    """Time of the newest event that it has read, ms since 1970 UTC."""


class Ready(Struct, frozen=True):
    version: str
    """The serving version that answers."""
    worker: int = 0
    """Number of the process that answers, among those that share the port."""
    open_versions: list[str] = field(default_factory=list[str])
    """The version that answers, and former ones that requests still use."""
    problem: str | None = None
    """Why the published version is not the one that answers, or why it answers without its newest
    deltas."""
    delta: AppliedDelta | UnsetType = UNSET
    """The newest delta of the version that answers take into account; absent without any."""
    journal: JournalState | UnsetType = UNSET
    status: str = "ready"
