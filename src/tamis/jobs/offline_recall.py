"""`tamis recall`: lists and vectors of all users, written to a store under the version's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tamis.bundle import Kind, Version, Versions
from tamis.cascade import Channel, Embeds, Precomputed, Queries, Recalled, UsesStore
from tamis.jobs._deleted_users import deleted_since
from tamis.runtime import Progress
from tamis.schema import ConfigError, VersionError
from tamis.service import Parts, ProjectFolder
from tamis.stores import EntityKind, RecallDraft, RecallStore, open_recall

BLOCK = 1024
"""Users recalled at once: memory does not grow with their number."""
VECTOR_BLOCK = 65_536
"""Items whose vectors are written at once."""
SPARE = 50
"""Items beyond the quota, by default: lists stay long enough when a request excludes some."""
MERGED = "merged"
"""Name of the list that is merged from the lists of all channels."""


@dataclass
class ChannelLists:
    """What was written for one channel."""

    k: int
    users: int = 0
    """Users with a list."""
    items: int = 0
    """Items in all lists."""
    vectors: int = 0
    """Dimension of its user and item vectors; 0 if it has none."""
    seconds: float = 0.0
    """Time spent in the channel itself."""


@dataclass(frozen=True)
class RecallReport:
    """The result of `tamis recall`."""

    version: str
    store: str
    users: int
    seconds: float
    users_per_second: float
    """Over the whole run: all channels and writing."""
    channels: dict[str, ChannelLists]
    dropped: tuple[str, ...] = ()
    """Versions whose lists were deleted."""
    notes: tuple[str, ...] = ()
    """Warnings: lists shorter than a quota, lists that no channel reads."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def recall(
    project: Path | str,
    *,
    k: int | None = None,
    store: str | None = None,
    channels: Sequence[str] = (),
    version: str | None = None,
    keep: int = 2,
    progress: bool = False,
) -> RecallReport:
    """Computes every user's recall lists by each channel and writes them and vectors to a store.

    Lists are as of the end of the version's data, with the filters' exclusions at that time, so
    they are what `recommend` would recall at that moment. Users who were deleted since get none.
    With several channels a list `merged` is written too.

    Args:
        project: folder with a `tamis.toml`.
        k: items per list, at least 1; None for the channel's quota plus 50.
        store: "" (files in the project), `redis://host:port/db` or `env:NAME`; None for the store
            that the channels read.
        channels: names of channels in `tamis.toml`; empty for those declared offline, or all if
            none is.
        version: name of a version; None for the serving version.
        keep: number of newest versions whose lists are kept, at least 1.
        progress: whether a progress bar is shown on standard error.

    Raises ConfigError for a wrong argument, VersionError if there is no such version, StoreError if
    the store cannot be written; the lists written before stay then.
    """
    if keep < 1:
        raise ConfigError(f"keep is {keep}: keep the lists just written, so give at least 1")
    folder = ProjectFolder(Path(project))
    root = folder.root
    versions = Versions(root)
    opened = versions.current(Kind.SERVING) if version is None else versions.open(version)
    parts = Parts.open(opened)
    chosen = _chosen(parts, channels)
    address = _address(parts, chosen) if store is None else store
    target = open_recall(address, root, parts.config.name, parts.users, parts.items)
    batch = _AllUsers(opened, parts, chosen, _lengths(parts, chosen, k))
    began = perf_counter()
    with ExitStack() as stack:
        shown = stack.enter_context(Progress("recall", progress))
        draft = stack.enter_context(target.write(opened.name))
        batch.write(draft, shown)
    for user in deleted_since(folder, opened):
        target.forget_user(user, {opened.name: parts.users.row(user)})
    seconds = perf_counter() - began
    return RecallReport(
        version=opened.name,
        store=target.address,
        users=len(parts.users),
        seconds=round(seconds, 3),
        users_per_second=round(len(parts.users) / seconds, 1),
        channels=batch.lists,
        dropped=tuple(_drop_old(target, keep, {opened.name, *_serving(versions)})),
        notes=tuple(_notes(parts, chosen, batch.lists, address)),
    )


