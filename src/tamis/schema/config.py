"""`tamis.toml` as typed objects: tables, behaviours, features, tasks, the cascade."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tamis.schema.experiments import (
    ExperimentConfig,
    LayerConfig,
    MetricConfig,
    check_name,
)
from tamis.schema.features import (
    DURATION,
    DenseFeat,
    SparseFeat,
    VarLenSparseFeat,
    milliseconds,
)
from tamis.schema.serve import ServeConfig
from tamis.schema.text import TextConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


TimeUnit = Literal[
    "auto", "s", "ms", "us", "ns", "minutes", "hours", "days", "weeks", "iso", "excel", "mmdd",
    "yymmdd", "yymmddhh", "yymmddhhmm", "yymmddhhmmss",
]  # fmt: skip


class _FileConfig(_Section):
    """How the file of a table is read."""

    separator: str | None = None
    """Separator of a text file. If omitted: detected from the first lines."""
    columns: tuple[str, ...] = ()
    """Names of all columns of a text file whose first line holds values already, in their order. If
    omitted: the first line names the columns."""
    encoding: str | None = None
    """Encoding of a text file, such as "gb18030", "cp1252" or "utf-16". If omitted: UTF-8, or as
    the byte-order mark says; a file in another one is refused with the likely name."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark of the numbers of a text file. If omitted: as the values show; where they do
    not, a comma if the separator is ";"."""
    missing: tuple[str, ...] | None = None
    """Texts that mean a missing value, beside the empty one. If omitted: NULL, NA, N/A, NaN, \\N,
    dashes and the like; the page on data lists them."""
    day_first: bool | None = None
    """Whether 2/1/2024 is the second of January. If omitted: as the column's values show."""


class TableConfig(_FileConfig):
    """A table of users or items: its file, and the columns that the cascade reads."""

    path: str | None = None
    """File, relative to the project's folder: CSV, TSV, Parquet or JSONL, also compressed. Items:
    if omitted, the items are those of the events, without attributes."""
    id: str = ""
    """Column of the external id, which is unique. If omitted: named as in the events."""
    unknown: Literal["keep", "drop"] = "keep"
    """Ids of the events that the table does not hold. keep: they are added to it, with missing
    attributes, and counted. drop: their events are left out and reported."""
    title: str | None = None
    """Items: column of the title, which commands and reports show."""
    category: str | None = None
    """Items: column of one category, or of several (a list, or text with `category_separator`)."""
    category_separator: str | None = None
    """Items: splits a text of several categories ("Action|Comedy")."""
    author: str | None = None
    """Items: column of the id of the creator or seller."""
    published: str | None = None
    """Items: column of the time of publication, in a format as for `events.time`."""
    time_unit: TimeUnit = "auto"
    """Items: unit of `published`, as `events.time_unit`."""
    latitude: str | None = None
    """Items: column of the latitude in degrees; needs `longitude`."""
    longitude: str | None = None
    """Items: column of the longitude in degrees."""
    city: str | None = None
    """Column of the city of the item or user."""
    text: TextConfig | None = None
    """[items.text]: texts of the items that become vectors. If omitted: none."""


