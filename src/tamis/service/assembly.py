"""The parts of a version: saved, opened, and assembled into a cascade."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.bundle import Draft, Version
from tamis.cascade import (
    CandidateOrder,
    Cascade,
    Channel,
    Context,
    Fallbacks,
    Filter,
    HasFormat,
    Hydrate,
    KnownRows,
    Queries,
    ReadsStatistics,
    Reranker,
    Retrieval,
    Scorer,
    StageBudgets,
    give_vectors,
    queries_at,
    raw_numbers,
    value_of,
    vectors_for,
)
from tamis.data import Table
from tamis.features import FeatureSpace, Histories, OnlineStatistics
from tamis.journal import Entry, read_entries, write_entries
from tamis.runtime import Int32
from tamis.schema import (
    ADVICE,
    ProjectConfig,
    Side,
    StageConfig,
    VersionError,
    read_stored_config,
    reading,
)
from tamis.service import registry
from tamis.service.item_indexes import ItemIndexes
from tamis.service.item_texts import ItemTexts

log = logging.getLogger("tamis.service")

STORED_CONFIG = "config.json"
POPULAR = 1_000
"""Most popular items that take the place of recall channels that have failed."""
FORMATS = {
    "config": 1,
    "tables": 1,
    "features": 2,  # written as 1 where that is enough: see `FeatureSpace.format`
    "state": 1,
    "channels": 2,  # written as 1 where that is enough: see `HasFormat`
    "filters": 1,
    "prerank": 2,  # as "channels"
    "rank": 2,  # as "channels"
    "rerank": 1,
    "text": 1,
}
"""Part → the newest format of its files that this release reads, and the one that it writes.

