"""`tamis parity`: what a service read for its answers, against the same computed from the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.bundle import Kind, Version, Versions
from tamis.cascade import Candidates, Hydrate, Queries, RankerInputs
from tamis.data import Dataset, read_dataset
from tamis.features import Histories, OfflineStatistics
from tamis.jobs._version_data import in_rows_of
from tamis.journal import Journal, Recommendation, WholeJournal, open_journal
from tamis.runtime import Bool, Int32, Progress
from tamis.schema import DataError, ProjectConfig
from tamis.service import ProjectFolder, Recommender, Request, with_journal

PAGE = 1_000
"""Answers, and entries, that are read at once."""
TOLERANCE = 1e-3
"""Largest difference of two numbers that counts as none, relative to the larger of them and 1:
counters add 32-bit numbers in another order than the log."""


@dataclass
class ParityReport:
    """What was compared, and what differed."""

    version: str
    answers: int = 0
    """Answers that were compared."""
    candidates: int = 0
    """Candidates whose inputs were compared."""
    values: int = 0
    """Input values that were compared."""
    different: int = 0
    """Values that the service read otherwise than the log says."""
    features: dict[str, int] = field(default_factory=dict[str, int])
    """Feature → its values that differed, the most first."""
    missing: int = 0
    """Candidates of the recorded answers that the repeated ones did not rank."""
    same_slates: int = 0
    """Answers whose repetition had the same items in the same order."""

    @property
    def share(self) -> float:
        """Share of the values that agree."""
        return 1 - self.different / self.values if self.values else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "share": self.share}


def parity(project: Path | str, *, n: int = 100, progress: bool = False) -> ParityReport:
    """Compares the inputs of the last `n` sampled answers with inputs computed from the log.

    Sampled are the answers of the serving version of which the journal holds what the ranker read
    (`[answers] inputs`). Each is repeated by a fresh copy of the version that has applied the
    journal and the deltas up to the answer's. For the same candidates, the histories and the
    statistics are then computed from the tables and the journal, by the code that makes training
    rows, as of the answer's time; events count from their arrival at the service on.

    Raises ConfigError if the folder is no project, VersionError without a serving version,
    StoreError where the journal cannot be read, DataError where it holds no sampled answer.
    """
    folder = ProjectFolder(Path(project))
    version = Versions(folder.root).current(Kind.SERVING)
    with Progress("parity", progress) as shown:
        store = folder.config.journal.store
        journal = WholeJournal(open_journal(folder.root, folder.config.name, store), folder.root)
        try:
            shown.begin("read the sampled answers")
            share = folder.config.answers.inputs
            sampled = _sampled(journal, version.name, n, share)
            shown.begin("read the log")
            report = ParityReport(version.name)
            until = sampled[-1].position
            check = _Offline(replace(folder, journal_until=until), version, journal, until)
            shown.begin("repeat the answers, and compute their inputs from the log")
            for one in _repeated(version, journal, sampled):  # ids that come later are unseen yet
                check.compare(one, report)
        finally:
            journal.close()
    report.features = dict(Counter(report.features).most_common())
    return report


@dataclass(frozen=True)
class _Repeated:
    """A recorded answer, and what its repetition ranked."""

    answer: Recommendation
    slate: list[str]
    queries: Queries
    candidates: Candidates
    """All that have features: some are relative to the others of the query."""
    items: Int32
    """The items of those that the ranker read, in the recorded answer as well."""
    hydrate: Hydrate
    """With the items' features as they were at the answer."""


def _sampled(journal: Journal, version: str, n: int, share: float) -> list[Recommendation]:
    """The last n answers of the version with inputs, by position."""
    found: list[Recommendation] = []
    upto = journal.answers.head
    while upto > 0 and len(found) < n:
        after = max(upto - PAGE, 0)
        page = [one.answer for one in journal.answers.read(after, PAGE) if one.number <= upto]
        kept = [one for one in page if one.inputs is not None and one.version == version]
        found = [*kept, *found]
        upto = after
    if not found:
        raise DataError(
            f"the journal holds no answer of version {version} with what the ranker read: a share "
            f"of {share:g} of the answers keeps it. Ask the service for more, or set `inputs` in "
            "[answers] of tamis.toml to 1 and train, since a version has its own configuration"
        )
    return sorted(found[-n:], key=lambda answer: answer.position)