class EventsConfig(_FileConfig):
    """The event log: one row per user, item, behaviour and time."""

    path: str | None = None
    """File of the log, as for the other tables. If omitted: all events come by the service, and
    training reads them from its journal."""
    user: str = "user_id"
    """Column of the user's id."""
    anonymous: tuple[str, ...] = ()
    """Values of `user` that mean that the user is not known, such as ["-1", "guest"]."""
    visitor: str | None = None
    """Column of a session, a cookie or a device, which stands for the user in rows without one. The
    ids of such users are written as "COLUMN:VALUE", in requests too: "session_id:4711". If omitted:
    rows without a user are left out."""
    item: str = "item_id"
    """Column of the item's id."""
    time: str = "time"
    """Column of the time: numbers since 1970 or written as YYYYMMDD, texts in a usual format (UTC
    without a zone), or dates."""
    time_of_day: str | None = None
    """Column of the time of the day, where `time` holds dates alone: 13:05, 1:05 PM, or numbers
    such as 1305 or hours. Rows without one have the date alone."""
    time_unit: TimeUnit = "auto"
    """Unit of `time`; auto: detected from the values. minutes, hours, days, weeks: since 1970 or
    since the start of the log. iso: texts. excel: days of a spreadsheet. yymmdd and the like: dates
    written as one number (mmdd: without a year; the year 2000 is taken)."""
    untimed: Literal["rows", "random"] | None = None
    """For a log without times: the order of its events. `time` is not read. rows: as the rows of
    the file, the oldest first. random: an order drawn by `seed`, so that evaluation holds out
    random events."""
    arrival: str | None = None
    """Column of the time when the event reached the log, in the unit of `time`. If omitted: the
    column `time`."""
    behaviour: str | None = None
    """Column of the behaviour's name. If omitted: the first declared behaviour whose bounds fit."""
    value: str | None = None
    """Column of a rating, of seconds or of a price."""
    request: str | None = None
    """Column of the request that showed the item."""
    position: str | None = None
    """Column of the position in the slate, from 1. Where the log has impressions, an input of the
    ranker and the pre-ranker in training, so that they do not take the clicks of a place at the top
    for interest in the item; it is the mean in validation, evaluation and requests."""
    sample_weight: str | None = None
    """Column of numbers from 0 on: how much the row of training counts that an event makes or
    labels, for rankers and pre-rankers. A row has the weight of the last event that made its label,
    or of its impression if there is none; 1 where the column is empty, and for candidates of
    replayed queries that no event followed. Metrics and calibration are not weighted."""
    context: tuple[str, ...] = ()
    """Columns that describe the request, not the user or the item, such as ["device", "os"]. They
    can be features with side = "context"; a request gives them in its `context`."""
    city: str | None = None
    """Column of the city from which the request came: the context feature `city`, and `city` of a
    request. If omitted: the column `city` where `context` names it."""
    latitude: str | None = None
    """Column of the latitude of the request's place in degrees; needs `longitude`. Makes the
    context feature `geohash`, and the distance to items that have places."""
    longitude: str | None = None
    """Column of the longitude of the request's place in degrees."""

    @property
    def file(self) -> str:
        """`path` of a project that has a file of events. Raises ValueError without one."""
        if self.path is None:
            raise ValueError("[events] has no path: the events come by the service")
        return self.path

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Names of the columns of context that a request can give, `city` among them."""
        return tuple(dict.fromkeys([*self.context, *(["city"] if self.city else [])]))


class FollowsConfig(_FileConfig):
    """A table of the authors whom users follow: one row per user and author."""

    path: str
    """File of the table, as for the other tables."""
    user: str = "user_id"
    """Column of the user's id."""
    author: str = "author_id"
    """Column of the author, as `items.author` spells it."""
    time: str | None = None
    """Column of the time since when the user follows, in a format as for `events.time`. If omitted:
    every row is known at any time, in evaluation as well."""
    time_unit: TimeUnit = "auto"
    """Unit of `time`, as `events.time_unit`."""