Raise a number when releases before the change cannot read the files of the part. Files and keys
that may be absent, and keys that earlier releases ignore, need no new number.
"""


@dataclass(eq=False)
class Parts:
    """Everything that answers need: configuration, tables, features, state and stages."""

    config: ProjectConfig
    users: Table
    items: Table
    space: FeatureSpace
    statistics: OnlineStatistics
    histories: Histories
    channels: Mapping[str, Channel]
    filters: Mapping[str, Filter]
    prerank: Scorer | None
    rank: Scorer
    rerank: Mapping[str, Reranker]
    order: CandidateOrder = field(default_factory=CandidateOrder)
    """Chosen in training; see `CandidateOrder`."""
    text: ItemTexts | None = None
    """The encoder and the index of the items' texts; None where `[items.text]` is not declared."""
    withdrawn: tuple[Entry, ...] = ()
    """Entries that hide and delete the items which were so when the version was trained."""

    def __post_init__(self) -> None:
        self._base = KnownRows(len(self.users), len(self.items))
        self.space.share(self.statistics.recipes)
        self._assembled: tuple[object, ...] = ()
        self.item_indexes = ItemIndexes()
        """For similar items: of the channels that were requested."""
        for channel in self.channels.values():
            if isinstance(channel, ReadsStatistics):
                channel.use_statistics(self.statistics)
        give_vectors(self.rerank, self.channels)

    def cascade(self) -> Cascade:
        """The assembled cascade."""
        raw = raw_numbers(self.config, self.items)
        hydrate = Hydrate(self.space, self.statistics, raw, lazy=True)
        fusion = value_of(self.config, self.items)
        fallbacks = Fallbacks(partial(self.histories.most_frequent, POPULAR))
        self._assembled = (*self._assembled, hydrate, fusion, fallbacks)
        return Cascade(
            retrieval=Retrieval(
                self.config.cascade,
                self.channels,
                self.filters,
                fallbacks,
                self._base,
            ),
            hydrate=hydrate,
            prerank=self.prerank,
            rank=self.rank,
            fusion=fusion,
            rerank=self.rerank,
            widen=vectors_for(self.prerank, self.channels),
            order=self.order,
            budgets=StageBudgets(self.config.cascade.budgets),
        )

    def follow(self, stages: Sequence[object], users: Int32, items: Int32) -> None:
        """From now on further stages take up new rows; first those that came or changed since the
        version was made: `users` and `items` (m,)."""
        self._assembled = (*self._assembled, *stages)
        self._base.update_users(stages, self.users, users)
        self._base.update_items(stages, self.items, items)

    def release(self, stages: Sequence[object]) -> None:
        """Undoes `follow`."""
        gone = {id(stage) for stage in stages}
        self._assembled = tuple(one for one in self._assembled if id(one) not in gone)

    def count_rows(self, side: Side, rows: Int32) -> None:
        """Makes counters of new users or items `rows` (m,), and groups of changed ones: events
        that are added later count for these."""
        if side is Side.USER:
            self.statistics.update_users(self.users, rows)
        else:
            self.statistics.update_items(self.items, rows)

    def take_up(self, side: Side, rows: Int32) -> None:
        """Brings features and stages to the tables as they are now; `rows` (m,), ascending, are
        new or changed, and are counted already (`count_rows`).

        What fails is logged: a stage that fails gets no new rows any more, an item whose text
        cannot be encoded keeps the vector that it had.
        """
        if side is Side.USER:
            self._base.update_users([self.space, *self._followers()], self.users, rows)
            return
        self._encode_texts(rows)
        self._base.update_items([self.space, *self._followers()], self.items, rows)

    def _encode_texts(self, rows: Int32) -> None:
        """Encodes the texts of items `rows` (m,), one by one where they fail together."""
        text = self.config.items.text
        if text is None or self.text is None or text.name not in self.items:
            return
        try:
            self.text.update_items(self.items, rows, text)
        except Exception:
            if len(rows) > 1:
                for row in rows.reshape(-1, 1):
                    self._encode_texts(row)
            else:
                item = self.items.id_of(int(rows[0]))
                log.exception("the text of item %r could not be encoded", item)

    def not_learnt(self, user_id: str, item_id: str) -> tuple[Literal["user", "item"], ...]:
        """Which of the ids were not there when the version was made."""
        found: list[Literal["user", "item"]] = []
        if not 0 <= self.users.row(user_id) < self._base.users:
            found.append("user")
        if not 0 <= self.items.row(item_id) < self._base.items:
            found.append("item")
        return tuple(found)

    def unjudged_items(self) -> Int32:
        """The rows of new items that no answer may hold, as the features, a filter, a
        re-rank rule or the channel of a pre-ranker do not take up new items; empty where all do."""
        channel = getattr(self.prerank, "vectors_of", None)
        judges: list[object] = [self.space, *self.filters.values(), *self.rerank.values()]
        judges += [self.channels[channel]] if channel is not None else []
        if all(map(self._base.knows_items, judges)):
            return np.zeros(0, np.int32)
        return np.arange(self._base.items, len(self.items), dtype=np.int32)

    def _followers(self) -> list[object]:
        """Everything that may keep what it has read of users or items."""
        stages = (self.channels, self.filters, self.rerank)
        every = [stage for named in stages for stage in named.values()]
        return [*every, self.prerank, self.rank, *self._assembled, self.item_indexes]

    def queries(
        self, user: NDArray[np.int32], time: NDArray[np.int64], context: Context | None = None
    ) -> Queries:
        """Queries of user rows (Q,) at times (Q,) in ms, each with its history before that time."""
        return queries_at(self.histories, user, time, context=context)

    def save(self, draft: Draft) -> None:
        """Writes every part into `draft`, and their format numbers."""
        own = [c.format for c in self.channels.values() if isinstance(c, HasFormat)]
        scorers = {"prerank": self.prerank, "rank": self.rank}
        formats = {k: s.format if isinstance(s, HasFormat) else 1 for k, s in scorers.items()}
        draft.formats = FORMATS | {"features": self.space.format, "channels": max(own, default=1)}
        draft.formats |= formats
        (draft.path / STORED_CONFIG).write_text(self.config.model_dump_json(indent=1), "utf-8")
        self.users.write(draft.folder("tables") / "users.parquet")
        self.items.write(draft.folder("tables") / "items.parquet")
        self.space.save(draft.folder("features"))
        self.statistics.save(draft.folder("state", "statistics"))
        self.histories.save(draft.folder("state", "histories"))
        for part, stages in (
            ("channels", self.channels),
            ("filters", self.filters),
            ("rerank", self.rerank),
        ):
            for name, stage in stages.items():
                stage.save(draft.folder(part, name))
        if self.prerank is not None:
            self.prerank.save(draft.folder("prerank"))
        self.rank.save(draft.folder("rank"))
        if self.config.cascade.order == "auto":
            self.order.save(draft.path / ORDER)
        if self.text is not None:
            self.text.save(draft.folder(TEXT))
        if self.withdrawn:
            write_entries(draft.folder("state") / "withdrawn.jsonl", self.withdrawn)

    @classmethod
    def open(cls, version: Version) -> Parts:
        """Checks a version and opens it, large arrays memory-mapped.

        Unknown keys of its configuration and unknown options of its stages, which another release
        wrote, are ignored with one warning that names them.

        Raises VersionError naming the file or the part that is missing, damaged or of a newer
        format.
        """
        version.check(FORMATS)
        config = read_config(version)
        opened = {
            part: read_part(version.path / part, open_it)
            for part, open_it in part_readers(config, version.manifest.files).items()
        }
        _check_sizes(version.path, opened)
        cascade = config.cascade
        return cls(
            config=config,
            users=opened[USERS],
            items=opened[ITEMS],
            space=opened[FEATURES],
            statistics=opened[STATISTICS],
            histories=opened[HISTORIES],
            channels={name: opened[f"channels/{name}"] for name in cascade.channels},
            filters={name: opened[f"filters/{name}"] for name in cascade.filters},
            prerank=opened.get("prerank"),
            rank=opened["rank"],
            rerank={name: opened[f"rerank/{name}"] for name in cascade.rerank},
            order=opened.get(ORDER, CandidateOrder()),
            text=opened.get(TEXT),
            withdrawn=opened.get(WITHDRAWN, ()),
        )


