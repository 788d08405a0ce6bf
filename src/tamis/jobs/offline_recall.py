"""Recall for all users at once: lists and vectors written to a store under the version's name."""

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
from tamis.runtime import Progress
from tamis.schema import ConfigError, VersionError
from tamis.service import Parts, ProjectFolder
from tamis.stores import EntityKind, RecallDraft, RecallStore, open_recall

BLOCK = 1024
"""Users recalled at once: memory does not grow with their number."""
VECTOR_BLOCK = 65_536
"""Items whose vectors are written at once."""
SPARE = 50
"""Items beyond the quota, by default: what a request leaves out does not make its list short."""
MERGED = "merged"
"""The name of the list that all channels' lists are merged to."""


@dataclass
class ChannelLists:
    """What was written of one channel."""

    k: int
    users: int = 0
    """Users with a list."""
    items: int = 0
    """Items in all lists."""
    vectors: int = 0
    """Width of its user and item vectors; 0 = it has none."""
    seconds: float = 0.0
    """Spent in the channel itself."""


@dataclass(frozen=True)
class RecallReport:
    """What `recall` did."""

    version: str
    store: str
    users: int
    seconds: float
    users_per_second: float
    """All channels and the writing together."""
    channels: dict[str, ChannelLists]
    dropped: tuple[str, ...] = ()
    """Versions whose lists were deleted."""
    notes: tuple[str, ...] = ()
    """What may surprise: lists shorter than a quota, lists that nothing reads."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def recall(
    project: Path | str,
    *,
    all_users: bool = False,
    k: int | None = None,
    store: str | None = None,
    channels: Sequence[str] = (),
    version: str | None = None,
    keep: int = 2,
    progress: bool = False,
) -> RecallReport:
    """Every user's best items by each channel, and the vectors behind them, written to a store.

    Each user is asked for as at the end of the version's data, with the filters' exclusions as of
    then, so the lists are what `recommend` would recall at that moment.

    all_users: must be True; single users are recalled when they ask. k: items per list, by default
    the channel's quota and 50 more. store: "" = files in the project, `redis://host:port/db`,
    `env:NAME`; by default where the channels read. channels: by their names in `tamis.toml`; by
    default those declared offline, or all where none is. With several, a list `merged` is written
    too. version: by default the serving one. keep: of how many versions lists are kept, the newest.
    Raises ConfigError for what cannot be asked, VersionError where there is no such version,
    StoreError where the store cannot be written; what was there before stays then.
    """
    if not all_users:
        raise ConfigError(
            "recall is for everybody: give all_users=True (--all-users); single users are recalled "
            "when they ask"
        )
    if keep < 1:
        raise ConfigError(f"keep is {keep}: the lists just written must be kept, so at least 1")
    root = ProjectFolder(Path(project)).root
    versions = Versions(root)
    opened = versions.current(Kind.SERVING) if version is None else versions.open(version)
    parts = Parts.open(opened)
    chosen = _chosen(parts, channels)
    address = _address(parts, chosen) if store is None else store
    target = open_recall(address, root, parts.config.name)
    batch = _Batch(opened, parts, chosen, _lengths(parts, chosen, k))
    began = perf_counter()
    with ExitStack() as stack:
        shown = stack.enter_context(Progress("recall", progress))
        draft = stack.enter_context(
            target.write(opened.name, users=len(parts.users), items=len(parts.items))
        )
        batch.write(draft, shown)
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
class _Batch:
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
        """(n, k) what merge and filters make of the lists; its score is 1 / place."""
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
    """The channels asked for, each as the one that computes."""
    if MERGED in parts.channels:
        raise ConfigError(
            f"tamis.toml: [cascade.channels.{MERGED}]: that is the name of the list that all "
            "channels are merged to; give the channel another"
        )
    computing = {
        name: channel.inner if isinstance(channel, Precomputed) else channel
        for name, channel in parts.channels.items()
        if isinstance(channel, Precomputed) or not isinstance(channel, UsesStore)
    }
    for name in names:
        if name not in computing:
            why = "computes nothing" if name in parts.channels else "is no channel of the version"
            raise ConfigError(
                f"channels: {name!r} {why}; those that can be recalled: {', '.join(computing)}"
            )
    wanted = names or [n for n, c in parts.channels.items() if isinstance(c, Precomputed)]
    return {name: computing[name] for name in wanted or computing}


def _lengths(parts: Parts, chosen: Mapping[str, Channel], k: int | None) -> dict[str, int]:
    if k is not None and k < 1:
        raise ConfigError(f"k is {k}: a list must hold at least 1 item")
    declared = parts.config.cascade.channels
    return {name: declared[name].quota + SPARE if k is None else k for name in chosen}


def _readers(parts: Parts, chosen: Mapping[str, Channel]) -> dict[str, Precomputed]:
    """Of the chosen channels those that read lists when they serve."""
    return {n: c for n, c in parts.channels.items() if n in chosen and isinstance(c, Precomputed)}


def _address(parts: Parts, chosen: Mapping[str, Channel]) -> str:
    """Where the chosen channels read; beside the project where none does."""
    addresses = {name: c.address for name, c in _readers(parts, chosen).items()}
    if len(set(addresses.values())) > 1:
        raise ConfigError(
            f"the channels read different stores ({addresses}): name channels of one, or a store"
        )
    return next(iter(addresses.values()), "")


def _notes(
    parts: Parts, chosen: Mapping[str, Channel], lists: Mapping[str, ChannelLists], address: str
) -> Iterator[str]:
    readers = _readers(parts, chosen)
    unread = [name for name in chosen if name not in readers]
    if unread:
        yield (
            f"requests compute {', '.join(unread)} themselves: they read such lists of a channel "
            'that tamis.toml declares by use = "offline", of = its name'
        )
    for name, channel in readers.items():
        quota = parts.config.cascade.channels[name].quota
        if channel.address != address:
            yield f"{name} reads store = {channel.address!r}, and these lists are elsewhere"
        elif lists[name].k < quota:
            yield f"{name} may bring {quota} candidates (quota); its lists hold {lists[name].k}"


def _drop_old(store: RecallStore, keep: int, needed: set[str]) -> Iterator[str]:
    """Deletes the lists of all but the `keep` newest versions and those needed."""
    for name in list(store.versions())[:-keep]:
        if name not in needed:
            store.drop(name)
            yield name


def _serving(versions: Versions) -> set[str]:
    try:
        return {versions.current(Kind.SERVING).name}
    except VersionError:
        return set()