class Behaviour(_Section):
    """One kind of event."""

    name: str = ""
    """Set by the key of the table, [behaviours.like]."""
    label: str | None = None
    """The text in the column of behaviours. If omitted: the name."""
    column: str | None = None
    """Column of the events for a behaviour that stands beside others in one row, such as `is_like`:
    the row is this event too where the column is true, yes or a number above 0 (with bounds: a
    number within them, which is then the event's value)."""
    min_value: float | None = None
    """Only events with at least this value (of `events.value` or `column`) have the behaviour."""
    max_value: float | None = None
    """Only events with at most this value have the behaviour."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """The interest value r of an event (click 1, like 2, share 3 …), which collaborative channels
    and lists of popular items sum. A behaviour that is not positive counts for them only if its
    weight is declared and above 0. If omitted: 1 for a positive behaviour, else 0."""
    positive: bool = False
    """Whether it shows interest. Positive events train recall and are the targets of `evaluate`."""
    impression: bool = False
    """Whether it means that the item was shown."""

    @property
    def interest(self) -> float:
        """The interest value r of an event: the declared weight, else 1 if positive, else 0."""
        return float(self.positive) if self.weight is None else self.weight


class SplitConfig(_Section):
    """A global split by time, at shares of the events."""

    valid_from: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the events before the validation window."""
    test_from: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of the events before the test cut. An evaluation version does not see later events."""
    windows: Annotated[int, Field(ge=1, le=20)] = 4
    """Rolling windows before the test cut from which ranking rows are made; the last one is the
    validation window. Of impressions, each holds the same share of the events; of replayed queries,
    each is one horizon long."""
    horizon: Annotated[str, Field(pattern=r"^\d+(\.\d+)?[mhd]$")] | None = None
    """Without impressions: events within this time after a replayed query label its candidates, in
    training, validation and test alike; "12h", "7d". If omitted: the length of the validation
    period, at most that of the test period, and short enough for all windows."""
    max_rows: Annotated[int, Field(ge=1000)] = 1_000_000
    """Without impressions: about how many ranking rows all replayed windows may have together. Of
    more, negatives are sampled, and predictions are corrected for it; where a task is not binary,
    users are sampled."""


class TaskConfig(_Section):
    """A quantity that the ranker predicts for a candidate.

    The name of a conditional task holds its condition: `[tasks."like|click"]` is the rate of likes
    among clicked items. It is trained on rows where the condition holds; the product with its
    condition is predicted too, as `like`. Conditions form chains: `purchase|cart` after
    `cart|click`.
    """

    name: str = ""
    """Set by the key of the table, [tasks.like]."""
    behaviour: tuple[str, ...] = ()
    """The label is 1 (or the value of the event) if one of these behaviours follows. Empty: the
    behaviour in the name of the task, without its condition."""
    kind: Literal["binary", "multiclass", "regression", "watch_time", "completion"] = "binary"
    """binary: a probability. multiclass: one of several classes. regression: a number. watch_time:
    seconds, learnt as t / (1 + t). completion: the watched share of the item's duration."""
    given: str | None = None
    """The condition, a task or a behaviour: only rows where it holds have a label. Set by the name
    of a conditional task."""
    value: Literal["value", "count", "behaviour"] = "value"
    """The label of kinds other than binary. value: the value of the last event; watched time is
    summed. count: the number of such events that followed. behaviour (multiclass): 0 for none of
    them, k for the k-th of `behaviour`, by the last event that followed."""
    absent: float | None = None
    """Label of rows where the condition holds and no such event followed. If omitted: no label."""
    classes: tuple[float, ...] = ()
    """multiclass: the values that are classes, ascending (ratings 1 to 5). Empty with
    value = "behaviour"."""
    loss: Literal["mse", "mae"] | None = None
    """regression, watch_time: mse predicts the mean; mae the median, which has the smallest
    absolute error. If omitted: mse for regression, mae for watch_time."""
    unit: Literal["ms", "s", "min", "h"] = "s"
    """watch_time, completion: unit of the value of events (and of `duration`)."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """watch_time: the seconds at which t = 1 in y = t / (1 + t)."""
    duration: str | None = None
    """completion: the items' column of the duration, in `unit`; 0 and missing values give no
    label."""
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """completion: share from which the label is 1 (0.8). If omitted: the label is the share, at
    most 1."""
    esmm: bool = False
    """Learn the product with the condition on all rows, not the rate on rows where the condition
    holds (Ma et al. 2018); this avoids sample selection bias and uses more rows."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the task in the training loss."""
    sample_weight: str | None = None
    """Column of the events with the weights of this task's rows, instead of that of
    `events.sample_weight`."""
    negatives: Annotated[float, Field(gt=0, le=1)] | None = None
    """binary: share of the negative rows to train on; predictions are corrected for it exactly. If
    omitted: the model's `negatives`."""

    @model_validator(mode="after")
    def _named_by_its_condition(self) -> TaskConfig:
        """Sets behaviour and condition by the name `like|click`, past the frozen model."""
        base, _, condition = self.name.partition("|")
        if condition and self.given is None:
            object.__setattr__(self, "given", condition)
        if base and not self.behaviour:
            object.__setattr__(self, "behaviour", (base,))
        return self

    @property
    def base(self) -> str:
        """The name without its condition, which is the name of the product with the condition."""
        return self.name.partition("|")[0]

    @property
    def seconds(self) -> float:
        """Seconds in one `unit`."""
        return {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}[self.unit]


