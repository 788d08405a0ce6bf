"""Protocols that channels, filters, scorers and re-rankers implement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.schema import Feature, ProjectConfig, StageConfig, TableConfig, TaskConfig

if TYPE_CHECKING:
    from tamis.cascade.arrangement import Arrangement
    from tamis.cascade.candidates import Candidates
    from tamis.cascade.query import Queries, Recalled
    from tamis.data import Dataset, Ragged, Table
    from tamis.features import Layout, OnlineStatistics, Rows
    from tamis.runtime import Bool, Float32, Int32
    from tamis.train import Chosen, Epoch


@dataclass(frozen=True, eq=False)
class Valid:
    """Validation data: queries at the end of the data, and the items their users liked next."""

    queries: Queries
    targets: Ragged
    """Item rows that should be found, sorted per query."""


@dataclass(frozen=True, eq=False)
class FormerRows:
    """Where the users and items of a data set are in the tables of an earlier one, by their ids."""

    users: Int32
    """(users,) row in the earlier table of users; UNKNOWN where it lacks the id."""
    items: Int32
    """(items,) likewise of the items."""

    @classmethod
    def of(cls, data: Dataset, users: Table, items: Table) -> FormerRows:
        """The rows of `data` in the tables of an earlier fit."""
        return cls(users.rows(data.users.ids), items.rows(data.items.ids))


@dataclass(frozen=True)
class FitContext:
    """Everything that a fit receives besides the data and its own options."""

    seed: int = 0
    device: str = "cpu"
    progress: bool = False
    former: Any = None
    """The same component fitted on earlier data, for a warm start; None: from scratch."""
    former_rows: FormerRows | None = None
    """Rows of the users and items in the tables of `former`; None: rows have only been added at the
    end since, which channels check."""
    since: int | None = None
    """With `former`: time (ms) from which on events that arrived are new to it. A channel that
    learns by gradient steps from `former` then learns from these, in one pass. None: from all."""
    teacher: Any = None
    """The fitted ranker that a pre-ranker may learn from; None: there is none."""
    features: tuple[Feature, ...] = ()
    """The project's declared features, for channels that read attributes; empty: guessed."""
    items: TableConfig | None = None
    """[items]: roles of the items' columns (category, author, published …); None: none."""
    users: TableConfig | None = None
    """[users]: roles of the users' columns; None: none."""
    chosen: Chosen | None = None
    """What an earlier fit of the same scorer chose on validation rows, for a fit without any."""
    negatives: float = 1.0
    """Share of the binary tasks' negative labels that the rows hold: a scorer's predicted odds must
    be multiplied by it (`FrameModel` does so)."""
    config: ProjectConfig | None = None
    """The whole declaration: names of id columns, windows of statistics, holidays; None: none."""
    folder: Path | None = None
    """The project's folder, which relative paths of options are relative to; None: the working
    directory."""
    rejected: pl.DataFrame | None = None
    """Candidates that pre-rank or rank rejected in replays: columns user_id, item_id, time (ms).
    None: there were no replays, as in a fit without a project."""
    rejected_live: pl.DataFrame | None = None
    """Candidates that pre-rank or rank rejected in the answers of the running service: columns
    user_id, item_id, time (ms) of the first rejection, and shown (ms), when an answer first held
    the item; null: never. None: the journal was not read, as in a fit without a project."""
    valid: Valid | None = None
    """Validation data for early stopping, never trained on; None: the channel makes its own."""


@runtime_checkable
class Channel(Protocol):
    """A recall channel: a `Component` that finds items for queries."""

    name: str

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Learns from `data`, which ends at the time of the fit. Returns self."""
        ...

    def recall(self, queries: Queries, k: int) -> Recalled:
        """The best k items of each query, without duplicates and items of `queries.exclude`.

        Shorter lists are padded.
        """
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped where it is large."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A channel that can name the history item that contributed most to a recalled item."""

    def because(self, queries: Queries, item: int) -> int | None:
        """Item row in the history of the single query that explains `item`; None: no such item."""
        ...


@runtime_checkable
class GivesReasons(Protocol):
    """A channel that can say in words why it recalls an item."""

    def reason(self, queries: Queries, item: int) -> str | None:
        """A phrase on `item` for the single query: "purchase 3 times; last 12 days ago"."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """A channel whose score is the inner product of a user's and an item's vector."""

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, d) user vectors; zero where nothing is known of the user."""
        ...

    def item_vectors(self) -> Float32:
        """(items, d) item vectors."""
        ...


@runtime_checkable
class EmbedsItems(Protocol):
    """A channel with vectors of items; near vectors are similar items."""

    def item_vectors(self) -> Float32:
        """(items, d) item vectors; zero where nothing is known of the item."""
        ...


@runtime_checkable
class GathersItems(Protocol):
    """A channel with vectors of items that can be read without those of all items."""

    def vectors_of(self, items: Int32) -> tuple[Float32, Int32]:
        """Vectors (m, d), and for each of `items` (n,) its row among them.

        The vector of an item that the channel does not know is zero."""
        ...


