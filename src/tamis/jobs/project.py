"""A project: a folder with a `tamis.toml`, its data read once, and every command as a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cascade import Answer, Recommender, registry, value_of
from tamis.events import Dataset, Finding, Rejects, examine, read_dataset, read_items
from tamis.schema import ConfigError, DataError, ProjectConfig, load_config

if TYPE_CHECKING:
    from tamis.jobs.comparison import Comparison
    from tamis.jobs.evaluation import Evaluation
    from tamis.jobs.offline_recall import RecallReport
    from tamis.jobs.scoring import Scored
    from tamis.jobs.training import TrainReport
    from tamis.jobs.versioning import VersionLine

CONFIG = "tamis.toml"


@dataclass(frozen=True)
class Project:
    """An open project. Its tables and its serving version are read on first use, once."""

    root: Path

    def __post_init__(self) -> None:
        if not (self.root / CONFIG).is_file():
            raise ConfigError(
                f"{self.root} has no {CONFIG}: run `tamis init {self.root}` to have one written "
                "from your tables, or `tamis demo` for a ready project"
            )
        registry.look_in(self.root)  # stages of the user's own lie beside tamis.toml

    @cached_property
    def config(self) -> ProjectConfig:
        """The declaration. Raises ConfigError naming every fault of `tamis.toml`."""
        config = load_config(self.root / CONFIG)
        registry.check(config.cascade)
        self._check_fusion(config)
        return config

    def _check_fusion(self, config: ProjectConfig) -> None:
        """The items are read only where the fusion names more than predictions."""
        try:
            value_of(config)
        except ConfigError:
            try:
                items = read_items(config, self.root)
            except DataError:  # told by who reads the data, with file and cure
                return
            value_of(config, items)

    @cached_property
    def _read(self) -> tuple[Dataset, Rejects]:
        return read_dataset(self.config, self.root)

    @property
    def data(self) -> Dataset:
        """What the tables hold, validated and sorted by time."""
        return self._read[0]

    @property
    def rejects(self) -> Rejects:
        """What of the tables could not be used, and why."""
        return self._read[1]

    def doctor(self) -> Sequence[Finding]:
        """What is wrong or suspicious in the data, worst first."""
        return examine(self.config, self.root)

    def train(self, **options: Any) -> TrainReport:
        """Trains and publishes the evaluation and the serving version; see `jobs.train`."""
        from tamis.jobs.training import train

        vars(self).pop("recommender", None)  # the next request opens the new version
        return train(self.root, **options)

    def evaluate(self, **options: Any) -> Evaluation:
        """Judges the evaluation version on what came after its cut; see `jobs.evaluate`."""
        from tamis.jobs.evaluation import evaluate

        return evaluate(self.root, **options)

    def recall(self, **options: Any) -> RecallReport:
        """Recalls for all users into a store; see `jobs.recall`."""
        from tamis.jobs.offline_recall import recall

        return recall(self.root, **{"all_users": True, **options})

    def compare_rank(self, **options: Any) -> Comparison:
        """Several rankers on the rows by which `train` chooses; see `jobs.compare_rank`."""
        from tamis.jobs.comparison import compare_rank

        return compare_rank(self.root, **options)

    def score(self, table: Any, out: Path | str, **options: Any) -> Scored:
        """The ranker's scores of a table's rows, written to `out`; see `jobs.score`."""
        from tamis.jobs.scoring import score

        return score(self.root, table, out, **options)

    def versions(self, **options: Any) -> Sequence[VersionLine]:
        """The project's versions, oldest first; see `jobs.versions`."""
        from tamis.jobs.versioning import versions

        return versions(self.root, **options)

    @cached_property
    def recommender(self) -> Recommender:
        """The serving version, opened. Raises VersionError where there is none."""
        return Recommender.open(self.root)

    def recommend(self, user: object = None, n: int | None = None, **options: Any) -> Answer:
        """A slate from the serving version; see `Recommender.recommend`."""
        return self.recommender.recommend(user, n, **options)


def open(project: Path | str) -> Project:
    """A project's folder as an object: train, evaluate, recall, recommend, versions, doctor.

    Raises ConfigError where the folder has no `tamis.toml`.
    """
    return Project(Path(project))
