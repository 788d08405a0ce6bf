"""The words' grammar: what a channel, filter, scorer and re-ranker must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.schema import Feature, StageConfig, TableConfig

if TYPE_CHECKING:
    from tamis.cascade.candidates import Candidates
    from tamis.cascade.query import Queries, Recalled
    from tamis.data import Dataset, Ragged
    from tamis.features import Rows
    from tamis.runtime import Bool, Float32


@dataclass(frozen=True, eq=False)
class Valid:
    """Questions at the data's end, and what their users went on to like."""

    queries: Queries
    targets: Ragged
    """Per query the item rows that should be found; sorted per query."""


@dataclass(frozen=True)
class FitContext:
    """What surrounds a fit and is not its hyper-parameters."""

    seed: int = 0
    device: str = "cpu"
    progress: bool = False
    former: Any = None
    """The same component fitted on earlier data, to start from; None = from scratch."""
    teacher: Any = None
    """The fitted ranker, which a pre-ranker may learn from; None = there is none."""
    features: tuple[Feature, ...] = ()
    """The project's declared features, for channels that read attributes; empty = guessed."""
    items: TableConfig | None = None
    """[items]: which columns mean category, author, birth, place; None = none is declared."""
    users: TableConfig | None = None
    """[users] likewise."""
    valid: Valid | None = None
    """What happened next, to stop a fit by; it is never trained on. None = the channel's own."""


@runtime_checkable
class Channel(Protocol):
    """Recall. Its attribute `Config` is a pydantic model of its options, given to `__init__`."""

    name: str

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Learns from `data` only (it is already cut at its moment)."""
        ...

    def recall(self, queries: Queries, k: int) -> Recalled:
        """Each query's best k items, none of `queries.exclude`, no duplicates; fewer are padded."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped where it is large."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A channel that can name the past item that speaks most for a find."""

    def because(self, queries: Queries, item: int) -> int | None:
        """Row of the item in the one query's history; None where there is none."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """A channel whose score is the inner product of a user's and an item's vector."""

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, d); zero where nothing is known of the user."""
        ...

    def item_vectors(self) -> Float32:
        """(items, d)."""
        ...


@runtime_checkable
class Filter(Protocol):
    """Removes what may not be shown."""

    reason: str
    """One or two words for the trace: "seen", "out of stock"."""

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Reads what it needs of `data`: an attribute of the items, the behaviours' codes."""
        ...

    def excluded(self, queries: Queries) -> Ragged | None:
        """Item rows known before recall to be refused, sorted per query; None if not enumerable."""
        ...

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) which candidates stay."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class Scorer(Protocol):
    """Pre-rank and rank: one number per task for every candidate."""

    def score_rows(self, rows: Rows) -> Mapping[str, Float32]:
        """(n,) per task, in the rows' order; `rows` are the inputs that training saw."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders; the first n places of each query are its slate."""

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Reads what it needs of `data`: categories, vectors."""
        ...

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], Float32]:
        """A permutation within each query of the candidates, which come best first by `value`, and
        a note for the trace (n,), in the order of the given candidates."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class Wraps(Protocol):
    """A stage that is built around another one of its kind, which the registry makes for it."""

    def wrapped(self) -> tuple[str, StageConfig]:
        """The inner stage's name and declaration, as if it stood in `tamis.toml` itself."""
        ...

    def wrap(self, inner: Any) -> None:
        """Takes the inner stage."""
        ...