@runtime_checkable
class Filter(Protocol):
    """A filter: removes items that may not be shown."""

    reason: str
    """The reason that the trace gives: "seen", "out of stock"."""

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Reads what it needs from `data`: item attributes, codes of behaviours. Returns self."""
        ...

    def excluded(self, queries: Queries) -> Ragged | None:
        """Item rows that will be removed, sorted per query; None where they cannot be listed.

        Channels then do not spend their quota on them.
        """
        ...

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate stays."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class Scorer(Protocol):
    """A pre-ranker or ranker: one prediction per task for every candidate."""

    def score_rows(self, rows: Rows) -> Mapping[str, Float32]:
        """Predictions (n,) per task, in the order of `rows`, the same inputs as in training."""
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class TrainableScorer(Scorer, Protocol):
    """A scorer that training fits; everything that derives from `tamis.train.FrameModel` is one.

    Training fits it twice: with validation rows, on which it chooses its number of epochs and its
    calibration, and then on all rows with that choice.
    """

    name: str
    config: Any

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the labels' columns."""
        ...

    @property
    def chosen(self) -> Chosen:
        """What the last fit chose on its validation rows; without them, what it was given."""
        ...

    @property
    def best(self) -> Mapping[str, float]:
        """Validation metrics of the last fit."""
        ...

    @property
    def history(self) -> Sequence[Epoch]:
        """Learning curve of the last fit; empty if there is none."""
        ...

    def fit(
        self, data: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: FitContext, /
    ) -> Self:
        """Learns the tasks, the columns (n, T) of `data.labels`, NaN where missing. Returns self.

        With `valid`, chooses its settings on these rows; without, uses those of `context.chosen`.
        Where the rows hold a share of the negatives, corrects its odds by `context.negatives`.
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """A re-rank rule: reorders the ranked list; the first n places of a query are its slate."""

    def fit(self, data: Dataset, context: FitContext) -> Self:
        """Reads what it needs from `data`: categories, vectors. Returns self."""
        ...

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], NDArray[np.generic]]:
        """A permutation (n,) within each query, and a note for the trace (n,).

        Candidates are given best first by `value`; the notes are in that order.
        """
        ...

    def save(self, directory: Path) -> None: ...

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self: ...


@runtime_checkable
class AdjustsDiversity(Protocol):
    """A re-rank rule whose strength a single request may set."""

    def with_diversity(self, strength: float) -> Self:
        """The same rule at another strength: 0 orders by value alone, 1 by difference alone. The
        rule itself does not change."""
        ...


@runtime_checkable
class StatesRules(Protocol):
    """A re-rank rule that states limits and values, which one planner arranges with those of all
    other such rules. What it states is known to the planner alone."""

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Any:
        """What must hold in the slates of `n` places, and what orders the candidates."""
        ...

    def plan(self, statements: Mapping[str, Any], candidates: Candidates, n: int) -> Arrangement:
        """The order that meets the statements of several rules, the least important first."""
        ...


@runtime_checkable
class InsertsItems(Protocol):
    """A re-rank rule with items of its own: they are ranked whether they were recalled or not."""

    def inserted(self, queries: Queries) -> Ragged:
        """Item rows per query."""
        ...


@runtime_checkable
class ReadsItemVectors(Protocol):
    """A re-rank rule that compares items by their vectors in a recall channel."""

    @property
    def vectors_of(self) -> str | None:
        """Name of the channel; None where the rule reads none."""
        ...

    def use_channel(self, channel: EmbedsItems) -> None:
        """Called when a version is assembled, with that channel."""
        ...


@runtime_checkable
class ReadsContext(Protocol):
    """A channel or filter that reads a request's context."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Which parts it reads: "interests", "place", "city"."""
        ...


@runtime_checkable
class ReadsStatistics(Protocol):
    """A channel that reads statistics of users while it answers requests."""

    def use_statistics(self, statistics: OnlineStatistics) -> None:
        """Called when a version is assembled, with its counters, which a service keeps up to date.

        Without this call a loaded channel reads the statistics as of the end of its fit."""
        ...


@runtime_checkable
class LearnsFromRejections(Protocol):
    """A channel that can be trained on candidates that later stages rejected in replays."""

    @property
    def learns_from_rejections(self) -> bool:
        """Whether its options say so; training then passes `FitContext.rejected`."""
        ...


@runtime_checkable
class LearnsFromAnswers(Protocol):
    """A channel that can be trained on candidates that later stages rejected while it served."""

    @property
    def learns_from_answers(self) -> bool:
        """Whether its options say so; the service then keeps some rejected candidates of each
        answer in the journal, and training passes `FitContext.rejected_live`."""
        ...


@runtime_checkable
class CountsHardNegatives(Protocol):
    """A channel that reports the hard negatives of its last fit."""

    @property
    def hard_negatives(self) -> Mapping[str, int]:
        """Where they are from ("log", "replays", a file or a behaviour) → their number; empty: it
        learns from none, or was not fitted."""
        ...


@runtime_checkable
class HasFormat(Protocol):
    """A channel or scorer whose stored files not every earlier release can read."""

    @property
    def format(self) -> int:
        """Format of its part that a release must know: 1; 2 of a channel that reads context,
        further histories or statistics, and of a scorer whose logits have scales."""
        ...


@runtime_checkable
class ReadsColumns(Protocol):
    """A scorer that reads some of the inputs alone; the others are not gathered for it."""

    def reads(self, layout: Layout) -> Collection[str]:
        """Names of the columns of ids and numbers that it reads."""
        ...


@runtime_checkable
class ReportsDegraded(Protocol):
    """A scorer that can work in a degraded way and reports it."""

    @property
    def degraded(self) -> tuple[str, ...]:
        """One sentence per part that does not work as the version was written; empty if all do."""
        ...


@runtime_checkable
class Wraps(Protocol):
    """A stage that contains another stage of its kind, which the registry builds."""

    def wrapped(self) -> tuple[str, StageConfig]:
        """The inner stage's name and declaration, as if it stood in `tamis.toml` itself."""
        ...

    def wrap(self, inner: Any) -> None:
        """Sets the inner stage."""
        ...