class StageConfig(BaseModel):
    """A stage by short name or dotted path; all other keys are options of the stage."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = ""
    """Short name of the stage (`itemcf`), `package.module:Class` or `path.py:Class`. If omitted:
    the key of the table."""

    @property
    def options(self) -> dict[str, Any]:
        """The options of the stage."""
        return dict(self.__pydantic_extra__ or {})


class ChannelConfig(StageConfig):
    """A recall channel: a stage with a quota and a weight."""

    quota: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Most candidates that the channel returns."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight in a score merge; in a snake merge, candidates taken per round (rounded up)."""
    fallback: bool = False
    """Whether it fills in if no other channel returns candidates (unknown users)."""


class MergeConfig(_Section):
    """How the lists of the channels are merged."""

    method: Literal["snake", "score"] = "snake"
    """snake: take candidates from the channels in turns, best first. score: order by the channels'
    normalised scores times their weights."""
    normalise: Literal["rank", "minmax", "zscore"] = "rank"
    """How a score merge normalises the scores of a channel."""
    limit: Annotated[int, Field(ge=1)] = 10_000
    """Most candidates after the merge."""


Milliseconds = Annotated[float, Field(gt=0, le=3_600_000)]


class BudgetsConfig(_Section):
    """Milliseconds that stages of a request may take. Evaluations have no budgets.

    A stage cannot be interrupted. It is left out of an answer where its usual time, the median of
    its last 5 runs, is longer than its budget or than what is left of `total`; after 10 seconds
    without a run (then 20, 40, … 320) one request runs it again. Filters have no budgets, as an
    answer must not hold what a filter forbids."""

    total: Milliseconds | None = None
    """For a whole request. If omitted: no limit, as for all other keys."""
    channel: Milliseconds | None = None
    """For each recall channel."""
    features: Milliseconds | None = None
    """For gathering the inputs of the pre-ranker and the ranker. Without them, candidates stay in
    the order of recall."""
    prerank: Milliseconds | None = None
    """For the pre-ranker. Without it, the first candidates of recall are kept."""
    rank: Milliseconds | None = None
    """For the ranker. Without it, candidates stay in the order of pre-rank, or of recall."""
    rerank: Milliseconds | None = None
    """For each re-rank rule, and for the plan that arranges them."""
    stages: dict[str, Milliseconds] = {}
    """Budgets of single channels and rules, by the names that `degraded` of an answer gives them:
    {"recall:usercf" = 20, "rerank:mmr" = 5}."""

    def of(self, stage: str) -> float | None:
        """The budget of a stage, `KIND:NAME` or `KIND`, in ms; None: it has none of its own."""
        kind = stage.split(":")[0]
        budgets = {"recall": self.channel, "features": self.features, "prerank": self.prerank}
        budgets |= {"rank": self.rank, "rerank": self.rerank}
        return self.stages.get(stage, budgets.get(kind))


