"""`tamis.toml` as typed objects: tables, behaviours, features, tasks, the cascade."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tamis.schema.features import DenseFeat, SparseFeat, VarLenSparseFeat


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableConfig(_Section):
    """A table of users or items: where it is and which columns mean something to the cascade."""

    path: str
    """File relative to the project's folder: CSV, TSV, Parquet or JSONL; .gz and .zst too."""
    id: str
    """Column of the external id (unique)."""
    separator: str | None = None
    """Of a text table; None = found from the header line."""
    title: str | None = None
    """Items: what to show a person."""
    category: str | None = None
    """Items: one category, or several (with `category_separator`, or a list column)."""
    category_separator: str | None = None
    """Items: splits a text column of several categories ("Action|Comedy")."""
    author: str | None = None
    """Items: the column of the creator's or seller's id."""
    published: str | None = None
    """Items: when it was born (a time, like the events' column)."""
    latitude: str | None = None
    """Items: degrees north of its place; goes with `longitude`."""
    longitude: str | None = None
    """Items: degrees east of its place."""
    city: str | None = None
    """The city of the item, or of the user."""


class EventsConfig(_Section):
    """The event log: one row per user × item × behaviour × time."""

    path: str
    """File of the log, as for the other tables."""
    user: str = "user_id"
    """Column of the user's id."""
    item: str = "item_id"
    """Column of the item's id."""
    time: str = "time"
    """Column of the time: numbers since 1970, ISO 8601 text (without a zone: UTC), or dates."""
    time_unit: Literal["auto", "s", "ms", "us", "iso"] = "auto"
    """auto = found from the size of the numbers, and written down by `tamis doctor`."""
    arrival: str | None = None
    """When the event reached the log (same unit as `time`); None = its time."""
    behaviour: str | None = None
    """Column of the behaviour's name; None = the first declared one whose bounds fit `value`."""
    value: str | None = None
    """Rating, seconds or price."""
    request: str | None = None
    """Column of the request that showed the item."""
    position: str | None = None
    """Column of the place in the slate, from 1."""
    separator: str | None = None
    """Of a text table; None = found from the header line."""
    unknown: Literal["reject", "add"] = "reject"
    """Events of users or items that their table does not hold: left out and reported, or added to
    the table without attributes."""


class Behaviour(_Section):
    """One kind of event."""

    name: str = ""
    """Filled from the table's key: [behaviours.like]."""
    label: str | None = None
    """The text in the behaviour column; None = the name."""
    min_value: float | None = None
    """Only events with value >= this are of the behaviour."""
    max_value: float | None = None
    """Only events with value <= this are of the behaviour."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """The interest value r that collaborative channels sum (click 1, like 2, share 3 …)."""
    positive: bool = False
    """Is it what the user came for? Positives train recall and are what `evaluate` looks for."""
    impression: bool = False
    """The item was merely shown."""


class SplitConfig(_Section):
    """Global time split by shares of events."""

    valid_from: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Where the last validation window begins."""
    test_from: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """The test cut: an evaluation version knows nothing after it."""
    windows: Annotated[int, Field(ge=1, le=20)] = 4
    """Rolling windows before the test cut that make ranking rows; the last one validates."""


class TaskConfig(_Section):
    """What the ranker predicts for a candidate.

    A conditional task is named by its condition: `[tasks."like|click"]` is the rate of likes among
    what was clicked. It learns from rows where the condition holds; the product with its condition
    is predicted too, as `like`. Conditions chain: `purchase|cart` after `cart|click`.
    """

    name: str = ""
    """Filled from the table's key: [tasks.like]."""
    behaviour: tuple[str, ...] = ()
    """The label is 1 (or that event's value) when one of these behaviours follows; () = the
    behaviour of the task's own name, without its condition."""
    kind: Literal["binary", "multiclass", "regression", "watch_time", "completion"] = "binary"
    """binary: a probability. multiclass: one class of several. regression: a number. watch_time:
    seconds, learnt as t / (1 + t). completion: the share of the item's duration watched."""
    given: str | None = None
    """The condition: a task or a behaviour; its rows alone have a label. Filled from the name."""
    value: Literal["value", "count", "behaviour"] = "value"
    """What is the label of kinds other than binary: the events' value (the last one; watched time
    is summed), how many such events followed, or (multiclass) which behaviour: 0 = none of them,
    k = the k-th of `behaviour`, the last one that followed counts."""
    absent: float | None = None
    """Label of rows where the condition holds and no such event followed; None = no label."""
    classes: tuple[float, ...] = ()
    """multiclass: the values that are classes, ascending (ratings 1 to 5); () with
    value = "behaviour"."""
    loss: Literal["mse", "mae"] | None = None
    """regression: towards the mean (None), or towards the median. watch_time: the seconds that are
    predicted are a mean, or a median (None), which has the smallest absolute error."""
    unit: Literal["ms", "s", "min", "h"] = "s"
    """watch_time, completion: the unit of the events' value (and of `duration`)."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """watch_time: seconds that count as t = 1 in y = t / (1 + t)."""
    duration: str | None = None
    """completion: the items' column of their length, in `unit`; 0 and missing give no label."""
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """completion: the label is 1 from this share on (0.8); None = the share itself, at most 1."""
    esmm: bool = False
    """Learn the product with the condition over all rows instead of the rate where the condition
    holds (Ma et al. 2018): no bias of the rows that meet it, and more of them."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the training loss."""
    negatives: Annotated[float, Field(gt=0, le=1)] | None = None
    """binary: share of its negative rows to learn from, the prediction corrected for it exactly;
    None = the model's `negatives`."""

    @model_validator(mode="after")
    def _named_by_its_condition(self) -> TaskConfig:
        """`like|click` names behaviour and condition; frozen, so they are set past pydantic."""
        base, _, condition = self.name.partition("|")
        if condition and self.given is None:
            object.__setattr__(self, "given", condition)
        if base and not self.behaviour:
            object.__setattr__(self, "behaviour", (base,))
        return self

    @property
    def base(self) -> str:
        """The name without its condition: what the product with the condition is called."""
        return self.name.partition("|")[0]

    @property
    def seconds(self) -> float:
        """Seconds in one `unit`."""
        return {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}[self.unit]


