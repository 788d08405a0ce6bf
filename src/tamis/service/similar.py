"""Items similar to an item or to a text, by the vectors of a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import polars as pl

from tamis.bundle import Version
from tamis.cascade import EmbedsItems
from tamis.data import UNKNOWN, Ragged, Table
from tamis.index import VectorIndex
from tamis.runtime import Float32, Int32
from tamis.schema import ProjectConfig, RequestError, suggest
from tamis.service.answer import title_of, unknown_item
from tamis.service.assembly import FORMATS, ITEMS, TEXT, Parts, part_readers, read_config, read_part
from tamis.service.item_indexes import ItemIndexes
from tamis.service.item_texts import ItemTexts


@dataclass(frozen=True)
class SimilarItem:
    """A similar item."""

    item_id: str
    """External id."""
    title: str
    place: int
    """From 1."""
    score: float
    """Cosine of the two vectors."""


@dataclass(frozen=True)
class SimilarList:
    """The items nearest to an item or to a text."""

    version: str
    by: str
    """Whose vectors were compared: "text", or the name of a channel."""
    item_id: str | None
    """External id of the given item."""
    title: str | None
    """Its title."""
    text: str | None
    """The given text."""
    items: tuple[SimilarItem, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "items": [vars(item) for item in self.items]}


@dataclass(frozen=True)
class Similar:
    """Finds similar items in a version; reads only the parts that it compares.

    Args:
        version: its name.
        read: gives the part of a path in the version: "text", or "channels/NAME".
        hidden: item rows that no list may hold.
        indexes: those of the channels' vectors that were built before.
    """

    version: str
    config: ProjectConfig
    items: Table
    read: Callable[[str], Any]
    hidden: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    indexes: ItemIndexes = field(default_factory=ItemIndexes)

    @classmethod
    def open(cls, version: Version) -> Self:
        """Checks a version and opens its items. Raises VersionError where it is damaged."""
        version.check(FORMATS)
        config = read_config(version)
        readers = part_readers(config)

        def read(part: str) -> Any:
            return read_part(version.path / part, readers[part])

        return cls(version.name, config, read(ITEMS), read)

    @classmethod
    def of(cls, version: str, parts: Parts, hidden: Int32) -> Self:
        """Of an open version, with what has changed since it was made."""

        def read(part: str) -> Any:
            return parts.text if part == TEXT else parts.channels[part.partition("/")[2]]

        return cls(version, parts.config, parts.items, read, hidden, parts.item_indexes)

    @cached_property
    def texts(self) -> ItemTexts:
        """The texts of the items. Raises RequestError where the version has none."""
        if self.config.items.text is None:
            raise RequestError(
                f"version {self.version} has no vectors of texts: name the columns in "
                'tamis.toml, such as [items.text] columns = ["title"], and run `tamis train`',
                "by",
            )
        return self.read(TEXT)

    def to_text(self, text: str, n: int = 10) -> SimilarList:
        """The n items whose texts are most similar to `text`, best first.

        None if no n-gram of it occurs in the items' texts. Raises RequestError where the
        version has no texts, and for an n below 1.
        """
        vector = self.texts.encoder.encode(pl.Series("text", [text]))
        if not vector.any():
            return SimilarList(self.version, TEXT, None, None, text)
        found = self._nearest(self.texts.index, vector, _checked(n), None)
        return SimilarList(self.version, TEXT, None, None, text, found)

    def to_item(self, item_id: object, n: int = 10, by: str | None = None) -> SimilarList:
        """The n items nearest to an item, best first, without the item itself.

        Args:
            item_id: external id.
            n: number of items, at least 1.
            by: "text", or a channel with vectors of items. If omitted: "text" if the version has
                texts, else the first such channel.

        Raises RequestError for an unknown item, one without a vector, a wrong `by` or `n`,
        and where the version has no vectors of items.
        """
        row = self.items.row(item_id)
        if row == UNKNOWN:
            raise RequestError(unknown_item(self.config, item_id, self.version), "item_id")
        by = by or self._first()
        index = self.texts.index if by == TEXT else self._of_channel(by)
        vector = index.gather(np.array([row], np.int32))
        shown = str(self.items.ids[row])
        if not vector.any():
            raise RequestError(
                f"item {shown} has no vector in {by}: it has no text or no event there; compare "
                "by another of the version's vectors (`by`)",
                "item_id",
            )
        found = self._nearest(index, vector, _checked(n), row)
        return SimilarList(self.version, by, shown, self._title(row), None, found)

    def _nearest(
        self, index: VectorIndex, vector: Float32, n: int, own: int | None
    ) -> tuple[SimilarItem, ...]:
        excluded = self.hidden if own is None else np.union1d(self.hidden, own).astype(np.int32)
        exclude = Ragged.of([excluded]) if len(excluded) else None
        rows, scores = index.search(vector, min(n, len(self.items)), exclude)
        return tuple(
            SimilarItem(str(self.items.ids[int(row)]), self._title(int(row)), place, float(score))
            for place, (row, score) in enumerate(zip(rows[0], scores[0], strict=True), start=1)
            if row >= 0
        )

    def _first(self) -> str:
        """By what items are compared where nobody says."""
        if self.config.items.text is not None:
            return TEXT
        for name in self.config.cascade.channels:
            if isinstance(self._channel(name), EmbedsItems):
                return name
        raise RequestError(
            f"version {self.version} has no vectors of items: add [items.text] or a channel "
            "with vectors, such as [cascade.channels.content], to tamis.toml and run `tamis train`",
            "by",
        )

    def _of_channel(self, name: str) -> VectorIndex:
        """The index of the directions of a channel's item vectors."""
        channels = self.config.cascade.channels
        if name not in channels:
            raise RequestError(
                f"by = {name!r}: neither {TEXT!r} nor a channel of the version."
                f"{suggest(name, [TEXT, *channels])} Channels: {', '.join(channels)}",
                "by",
            )
        channel = self._channel(name)
        if not isinstance(channel, EmbedsItems):
            raise RequestError(
                f"by = {name!r}: this channel has no vectors of items; name one that has, such as "
                "content, two_tower or mf",
                "by",
            )
        return self.indexes.of(name, channel)

    def _channel(self, name: str) -> Any:
        return self.read(f"channels/{name}")

    def _title(self, row: int) -> str:
        return title_of(self.config, self.items, row)


def _checked(n: int) -> int:
    if n < 1:
        raise RequestError(f"n = {n}: give at least 1", "n")
    return n
