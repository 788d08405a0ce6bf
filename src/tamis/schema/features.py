"""Declared inputs of models: sparse, dense and variable-length features."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from tamis.schema.component import ComponentConfig, Conditions, Needs
from tamis.schema.errors import ConfigError
from tamis.schema.text import Lengths

DURATION = r"^\d+(\.\d+)?[smhd]$"
"""Pattern of a duration such as "90s", "5m", "1h" or "7d"."""


def milliseconds(duration: str) -> int:
    """A duration of that pattern in ms."""
    units = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    return int(float(duration[:-1]) * units[duration[-1]])


class Side(StrEnum):
    """What a feature describes. Features of the user are computed once per request."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"  # of the request: hour, weekday, device
    CROSS = "cross"  # of a user-item pair: channel scores, statistics


class _Declared(ComponentConfig):
    name: str
    """Unique name, used in reports and models."""
    side: Side | None = None
    """What the feature describes. If omitted: decided by the table that has the column."""
    column: str | None = None
    """Column of the table. If omitted: `name`."""

    def __init__(self, name: str | None = None, /, **data: Any) -> None:
        # both SparseFeat("user_id") and SparseFeat(name="user_id")
        super().__init__(**({"name": name} | data if name is not None else data))

    @property
    def source(self) -> str:
        """The column that the feature reads."""
        return self.column or self.name


_VOCABULARY: Conditions = {
    "vocabulary": (Needs("shares", (None,)),),
    "buckets": (Needs("vocabulary", ("hash",)),),
    "min_count": (Needs("vocabulary", ("dictionary",)), Needs("shares", (None,))),
}
"""What the options of a vocabulary need; a feature that `shares` a table has none of its own."""


class SparseFeat(_Declared):
    """One id per row, embedded. Code 0 is padding (a missing value), code 1 an unseen id.

    The vocabulary `dictionary` keeps every id seen at least `min_count` times in training; `hash`
    maps ids to `buckets` codes without a dictionary.
    """

    only_with: ClassVar[Conditions] = {
        **_VOCABULARY,
        "online": (Needs("shares", (None,)),),
        "spare": (Needs("online", (True,)), Needs("vocabulary", ("dictionary",))),
        "admit_after": (Needs("spare", none_of=(0,)),),
        "admit_within": (Needs("spare", none_of=(0,)),),
        "expire_days": (Needs("online", (True,)), Needs("vocabulary", ("dictionary",))),
    }

    kind: Literal["sparse"] = "sparse"
    vocabulary: Literal["dictionary", "hash"] = "dictionary"
    """A dictionary of the ids, or a hash of them."""
    buckets: Annotated[int, Field(ge=2)] = 100_000
    """Number of codes of a hashed vocabulary."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Ids that occur less often in the training data count as unseen."""
    shares: str | None = None
    """Name of another feature whose embedding table (and vocabulary) this one uses."""
    online: bool = False
    """Whether the vectors of its ids learn from events between two trainings
    (`tamis update --follow`): those of users, items and authors, whose tastes and fortunes change
    within hours. Lists that share the table read the same vectors."""
    spare: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Rows of the table that are kept free for users or items that come after the training, and get
    vectors of their own from `tamis update --follow`. 0: new ids are unseen until the next
    training."""
    admit_after: Annotated[int, Field(ge=1)] = 1
    """Events of a new id, within `admit_within`, after which it gets one of the spare rows."""
    admit_within: Annotated[str, Field(pattern=DURATION)] = "1d"
    """Event time within which a new id must have `admit_after` events: "6h", "7d"."""
    expire_days: Annotated[float, Field(gt=0)] | None = None
    """Days of event time without an event after which an id answers with the vector of unseen ids;
    a spare row that it had is free for another one. If omitted: ids do not expire."""
    precision: Annotated[int, Field(ge=1, le=12)] | None = None
    """Context feature `geohash`: number of characters of the cells; 4 are about 30 km, 5 about 5
    km, 6 about 1 km. If omitted: 5."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


class DenseFeat(_Declared):
    """A number or a vector per row. Missing values become a neutral value and set an indicator.

    Transforms: `standard` (z-score), `minmax`, `log1p` (then z-score), `none`, and `quantile` and
    `bucket`, which embed the number of a bucket instead of the value.
    """

    only_with: ClassVar[Conditions] = {"buckets": (Needs("transform", ("quantile",)),)}

    kind: Literal["dense"] = "dense"
    transform: Literal["standard", "minmax", "log1p", "none", "quantile", "bucket"] = "standard"
    """How a number becomes the input of a model."""
    buckets: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Number of quantile buckets."""
    boundaries: tuple[float, ...] = ()
    """Bucket boundaries of the transform `bucket`, ascending."""
    width: Annotated[int, Field(ge=1)] = 1
    """Numbers per row; above 1 for a column of vectors."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


class VarLenSparseFeat(_Declared):
    """Several ids per row (genres, keywords), pooled; or a user's recent history.

    With `history` set, the ids are the items (or, with `column`, an attribute of the items) of the
    user's last `max_len` events of those behaviours before the moment of the row.

    The vocabulary is a dictionary or a hash of the ids, as of a `SparseFeat`.
    """

    only_with: ClassVar[Conditions] = {
        **_VOCABULARY,
        "ngrams": (Needs("separator", (None,)), Needs("history", ((),))),
    }

    kind: Literal["varlen"] = "varlen"
    max_len: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Most ids per row; a history keeps the latest ones."""
    pooling: Literal["mean", "sum", "max", "attention", "cnn", "gru", "lstm", "transformer"] = (
        "mean"
    )
    """How the embeddings of the ids are combined. attention: a mean with learnt weights. cnn, gru,
    lstm, transformer: the output of a sequence encoder of one layer; the ids of a history are in
    the order of time. Rankers that compare a history with the candidate (`sequence`) do not pool
    it; `lr` averages weights per id, unless they are summed, and `gbdt` reads no lists."""
    separator: str | None = None
    """Splits a text column ("Action|Comedy"). If omitted: the column holds lists."""
    ngrams: Lengths | None = None
    """Splits a text column into the n-grams of its words' characters, from the shortest to the
    longest of two lengths of 1 to 16: [3, 3] are letter trigrams. The ends of a word count as
    characters, so that short words have n-grams, too."""
    shares: str | None = None
    """Name of another feature whose embedding table (and vocabulary) this one uses."""
    history: tuple[str, ...] = ()
    """Behaviours whose events make up the history. Empty: the feature is not a history."""
    vocabulary: Literal["dictionary", "hash"] = "dictionary"
    """A dictionary of the ids, or a hash of them."""
    buckets: Annotated[int, Field(ge=2)] = 100_000
    """Number of codes of a hashed vocabulary."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Ids that occur less often in the training data count as unseen."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


Feature = SparseFeat | DenseFeat | VarLenSparseFeat


def feature_tuple(features: Any) -> tuple[Feature, ...]:
    """The given features; a bare one is one feature. Raises ConfigError for other values."""
    if isinstance(features, SparseFeat | DenseFeat | VarLenSparseFeat):
        return (features,)
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise ConfigError(f"features = {features!r}: {_EXAMPLE}")
    given = tuple(cast("Iterable[Any]", features))
    for feature in given:
        if not isinstance(feature, SparseFeat | DenseFeat | VarLenSparseFeat):
            raise ConfigError(f"feature {feature!r}: {_EXAMPLE}")
    return given


_EXAMPLE = "give declared features, such as [SparseFeat('user_id'), DenseFeat('price')]"
