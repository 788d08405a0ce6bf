"""A project on disk: its declaration and its data, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tamis.events import Dataset, Rejects, read_dataset
from tamis.schema import ConfigError, ProjectConfig, load_config

CONFIG = "tamis.toml"


@dataclass(frozen=True)
class Project:
    """A folder with a `tamis.toml`."""

    root: Path

    def __post_init__(self) -> None:
        if not (self.root / CONFIG).is_file():
            raise ConfigError(
                f"{self.root} has no {CONFIG}: run `tamis init {self.root}` to have one written "
                "from your tables, or `tamis demo` for a ready project"
            )

    @cached_property
    def config(self) -> ProjectConfig:
        return load_config(self.root / CONFIG)

    @cached_property
    def _read(self) -> tuple[Dataset, Rejects]:
        return read_dataset(self.config, self.root)

    @property
    def data(self) -> Dataset:
        return self._read[0]

    @property
    def rejects(self) -> Rejects:
        return self._read[1]
