"""A project on disk: its declaration, its data and its serving version, each read once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.cascade import value_of
from tamis.data import Dataset, Rejects, read_dataset, read_items
from tamis.journal import JOURNAL, open_journal
from tamis.schema import ConfigError, DataError, ProjectConfig, load_config
from tamis.service import registry
from tamis.service.journal_data import JournalData, has_journal, with_journal

if TYPE_CHECKING:
    from tamis.service.recommender import Recommender
    from tamis.text import TextEncoder

CONFIG = "tamis.toml"


@dataclass(frozen=True)
class ProjectFolder:
    """A folder with a `tamis.toml`; tables and serving version are read once, on first use."""

    root: Path
    journal_until: int | None = None
    """Number of the last entry of the journal that is part of the data; None: the head."""
    encoder: TextEncoder | None = None
    """Encodes the items' texts instead of one that is fitted on them, so that vectors stay
    comparable with those that models have learnt from; None: fitted."""

    def __post_init__(self) -> None:
        if not (self.root / CONFIG).is_file():
            raise ConfigError(
                f"{self.root} has no {CONFIG}: run `tamis init {self.root}` to have one written "
                "from your tables, or `tamis demo` for a ready project"
            )
        registry.look_in(self.root)  # a project's own stages lie beside its tamis.toml

    @cached_property
    def config(self) -> ProjectConfig:
        """The declaration. Raises ConfigError naming every fault of `tamis.toml`."""
        config = load_config(self.root / CONFIG)
        registry.check(config.cascade)
        self._check_fusion(config)
        return config

    def _check_fusion(self, config: ProjectConfig) -> None:
        """Checks the fusion; reads the items only where it names more than predictions."""
        try:
            value_of(config)
        except ConfigError:
            try:
                items = read_items(config, self.root)
            except DataError:  # reported by whoever reads the data
                return
            value_of(config, items)

    @cached_property
    def _read(self) -> tuple[Dataset, Rejects]:
        return self.read(self.config)

    def read(self, config: ProjectConfig) -> tuple[Dataset, Rejects]:
        """The tables and the journal as `config` declares them, such as that of a version.

        Raises DataError where a table cannot be read, StoreError where the journal cannot.
        """
        data, rejects = read_dataset(config, self.root)
        found = self.journal_data
        if found is not None:
            data = with_journal(data, found, config, rejects)
        return data, rejects

    @cached_property
    def journal_data(self) -> JournalData | None:
        """What the project's journal holds, exported stretches included; None without a journal."""
        if not has_journal(self.root, self.config):
            return None
        store = self.config.journal.store
        if not store and not (self.root / JOURNAL).exists():
            return JournalData.read(self.root, None, self.journal_until)
        journal = open_journal(self.root, self.config.name, store)
        try:
            return JournalData.read(self.root, journal, self.journal_until)
        finally:
            journal.close()

    @cached_property
    def data(self) -> Dataset:
        """The data set: the tables and the journal, validated and sorted by time; the items with
        the vectors of their texts."""
        return self.with_text(self._read[0])

    @cached_property
    def text_encoder(self) -> TextEncoder | None:
        """The encoder of `[items.text]`, fitted on the items; None if none is declared."""
        text = self.config.items.text
        if text is None:
            return None
        if self.encoder is not None:
            return self.encoder
        from tamis.features import item_texts
        from tamis.text import text_encoder

        texts = item_texts(self._read[0].items, text)
        return text_encoder(text, self.root).fit(texts, self.config.seed)

    def with_text(self, data: Dataset) -> Dataset:
        """`data` with the vectors that `[items.text]` declares; unchanged if it declares none."""
        text, encoder = self.config.items.text, self.text_encoder
        if text is None or encoder is None:
            return data
        from tamis.features import encoded

        return replace(data, items=encoded(data.items, text, encoder))

    @property
    def rejects(self) -> Rejects:
        """The rows of the tables that could not be used, with reasons."""
        return self._read[1]

    @cached_property
    def recommender(self) -> Recommender:
        """The serving version, opened. Raises VersionError where there is none."""
        return self.recommender_for("")

    def recommender_for(self, store: str) -> Recommender:
        """The serving version, opened for the journal at an address; "" for the project's own.

        Another journal has other numbers: views of the version begin at its start. Raises
        VersionError where there is no version.
        """
        from tamis.service.recommender import Recommender  # heavy: torch, numba

        return Recommender.open(self.root, store=store)