@dataclass
class _AllUsers:
    """One run over all users, block by block."""

    version: Version
    parts: Parts
    channels: Mapping[str, Channel]
    k: Mapping[str, int]
    lists: dict[str, ChannelLists] = field(default_factory=dict[str, ChannelLists])

    def __post_init__(self) -> None:
        self.retrieval = self.parts.cascade().retrieval
        self.lists.update({name: ChannelLists(self.k[name]) for name in self.channels})
        if len(self.channels) > 1:
            self.lists[MERGED] = ChannelLists(max(self.k.values()))

    def write(self, draft: RecallDraft, progress: Progress) -> None:
        users = len(self.parts.users)
        progress.begin(f"recall for {users:,} users")
        for first in range(0, users, BLOCK):
            last = min(first + BLOCK, users)
            rows = np.arange(first, last, dtype=np.int32)
            moment = np.full(len(rows), self.version.manifest.data_until, np.int64)
            queries = self.retrieval.with_exclusions(self.parts.queries(rows, moment))
            self._block(draft, first, queries)
            progress.update(last, users)
        for name, channel in self.channels.items():
            if isinstance(channel, Embeds):
                vectors = channel.item_vectors()
                for first in range(0, len(vectors), VECTOR_BLOCK):
                    draft.vectors(
                        name, EntityKind.ITEMS, first, vectors[first : first + VECTOR_BLOCK]
                    )

    def _block(self, draft: RecallDraft, first: int, queries: Queries) -> None:
        found: dict[str, Recalled] = {}
        for name, channel in self.channels.items():
            began = perf_counter()
            quota = self.parts.config.cascade.channels[name].quota
            depth = max(self.k[name], quota if MERGED in self.lists else 1)
            found[name] = channel.recall(queries, depth)
            vectors = channel.user_vectors(queries) if isinstance(channel, Embeds) else None
            self.lists[name].seconds += perf_counter() - began
            k = self.k[name]
            self._put(draft, name, first, found[name].item[:, :k], found[name].score[:, :k])
            if vectors is not None:
                self.lists[name].vectors = vectors.shape[1]
                draft.vectors(name, EntityKind.USERS, first, vectors)
        if MERGED in self.lists:
            item = self._merged(queries, found)
            score = (1 / np.arange(1, item.shape[1] + 1, dtype=np.float32))[None]
            score = np.where(item >= 0, score, -np.inf).astype(np.float32)
            self._put(draft, MERGED, first, item, score)

    def _merged(self, queries: Queries, found: Mapping[str, Recalled]) -> np.ndarray:
        """(n, k) items of the lists merged and filtered; the score is 1 ÷ place."""
        merged = self.retrieval.merge(found)
        return self.retrieval.filter(queries, merged)[1].matrix(self.lists[MERGED].k)

    def _put(
        self, draft: RecallDraft, name: str, first: int, item: np.ndarray, score: np.ndarray
    ) -> None:
        draft.lists(name, first, item, score)
        lists = self.lists[name]
        lists.users += int((item >= 0).any(axis=1).sum())
        lists.items += int((item >= 0).sum())


def _chosen(parts: Parts, names: Sequence[str]) -> dict[str, Channel]:
    """The requested channels; of a channel that reads a store, the one that computes its lists."""
    if MERGED in parts.channels:
        raise ConfigError(
            f"tamis.toml: [cascade.channels.{MERGED}]: the name is taken by the list that is "
            "merged from all channels; rename the channel"
        )
    computing = {
        name: channel.inner if isinstance(channel, Precomputed) else channel
        for name, channel in parts.channels.items()
        if isinstance(channel, Precomputed) or not isinstance(channel, UsesStore)
    }
    for name in names:
        if name not in computing:
            why = "computes nothing" if name in parts.channels else "is no channel of the version"
            raise ConfigError(f"channels: {name!r} {why}; give some of {', '.join(computing)}")
    wanted = names or [n for n, c in parts.channels.items() if isinstance(c, Precomputed)]
    return {name: computing[name] for name in wanted or computing}


def _lengths(parts: Parts, chosen: Mapping[str, Channel], k: int | None) -> dict[str, int]:
    """{channel: items per list}. Raises ConfigError for k < 1."""
    if k is not None and k < 1:
        raise ConfigError(f"k is {k}: a list must hold at least 1 item")
    declared = parts.config.cascade.channels
    return {name: declared[name].quota + SPARE if k is None else k for name in chosen}


def _readers(parts: Parts, chosen: Mapping[str, Channel]) -> dict[str, Precomputed]:
    """The chosen channels that read their lists from a store when they serve."""
    return {n: c for n, c in parts.channels.items() if n in chosen and isinstance(c, Precomputed)}


def _address(parts: Parts, chosen: Mapping[str, Channel]) -> str:
    """The store that the chosen channels read; "" (files in the project) if none reads one."""
    addresses = {name: c.address for name, c in _readers(parts, chosen).items()}
    if len(set(addresses.values())) > 1:
        raise ConfigError(
            f"the channels read different stores ({addresses}): give channels of one store, or "
            "the store (--store)"
        )
    return next(iter(addresses.values()), "")


def _notes(
    parts: Parts, chosen: Mapping[str, Channel], lists: Mapping[str, ChannelLists], address: str
) -> Iterator[str]:
    """Warnings about lists that no channel reads, or that are shorter than a quota."""
    readers = _readers(parts, chosen)
    unread = [name for name in chosen if name not in readers]
    if unread:
        yield (
            f"requests compute {', '.join(unread)} themselves; to read these lists, declare the "
            'channel in tamis.toml with use = "offline" and of = its name'
        )
    for name, channel in readers.items():
        quota = parts.config.cascade.channels[name].quota
        if channel.address != address:
            yield f"{name} reads store = {channel.address!r}, but these lists are in another store"
        elif lists[name].k < quota:
            yield f"{name} has quota = {quota}, but its lists hold only {lists[name].k} items"


def _drop_old(store: RecallStore, keep: int, needed: set[str]) -> Iterator[str]:
    """Deletes the lists of all versions except the `keep` newest and those needed."""
    for name in list(store.versions())[:-keep]:
        if name not in needed:
            store.drop(name)
            yield name


def _serving(versions: Versions) -> set[str]:
    try:
        return {versions.current(Kind.SERVING).name}
    except VersionError:
        return set()
