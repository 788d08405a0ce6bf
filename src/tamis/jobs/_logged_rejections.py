"""Candidates that pre-rank and rank rejected in the answers of the running service.

The service keeps some of them with each answer in the journal (`[answers] rejected`). A fit as of a
time reads those that were rejected before it, so each has its time; and the time at which an answer
first held the item, since an item that was shown is no hard negative of recall from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from tamis.cascade import LearnsFromAnswers
from tamis.journal import JOURNAL, Answers, Recommendation, UserDelete, open_journal
from tamis.schema import ProjectConfig
from tamis.service import ProjectFolder, registry

ANSWERS = 100_000
"""Most answers that are read, the newest."""
PAGE = 1_000
"""Answers that are read at once."""
_PAIRS = pl.Schema({"user_id": pl.String(), "item_id": pl.String(), "time": pl.Int64()})


def learns_from_answers(config: ProjectConfig) -> bool:
    """Whether a channel of the project learns from the answers of the service."""
    channels = (registry.build("recall", n, c) for n, c in config.cascade.channels.items())
    return any(isinstance(c, LearnsFromAnswers) and c.learns_from_answers for c in channels)


def logged_rejections(project: ProjectFolder, end: int) -> pl.DataFrame | None:
    """The rejected candidates of the project's newest answers; None if no channel wants them.

    Returns one row per user and item, in that order: user_id, item_id (external ids), time (ms of
    the first rejection) and shown (ms of the first answer that held the item; null: none did).
    Answers from before a user was deleted are left out.

    Args:
        end: end of the log (ms). Answers that the service gave after the last event have the last
            time before it: a fit on the whole log reads them, one on earlier data does not.

    Raises StoreError where the journal cannot be read.
    """
    if not learns_from_answers(project.config):
        return None
    rejected, shown = [pl.DataFrame(schema=_PAIRS)], [pl.DataFrame(schema=_PAIRS)]
    for page in _pages(project):
        lists = [(a, [i for of_stage in a.rejected.values() for i in of_stage]) for a in page]
        rejected.append(_pairs(lists))
        shown.append(_pairs([(a, [place.item_id for place in a.slate]) for a in page]))
    first = _first(rejected, "time", end)
    both = first.join(_first(shown, "shown", end), on=["user_id", "item_id"], how="left")
    return both.sort("user_id", "item_id")


def _pages(project: ProjectFolder) -> Iterator[list[Recommendation]]:
    """The newest answers to users who are not deleted since, page by page."""
    root, store, found = project.root, project.config.journal.store, project.journal_data
    if found is None or (not store and not (root / JOURNAL).exists()):
        return
    deleted = {e.user_id: n for n, e in found.changes if isinstance(e, UserDelete)}
    journal = open_journal(root, project.config.name, store)
    try:
        for page in _newest(journal.answers):
            yield [one for one in page if _counts(one, deleted, found.position)]
    finally:
        journal.close()


def _newest(answers: Answers) -> Iterator[list[Recommendation]]:
    upto = answers.head
    least = max(upto - ANSWERS, 0)
    while upto > least:
        after = max(upto - PAGE, least)
        yield [one.answer for one in answers.read(after, PAGE) if one.number <= upto]
        upto = after


def _counts(answer: Recommendation, deleted: Mapping[str, int], position: int) -> bool:
    user = answer.user_id
    return user is not None and deleted.get(user, 0) <= answer.position <= position


def _pairs(lists: list[tuple[Recommendation, list[str]]]) -> pl.DataFrame:
    """One row per item of each answer's list."""
    columns = {
        "user_id": [answer.user_id for answer, items in lists for _ in items],
        "item_id": [item for _, items in lists for item in items],
        "time": [answer.time for answer, items in lists for _ in items],
    }
    return pl.DataFrame(columns, _PAIRS)


def _first(pages: list[pl.DataFrame], name: str, end: int) -> pl.DataFrame:
    """The first time of each user and item, as the column `name`."""
    first = pl.col("time").min().clip(upper_bound=end - 1).alias(name)
    return pl.concat(pages).group_by("user_id", "item_id").agg(first)