class CascadeConfig(_Section):
    """The stages of the cascade, in the order in which a request passes them."""

    channels: dict[str, ChannelConfig]
    """Recall: [cascade.channels.NAME]."""
    merge: MergeConfig = MergeConfig()
    """[cascade.merge]."""
    filters: dict[str, StageConfig] = {}
    """Filters of items that may not be shown: [cascade.filters.NAME]."""
    prerank: StageConfig | None = None
    """The cheap model before the ranker. If omitted: all recalled candidates are ranked."""
    prerank_keep: Annotated[int, Field(ge=1)] = 300
    """Number of candidates that the pre-ranker keeps."""
    rank: StageConfig
    """The model that predicts the tasks."""
    fusion: str = ""
    """Expression over predictions, numbers of items and channels. Empty: the first task."""
    order: Literal["rank", "auto"] = "rank"
    """How candidates are ordered before re-rank. rank: by the fused value. auto: training chooses
    by NDCG@10 on the validation windows among the fused value, the order of a recall channel, and
    reciprocal rank fusions of both; the choice is stored in the version and reported."""
    cold_start: Literal["rank", "recall"] = "rank"
    """How the candidates of users without any history are ordered: by the rankers, or by recall if
    the rankers have not been trained on such users, as is the case with replayed queries."""
    rerank: dict[str, StageConfig] = {}
    """Re-rank rules: [cascade.rerank.NAME]. Those of Tamis are arranged together; later ones are
    more important."""
    slate: Annotated[int, Field(ge=1, le=1000)] = 20
    """Number of items returned if a request does not give `n`."""
    budgets: BudgetsConfig = BudgetsConfig()
    """[cascade.budgets]."""


class AnswersConfig(_Section):
    """What the journal of a running service keeps of each answer, beside its items."""

    traces: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the answers of which it keeps what each stage did with each candidate, so that the
    answer can be explained later: about 10 KB for 600 candidates, and a tenth of a request's
    processor time after the answer. Items of other answers have no reasons later."""
    inputs: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the answers of which it keeps the values that the ranker read."""
    rejected: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the answers of which it keeps items that pre-rank and rank rejected, for channels
    with `hard_negatives = "log"`: up to ten of each stage, drawn at random, and at most 1 KB.
    Without such a channel it keeps none."""


class JournalConfig(_Section):
    """The journal of the running service: where it is, and how long it keeps what."""

    store: str = ""
    """Address of the journal: redis://host:port/db, rediss:// (TLS) or unix:///path.sock. If
    omitted: the file journal/journal.sqlite in the project's folder. `tamis train` reads this
    journal."""
    keep_days: Annotated[float, Field(ge=0)] = 7.0
    """Days for which entries stay in the journal after `tamis export` wrote them to files."""
    keys_days: Annotated[float, Field(ge=0)] = 30.0
    """Days for which ids of events are known after they were sent, at least as long as the events
    are in the journal: an event that is sent again is then a duplicate."""
    answers_days: Annotated[float, Field(ge=0)] = 30.0
    """Days for which answers are kept; `tamis export` deletes older ones."""
    snapshot_minutes: Annotated[float, Field(ge=0)] = 5.0
    """Minutes between snapshots of what a running service knows beside its version; a restart reads
    the last one and the entries since. 0: no snapshots, a restart applies all entries."""


class UpdateConfig(_Section):
    """Updates of the serving version by `tamis update`."""

    holdout: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Share of what is new that is held out at first: the gate judges by it, and calibrations are
    fitted on it. Of a log with impressions, the latest ones; otherwise the last window as a whole,
    or of a single window this share of its users, and up to half of them where that is fewer than
    100. The version that is published has learnt from it, too."""
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    """By how much the command lowers its priority, so that a service on the same machine goes
    before it; 0: not at all."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that the command computes with. If omitted: half of the processors, at least one."""