def _advance(recommender: Recommender, journal: Journal, position: int) -> None:
    """Applies the entries of the journal up to number `position`."""
    views = recommender.views
    while views.position < position:
        page = journal.read(views.position, PAGE)
        page = [one for one in page if one.sequence <= position]
        if not page:
            return
        views.apply(page)


def _repeated(
    version: Version, journal: Journal, answers: Sequence[Recommendation]
) -> Iterator[_Repeated]:
    moment = [0]
    recommender = Recommender(version, clock=lambda: moment[0])
    for answer in answers:
        _advance(recommender, journal, answer.position)
        recommender.deltas.catch_up(upto=answer.delta)
        moment[0] = answer.time
        fields = {**answer.request, "user_id": answer.user_id, "dry_run": True}
        outcome = recommender.answer(Request.of(**fields)).outcome
        space = recommender.parts.space
        assert answer.inputs is not None
        recorded = RankerInputs.of(answer.inputs)
        held = np.isin(outcome.preranked.item, recorded.items)
        yield _Repeated(
            answer,
            [recommender.parts.items.id_of(int(item)) for item in outcome.slate.item],
            outcome.queries,
            outcome.kept,
            outcome.preranked.item[held],
            Hydrate(space, recommender.parts.statistics),
        )


class _Offline:
    """Histories and statistics of the tables and the journal, in the rows of a version."""

    def __init__(
        self, folder: ProjectFolder, version: Version, journal: Journal, until: int
    ) -> None:
        recommender = Recommender(version)
        _advance(recommender, journal, until)
        self._parts = recommender.parts
        data = in_rows_of(self._parts, _known(folder, version, self._parts.config))
        self._statistics = OfflineStatistics(data, self._parts.space.recipes)
        self._histories = Histories.of(data)

    def compare(self, one: _Repeated, report: ParityReport) -> None:
        """Adds an answer to the report."""
        queries = one.queries
        queries = replace(queries, history=self._histories.at(queries.user, queries.time))
        rows = replace(one.hydrate, statistics=self._statistics)(queries, one.candidates)
        offline = RankerInputs.read(rows.select(_places(one.candidates.item, one.items)), one.items)
        assert one.answer.inputs is not None
        recorded = RankerInputs.of(one.answer.inputs)
        at = _places(recorded.items, one.items)
        report.answers += 1
        report.candidates += len(at)
        report.missing += len(recorded.items) - len(at)
        report.same_slates += one.slate == [item.item_id for item in one.answer.slate]
        report.values += offline.ids.size + offline.dense.size
        layout = self._parts.space.layout
        self._count(recorded.ids[at] != offline.ids, layout.ids, report)
        self._count(_differ(recorded.dense[at], offline.dense), layout.dense, report)

    def _count(self, wrong: Bool, columns: Sequence[Any], report: ParityReport) -> None:
        report.different += int(wrong.sum())
        for column in columns:
            count = int(wrong[:, column.first : column.first + column.width].sum())
            if count:
                report.features[column.name] = report.features.get(column.name, 0) + count


def _known(folder: ProjectFolder, version: Version, config: ProjectConfig) -> Dataset:
    """The tables and the journal, as a service of the version counts the events."""
    data, rejects = read_dataset(config, folder.root)
    found = folder.journal_data
    if found is None:
        return data
    if version.manifest.journal_position is None:  # as `EventReader` leaves events out
        own = config.events.arrival is not None
        came = pl.col("arrival") if own else pl.min_horizontal("arrival", "time")
        found = replace(found, events=found.events.filter(came >= version.manifest.data_until))
    return with_journal(data, found, config, rejects)


def _places(items: Int32, wanted: Int32) -> NDArray[np.intp]:
    """The places of `wanted` in `items`, which holds all of them."""
    order = np.argsort(items, kind="stable")
    return order[np.searchsorted(items, wanted, sorter=order)]


def _differ(one: Any, other: Any) -> Bool:
    scale = np.maximum(np.maximum(np.abs(one), np.abs(other)), 1.0)
    return ~((np.abs(one - other) <= TOLERANCE * scale) | (np.isnan(one) & np.isnan(other)))