class StageConfig(BaseModel):
    """One stage by short name or dotted path; every other key is the stage's own config."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = ""
    """File name in the stage's room (`itemcf`) or `package.module:Class`; "" = the table's key."""

    @property
    def options(self) -> dict[str, Any]:
        """The stage's own keys."""
        return dict(self.__pydantic_extra__ or {})


class ChannelConfig(StageConfig):
    """A recall channel: a stage with a quota and a weight."""

    quota: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Candidates it may bring."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Its weight in a score merge; in a snake merge, places taken per round (rounded up)."""
    fallback: bool = False
    """Answers when no other channel does (unknown users)."""


class MergeConfig(_Section):
    """How the channels' lists become one."""

    method: Literal["snake", "score"] = "snake"
    """snake: in turns, best first; score: by the channels' scores times their weights."""
    normalise: Literal["rank", "minmax", "zscore"] = "rank"
    """How a score merge makes the channels' scores comparable."""
    limit: Annotated[int, Field(ge=1)] = 10_000
    """Most candidates that leave recall."""


class CascadeConfig(_Section):
    """The stages in the order in which a request meets them."""

    channels: dict[str, ChannelConfig]
    """Recall: [cascade.channels.NAME]."""
    merge: MergeConfig = MergeConfig()
    """[cascade.merge]."""
    filters: dict[str, StageConfig] = {}
    """What may not be shown: [cascade.filters.NAME]."""
    prerank: StageConfig | None = None
    """The cheap model; None = all that recall found is ranked."""
    prerank_keep: Annotated[int, Field(ge=1)] = 300
    """Candidates that pre-rank lets through."""
    rank: StageConfig
    """The model that predicts the tasks."""
    fusion: str = ""
    """Expression over predictions, items' numbers and channels; "" = the first task."""
    strangers: Literal["rank", "recall"] = "rank"
    """Who orders the candidates of a query without any history: the rankers, or recall's own order
    where they have never seen such users, as rankers of replayed queries have not."""
    rerank: dict[str, StageConfig] = {}
    """Rules on the ranked list, in this order: [cascade.rerank.NAME]."""
    slate: Annotated[int, Field(ge=1, le=1000)] = 20
    """Most places a request may ask for without `n`."""


class ProjectConfig(_Section):
    """The whole of `tamis.toml`."""

    name: str
    """Of the project, for reports."""
    seed: int = 0
    """Of everything random: the same seed and data give the same version."""
    events: EventsConfig
    """[events]."""
    items: TableConfig
    """[items]."""
    users: TableConfig | None = None
    """[users]; None = the users of the events, without attributes."""
    behaviours: dict[str, Behaviour]
    """[behaviours.NAME]; an event is of the first one that fits."""
    features: tuple[
        Annotated[SparseFeat | DenseFeat | VarLenSparseFeat, Field(discriminator="kind")], ...
    ] = ()
    """Empty = guessed from the tables."""
    windows: tuple[Literal["1h", "1d", "7d", "30d", "all"], ...] = ("7d", "30d", "all")
    """Statistics windows of users and items."""
    clock: Literal["now", "data"] = "now"
    """The default time of a request. "now": the time of the clock, for a project that receives
    events. "data": the end of the data, for a static data set whose events ended long ago."""
    split: SplitConfig = SplitConfig()
    """[split]."""
    tasks: dict[str, TaskConfig] = {}
    """Empty = one task of all positive behaviours."""
    cascade: CascadeConfig
    """[cascade]."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, data: Any) -> Any:
        """Puts each table's key into its entry as `name`."""
        if not isinstance(data, dict):
            return data
        named = dict(cast("dict[str, Any]", data))
        for section in ("behaviours", "tasks"):
            entries = named.get(section)
            if isinstance(entries, dict):
                named[section] = {
                    key: {"name": key, **entry} if isinstance(entry, dict) else entry
                    for key, entry in cast("dict[str, Any]", entries).items()
                }
        return named
