"""The three declared kinds of model inputs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Side(StrEnum):
    """Whose attribute a feature is; a request computes the user's side once."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"  # of the request's moment: hour, weekday, device
    CROSS = "cross"  # of the pair: channel scores, user × item statistics


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Unique name, used in reports and models."""
    side: Side | None = None
    """Whose feature it is; None = decided by the table in which the column is found."""
    column: str | None = None
    """Column of the table; None = the same as `name`."""

    def __init__(self, name: str | None = None, /, **data: Any) -> None:
        # SparseFeat("user_id") reads better than SparseFeat(name="user_id"); both work.
        super().__init__(**({"name": name} | data if name is not None else data))

    @property
    def source(self) -> str:
        return self.column or self.name


class SparseFeat(_Declared):
    """One id per row, embedded. Code 0 pads (a missing value), code 1 is "unseen".

    vocabulary `dictionary` keeps every id seen at least `min_count` times in training;
    `hash` maps ids to `buckets` codes without a dictionary.
    """

    kind: Literal["sparse"] = "sparse"
    embedding_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width; None = the model's `embedding_dim`."""
    vocabulary: Literal["dictionary", "hash"] = "dictionary"
    """A dictionary of the ids, or a hash of them."""
    buckets: Annotated[int, Field(ge=2)] = 100_000
    """Codes of a hashed vocabulary."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Ids seen less often in training are "unseen"."""
    shares: str | None = None
    """Name of another feature whose embedding table (and vocabulary) this one uses."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


class DenseFeat(_Declared):
    """Numbers. A missing value becomes the transform's neutral value plus an indicator column.

    transforms: `standard` (z-score), `minmax`, `log1p` (then z-score), `none`,
    `quantile` and `bucket` (an embedded bucket id instead of a number).
    """

    kind: Literal["dense"] = "dense"
    transform: Literal["standard", "minmax", "log1p", "none", "quantile", "bucket"] = "standard"
    """How a number becomes a model's input."""
    buckets: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Number of quantile buckets."""
    boundaries: tuple[float, ...] = ()
    """Explicit bucket boundaries (ascending) of transform `bucket`."""
    width: Annotated[int, Field(ge=1)] = 1
    """Numbers per row (> 1: a vector column)."""
    embedding_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width of the embedded bucket of `quantile` and `bucket`."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


class VarLenSparseFeat(_Declared):
    """Several ids per row (genres, keywords), pooled; or a user's last-N history.

    With `history` set, the ids are the items (or, with `column`, an attribute of the items) of the
    user's last `max_len` events of those behaviours, found by pointer when the batch is made.
    """

    kind: Literal["varlen"] = "varlen"
    embedding_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width; None = the model's `embedding_dim`."""
    max_len: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Most ids per row; a history keeps the last ones."""
    pooling: Literal["mean", "sum", "max"] = "mean"
    """How the ids' vectors become one."""
    separator: str | None = None
    """Splits a text column ("Action|Comedy"); None = the column holds lists."""
    shares: str | None = None
    """Name of another feature whose embedding table (and vocabulary) this one uses."""
    history: tuple[str, ...] = ()
    """Behaviours whose events make this a history feature."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Ids seen less often in training are "unseen"."""

    if TYPE_CHECKING:  # a checker takes the fields for keywords only

        def __init__(self, name: str | None = None, /, **data: Any) -> None: ...


Feature = SparseFeat | DenseFeat | VarLenSparseFeat