class GateConfig(_Section):
    """What a new version must fulfil before `tamis update` publishes it."""

    ndcg_drop: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share by which NDCG@10 of the slates may be lower than that of the serving version. A lower
    one counts only if chance does not explain it (95% interval over users). Of a log with
    impressions, `shown_drop` and `slates_drop` count instead."""
    shown_drop: Annotated[float, Field(ge=0)] = 0.3
    """Of a log with impressions: by how much NDCG@10 of the items that users were shown, in the
    order of the ranked candidates, may be lower than that of the serving version, as a share of
    what the latter is better than a random order; beyond chance."""
    slates_drop: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Of a log with impressions: share by which NDCG@10 of the slates may be lower than that of the
    serving version, beyond chance. Users could choose only what they were shown, mostly by the
    serving version, so that other slates are judged worse than they are."""
    auc_drop: Annotated[float, Field(ge=0, le=1)] = 0.02
    """By how much the AUC of a task may be below that of the serving version on the same rows,
    beyond chance (two standard errors)."""
    auc_since: Annotated[float, Field(ge=0, le=1)] = 0.1
    """By how much the AUC of a task may be below the one that it had when it was last judged,
    beyond chance: labels that changed their meaning spoil both versions alike."""
    calibration: Annotated[float, Field(gt=0)] = 0.25
    """By how much predicted ÷ observed positives of a task may be above 1, or observed ÷ predicted,
    beyond chance (two standard errors). A larger distance counts only if that of the serving
    version is not as large."""
    events_ratio: Annotated[float, Field(gt=1)] = 5.0
    """Factor by which the events per hour may differ from those of an equally long time before."""
    unknown_users: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Largest share of new events whose user is unknown to the serving version."""
    unknown_items: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest share of new events whose item is unknown to the serving version."""
    missing_rise: Annotated[float, Field(ge=0, le=1)] = 0.1
    """By how much the share of new events without a value of a feature may be above the former."""
    psi: Annotated[float, Field(gt=0)] = 0.25
    """Largest population stability index of a feature, new events against former ones: the sum of
    (p − q) ln(p / q) over ten bands of numbers or the most frequent values, less what chance
    explains; the events of a user count as one where they are alike. Below 0.1 is usually called
    stable, above 0.25 a shift."""
    size_drop: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share by which the numbers of items, users and events may be below those of the serving
    version."""
    requests: Annotated[int, Field(ge=1, le=1000)] = 20
    """Trial requests to the new version before it is published, one of them of an unknown user:
    each must be answered with items and finite scores."""
    latency_ratio: Annotated[float, Field(gt=1)] = 3.0
    """Factor by which the median time of the trial requests may be above that of the serving
    version."""


class OnlineConfig(_Section):
    """How `tamis update --follow` learns from the events that reach a running service."""

    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Learning rate of the vectors of ids (Adagrad with one step size per vector)."""
    steadiness: Annotated[float, Field(gt=0)] = 0.1
    """Squared gradient that every vector is taken to have had in training. The larger, the less a
    vector moves by its first events: the first step is about
    learning_rate · gradient / √(steadiness + gradient²)."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Impressions of one step, in the order of their times."""
    wait: Annotated[str, Field(pattern=DURATION)] = "5m"
    """How long after an impression it is learnt from, so that the clicks on it have come: "90s",
    "5m", "1h"."""
    lateness: Annotated[str, Field(pattern=DURATION)] = "1m"
    """Events that come at most so long after others of a later time are learnt from with the next
    update; later ones are counted, and left to the next full training."""

    @property
    def wait_ms(self) -> int:
        """`wait` in ms."""
        return milliseconds(self.wait)

    @property
    def lateness_ms(self) -> int:
        """`lateness` in ms."""
        return milliseconds(self.lateness)