def read_config(version: Version) -> ProjectConfig:
    """The configuration that a version stores, without what this release does not know.

    One warning names the unknown keys and options and the release that wrote them. Raises
    VersionError where the file is missing or damaged, or lacks a key that has no default.
    """
    path = version.path / STORED_CONFIG
    config, unknown = read_stored_config(path)
    with reading(path):
        cascade, options = registry.known_stage_options(config.cascade)
    unknown += options
    if unknown:
        log.warning(
            "%s, written by Tamis %s: ignoring keys that this release does not know: %s",
            path,
            version.manifest.code,
            ", ".join(unknown),
        )
    return config.model_copy(update={"cascade": cascade})


USERS, ITEMS, FEATURES = "tables/users.parquet", "tables/items.parquet", "features"
STATISTICS, HISTORIES = "state/statistics", "state/histories"
ORDER, TEXT = "order.json", "text"
WITHDRAWN = "state/withdrawn.jsonl"

PartReader = Callable[[Path], Any]
"""Opens a part from its file or folder."""


def part_readers(config: ProjectConfig, files: Collection[str] = ()) -> dict[str, PartReader]:
    """Path of each part's file or folder in a version of this configuration → what opens it.

    files: those of the version, of which some are only there where they are needed.
    """
    readers: dict[str, PartReader] = {
        USERS: partial(Table.read, "users"),
        ITEMS: partial(Table.read, "items"),
        FEATURES: FeatureSpace.load,
        STATISTICS: OnlineStatistics.load,
        HISTORIES: Histories.load,
    }
    cascade = config.cascade
    staged: dict[str, tuple[str, Mapping[str, StageConfig]]] = {
        "channels": ("recall", cascade.channels),
        "filters": ("filters", cascade.filters),
        "rerank": ("rerank", cascade.rerank),
    }
    for folder, (kind, stages) in staged.items():
        for name, stage in stages.items():
            readers[f"{folder}/{name}"] = partial(registry.load, kind, name, stage)
    if cascade.prerank:
        readers["prerank"] = partial(registry.load, "prerank", "prerank", cascade.prerank)
    if config.items.text is not None:
        readers[TEXT] = ItemTexts.load
    if WITHDRAWN in files:
        readers[WITHDRAWN] = read_entries
    readers["rank"] = partial(registry.load, "rank", "rank", cascade.rank)
    if cascade.order == "auto":
        readers[ORDER] = CandidateOrder.load
    return readers


def read_order(version: Version) -> CandidateOrder:
    """The order that training chose for a version; that of the ranker where it chose none."""
    if ORDER not in version.manifest.files:
        return CandidateOrder()
    version.check(FORMATS)
    return read_part(version.path / ORDER, CandidateOrder.load)


def _check_sizes(folder: Path, opened: Mapping[str, Any]) -> None:
    """Raises VersionError unless the features, histories and texts are of the users and items of
    the tables."""
    space, histories = opened[FEATURES], opened[HISTORIES]
    parts = [
        (FEATURES, space.n_users, USERS),
        (FEATURES, space.n_items, ITEMS),
        (HISTORIES, histories.n_users, USERS),
    ]
    if TEXT in opened:
        parts.append((TEXT, len(opened[TEXT].index.vectors), ITEMS))
    for part, rows, table in parts:
        if rows != len(opened[table]):
            raise VersionError(
                f"{folder / table} is damaged: it has {len(opened[table])} rows, {folder / part} "
                f"has {rows}. {ADVICE}"
            )


def read_part(path: Path, open_it: PartReader) -> Any:
    """Opens the part at `path`; whatever exception that raises becomes a VersionError.

    The message names the file or folder, the fault and what to do. See `tamis.schema.reading`.
    """
    with reading(path):
        return open_it(path)
