"""A project, with every command of the command line as a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.onboarding import Finding, examine
from tamis.service import ProjectFolder

if TYPE_CHECKING:
    from tamis.jobs._trainer import TrainReport
    from tamis.jobs.compare_rankers import Comparison
    from tamis.jobs.evaluate_cascade import Evaluation
    from tamis.jobs.list_versions import VersionLine
    from tamis.jobs.offline_recall import RecallReport
    from tamis.jobs.scoring import Scored
    from tamis.service import Answer


class Project(ProjectFolder):
    """An open project: train, evaluate, recall, recommend, versions, doctor."""

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
        from tamis.jobs.evaluate_cascade import evaluate

        return evaluate(self.root, **options)

    def recall(self, **options: Any) -> RecallReport:
        """Recalls for all users into a store; see `jobs.recall`."""
        from tamis.jobs.offline_recall import recall

        return recall(self.root, **{"all_users": True, **options})

    def compare_rank(self, **options: Any) -> Comparison:
        """Several rankers on the rows by which `train` chooses; see `jobs.compare_rank`."""
        from tamis.jobs.compare_rankers import compare_rank

        return compare_rank(self.root, **options)

    def score(self, table: Any, out: Path | str, **options: Any) -> Scored:
        """The ranker's scores of a table's rows, written to `out`; see `jobs.score`."""
        from tamis.jobs.scoring import score

        return score(self.root, table, out, **options)

    def versions(self, **options: Any) -> Sequence[VersionLine]:
        """The project's versions, oldest first; see `jobs.versions`."""
        from tamis.jobs.list_versions import versions

        return versions(self.root, **options)

    def recommend(self, user: object = None, n: int | None = None, **options: Any) -> Answer:
        """A slate from the serving version; see `Recommender.recommend`."""
        return self.recommender.recommend(user, n, **options)


def open(project: Path | str) -> Project:
    """A project's folder as an object: train, evaluate, recall, recommend, versions, doctor.

    Raises ConfigError where the folder has no `tamis.toml`.
    """
    return Project(Path(project))
