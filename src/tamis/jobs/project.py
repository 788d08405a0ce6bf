"""A project as an object: each command of the command line is a method."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.schema import TamisWarning
from tamis.service import ProjectFolder

if TYPE_CHECKING:
    from tamis.jobs._train_report import TrainReport
    from tamis.jobs._update_report import UpdateReport
    from tamis.jobs.compare_rankers import Comparison
    from tamis.jobs.evaluate_cascade import Evaluation
    from tamis.jobs.export_journal import ExportReport
    from tamis.jobs.lookalike import LookalikeReport
    from tamis.jobs.offline_recall import RecallReport
    from tamis.jobs.parity import ParityReport
    from tamis.jobs.prepare import Diagnosis
    from tamis.jobs.scoring import ScoreReport
    from tamis.service import Answer, SimilarList, VersionLine


class Project(ProjectFolder):
    """An open project: doctor, train, evaluate, recommend, and the other commands as methods."""

    def doctor(self) -> Diagnosis:
        """Errors and suspicious values, worst first, and what a training costs; see
        `jobs.doctor`."""
        from tamis.jobs.prepare import doctor

        return doctor(self.root)

    def train(self, **options: Any) -> TrainReport:
        """Trains and publishes the evaluation and the serving version; see `jobs.train`."""
        from tamis.jobs.training import train

        vars(self).pop("recommender", None)  # the next request opens the new version
        return train(self.root, **options)

    def update(self, **options: Any) -> UpdateReport:
        """Lets the serving version learn what came since, and publishes it if the gate lets it
        pass; see `jobs.update`."""
        from tamis.jobs.update import update

        vars(self).pop("recommender", None)  # the next request opens the new version
        return update(self.root, **options)

    def evaluate(self, **options: Any) -> Evaluation:
        """Evaluates the evaluation version on the events after its cut; see `jobs.evaluate`."""
        from tamis.jobs.evaluate_cascade import evaluate

        return evaluate(self.root, **options)

    def recall(self, **options: Any) -> RecallReport:
        """Writes the recall lists of all users to a store; see `jobs.recall`."""
        from tamis.jobs.offline_recall import recall

        return recall(self.root, **options)

    def compare_rank(self, **options: Any) -> Comparison:
        """Fits several rankers on the rows of `train`'s validation; see `jobs.compare_rank`."""
        from tamis.jobs.compare_rankers import compare_rank

        return compare_rank(self.root, **options)

    def score(self, table: Any, out: Path | str, **options: Any) -> ScoreReport:
        """Writes the ranker's scores of a table's rows to `out`; see `jobs.score`."""
        from tamis.jobs.scoring import score

        return score(self.root, table, out, **options)

    def versions(self, **options: Any) -> Sequence[VersionLine]:
        """The project's versions, oldest first; see `jobs.versions`."""
        from tamis.jobs.list_versions import versions

        return versions(self.root, **options)

    def activate(self, name: str) -> VersionLine:
        """Makes a version the current one of its kind; see `jobs.activate`."""
        from tamis.jobs.list_versions import activate

        vars(self).pop("recommender", None)  # the next request opens the current version
        return activate(self.root, name)

    def rollback(self, **options: Any) -> VersionLine:
        """Makes the version before the current one the current one; see `jobs.rollback`."""
        from tamis.jobs.list_versions import rollback

        vars(self).pop("recommender", None)
        return rollback(self.root, **options)

    def parity(self, **options: Any) -> ParityReport:
        """Compares what a service read for its answers with the log; see `jobs.parity`."""
        from tamis.jobs.parity import parity

        return parity(self.root, **options)

    def export(self, **options: Any) -> ExportReport:
        """Writes new entries of the journal to files, deletes old ones; see `jobs.export`."""
        from tamis.jobs.export_journal import export

        return export(self.root, **options)

    def recommend(
        self, user_id: object = None, n: int | None = None, *, store: str = "", **options: Any
    ) -> Answer:
        """Recommends items from the serving version, its deltas and the events of the journal, if
        any. A delta that is refused is a `TamisWarning`.

        store: address of the journal: "" for the file of the project, or redis://host:port/db. For
        the other arguments see `Recommender.recommend`.
        """
        from tamis.journal import JOURNAL, WholeJournal, open_journal

        own = store in ("", self.config.journal.store)
        recommender = self.recommender if own else self.recommender_for(store)
        store = store or self.config.journal.store
        if store or (self.root / JOURNAL).exists():
            journal = WholeJournal(open_journal(self.root, self.config.name, store), self.root)
            try:
                recommender.views.catch_up(journal, seconds=float("inf"))
            finally:
                journal.close()
        recommender.deltas.catch_up()
        if recommender.deltas.problem is not None:
            warnings.warn(recommender.deltas.problem, TamisWarning, stacklevel=2)
        return recommender.recommend(user_id, n, **options)

    def similar(self, item_id: object = None, **options: Any) -> SimilarList:
        """The items nearest to an item, or to a text; see `jobs.similar`."""
        from tamis.jobs.similar_items import similar

        return similar(self.root, item_id=item_id, **options)

    def lookalike(self, item_id: object = None, **options: Any) -> LookalikeReport:
        """Users like given ones, or for an item; see `jobs.lookalike`."""
        from tamis.jobs.lookalike import lookalike

        return lookalike(self.root, item_id=item_id, **options)


def open(project: Path | str) -> Project:
    """Opens a project's folder: `tamis.open("DIR").recommend("42")`.

    Raises ConfigError if the folder has no `tamis.toml`.
    """
    return Project(Path(project))