class ProjectConfig(_Section):
    """The content of `tamis.toml`."""

    name: str
    """Name of the project, for reports."""
    seed: int = 0
    """Random seed. The same seed and data reproduce the same version, for any number of threads."""
    events: EventsConfig
    """[events]."""
    items: TableConfig = TableConfig()
    """[items]. If omitted: the items of the events, without attributes."""
    users: TableConfig | None = None
    """[users]. If omitted: the users of the events, without attributes."""
    follows: FollowsConfig | None = None
    """[follows]: the authors whom users follow, for the channel `author` with
    source = "followed"."""
    behaviours: dict[str, Behaviour]
    """[behaviours.NAME]; a row of the log is the first one that fits, and each of those with a
    `column` of their own that is true."""
    features: tuple[
        Annotated[SparseFeat | DenseFeat | VarLenSparseFeat, Field(discriminator="kind")], ...
    ] = ()
    """[[features]]. Empty: chosen by the columns of the tables."""
    windows: tuple[Literal["1h", "1d", "7d", "30d", "all"], ...] = ("7d", "30d", "all")
    """Time windows of the statistics of users and items, and of those of `groups`. Empty: no
    statistics."""
    groups: Literal["auto"] | tuple[str, ...] = ()
    """Attributes whose statistics are inputs. "author", a column of the items: counts and rates of
    all items with the candidate's value. "user:gender", of the users: of the candidate among users
    with the requesting user's value. "own:category", of the items: of the requesting user on items
    with the candidate's value. auto: `items.author` and `items.category`, if their values have at
    least two items on average; own: of the category; user: of the first 3 sparse features of the
    users with 2 to 10 values. Empty: none."""
    repeats: bool | Literal["auto"] = "auto"
    """Whether rankers get features of a candidate that the user has acted on: how often, how long
    ago, by which behaviour, share of the user's events, usual gap. auto: if at least 2 % of the
    positive events are on items that the user knew, and no filter removes all of these."""
    time_zone: str = "UTC"
    """Time zone of the context features `hour`, `weekday`, `weekend` and `holiday`, such as
    "Asia/Shanghai". Times of the tables that name no zone are UTC all the same."""
    holidays: str | tuple[date, ...] | None = None
    """Days of the context feature `holiday`: those of a country ("CN") or a part of it ("DE-BY"),
    which needs `tamis[holidays]`, or dates, such as ["2026-10-01"]."""
    clock: Literal["now", "data"] = "now"
    """The default time of a request. "now": the time of the clock, for a project that receives
    events. "data": the end of the data, for a static data set whose events ended long ago."""
    keep_versions: int = Field(default=3, ge=3)
    """Number of older versions of each kind that `tamis train` keeps beside the newest one. Those
    that a process has open, or that are current, are kept in any case."""
    journal: JournalConfig = JournalConfig()
    """[journal]."""
    split: SplitConfig = SplitConfig()
    """[split]."""
    tasks: dict[str, TaskConfig] = {}
    """[tasks.NAME]. Empty: one binary task of all positive behaviours."""
    cascade: CascadeConfig
    """[cascade]."""
    update: UpdateConfig = UpdateConfig()
    """[update]."""
    gate: GateConfig = GateConfig()
    """[gate]."""
    answers: AnswersConfig = AnswersConfig()
    """[answers]."""
    online: OnlineConfig = OnlineConfig()
    """[online]."""
    serve: ServeConfig = ServeConfig()
    """[serve]."""
    metrics: dict[str, MetricConfig] = {}
    """Metrics of experiments: [metrics.NAME]."""
    layers: dict[str, LayerConfig] = {}
    """Layers of experiments: [layers.NAME]. A layer without a table has no holdout."""
    experiments: dict[str, ExperimentConfig] = {}
    """Experiments that may be started: [experiments.NAME]."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_entries(cls, data: Any) -> Any:
        """Sets `name` of each behaviour and task to the key of its table, and omitted ids."""
        if not isinstance(data, dict):
            return data
        named = dict(cast("dict[str, Any]", data))
        for section in ("experiments", "layers"):
            for name in named.get(section) or ():
                check_name(name)
        for section in ("behaviours", "tasks"):
            entries = named.get(section)
            if isinstance(entries, dict):
                named[section] = {
                    key: {"name": key, **entry} if isinstance(entry, dict) else entry
                    for key, entry in cast("dict[str, Any]", entries).items()
                }
        events = named.get("events")
        for section, key in (("items", "item"), ("users", "user")):
            table = named.get(section, {} if section == "items" else None)
            if isinstance(table, dict) and isinstance(events, dict):
                column = cast("dict[str, Any]", events).get(key, f"{key}_id")
                named[section] = {"id": column, **cast("dict[str, Any]", table)}
        return named
