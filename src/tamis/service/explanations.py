"""Explains answers that were given earlier, from what the journal keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tamis.cascade import Queries, Record, Trace, named_reasons
from tamis.data import MISSING, UNKNOWN, Table, one_id
from tamis.journal import Recommendation
from tamis.schema import RequestError, TamisError
from tamis.service.answer import Place, WhyNot, unknown_item
from tamis.service.assembly import ITEMS
from tamis.service.recommender import Recommender
from tamis.service.request import Request

NO_TRACE = "the journal keeps no trace of this answer ([answers] traces in tamis.toml)"
OTHER_VERSION = (
    "version {} gave this answer, and {} answers now: scores, places and stages are those of then, "
    "titles those of now, and channels do not name the items of the history that led to a "
    "recommendation"
)


@dataclass(frozen=True)
class Explained:
    """An earlier answer with the reasons of its items."""

    answer: Recommendation
    items: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    """What the explanation cannot tell, and why."""


class Explanations:
    """Explains earlier answers. Scores, places and stages are those of the time of the answer.

    The items of the history that led to a recommendation are looked up again in the version that
    answered, as of the time of the answer; they are left out once another version answers.

    Args:
        recommender: the open version, with the state of its users.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def explained(self, answer: Recommendation) -> Explained:
        """The answer with the reasons of each item. Raises StoreError for a damaged trace."""
        notes = self._notes(answer)
        if answer.trace is None:
            notes = (NO_TRACE,)
            traces: list[Trace | None] = [None] * len(answer.slate)
        else:
            record = Record.of(answer.trace)
            traces = [record.trace(int(row)) for row in record.slate]
        queries = self._queries(answer)
        items = [
            Place(
                item_id=shown.item_id,
                title=self._title(shown.item_id),
                place=shown.place,
                score=float("nan") if shown.score is None else shown.score,
                propensity=shown.propensity,
                reasons=None
                if trace is None
                else self._recommender.reason(self._named(trace, queries)),
            )
            for shown, trace in zip(answer.slate, traces, strict=True)
        ]
        return Explained(answer, tuple(items), notes)

    def why_not(self, answer: Recommendation, item: object) -> WhyNot:
        """The stage that removed an item from the answer, as it was when answered.

        Raises RequestError where the answer has no trace, or the item is unknown; StoreError for a
        damaged trace.
        """
        item_id = one_id(item)
        if answer.trace is None:
            raise RequestError(f"{NO_TRACE}: which stage removed an item is not known", "item_id")
        record = Record.of(answer.trace)
        row = UNKNOWN if item_id is None else self._row_then(answer, record, item_id)
        if item_id is None or (row == UNKNOWN and self._row(item_id) == UNKNOWN):
            config = self._recommender.parts.config
            raise RequestError(unknown_item(config, item, answer.version), "item_id")
        trace = record.trace(None if row == UNKNOWN else row)
        if trace.found:
            trace = self._named(trace, self._queries(answer))
        return WhyNot(
            item_id=item_id,
            title=self._title(item_id),
            stage=trace.lost,
            detail=trace.detail,
            reasons=self._recommender.reason(trace) if trace.found else None,
            notes=self._notes(answer),
        )

    def _notes(self, answer: Recommendation) -> tuple[str, ...]:
        """What the explanation of an answer cannot tell."""
        if self._is_open(answer):
            return ()
        return (OTHER_VERSION.format(answer.version, self._recommender.version),)

    def _is_open(self, answer: Recommendation) -> bool:
        return answer.version == self._recommender.version

    def _named(self, trace: Trace, queries: Queries | None) -> Trace:
        """The trace with what the channels say of the item, where the version is open."""
        if queries is None:
            return trace
        retrieval = self._recommender.cascade.retrieval
        return replace(trace, found=named_reasons(trace.found, retrieval, queries, trace.item))

    def _queries(self, answer: Recommendation) -> Queries | None:
        """The query of the answer, with the history of that time; None for another version."""
        if not self._is_open(answer):
            return None
        recommender, events = self._recommender, self._recommender.parts.config.events
        missing = MISSING if events.missing is None else events.missing
        request = Request.parse(answer.request)
        context = request.context_for(events.request_columns, missing)
        return recommender.views.queries(
            recommender.views.user_row(answer.user_id), answer.time, context
        )

    def _row_then(self, answer: Recommendation, record: Record, item_id: str) -> int:
        """The item's row in the answer; UNKNOWN for one that the version did not hold, and that
        did not reach the answer after it came."""
        shown = {one.item_id: int(row) for one, row in zip(answer.slate, record.slate, strict=True)}
        known = record.new_items | shown
        if item_id in known:
            return known[item_id]
        row = self._items(answer).row(item_id)
        came_since = self._is_open(answer) and self._recommender.views.items.is_new(row)
        return UNKNOWN if came_since else row

    def _items(self, answer: Recommendation) -> Table:
        """The items as the version that answered numbers them."""
        if self._is_open(answer):
            return self._recommender.parts.items
        path = self._recommender.versions_folder / answer.version / ITEMS
        try:
            return _table(path)
        except (OSError, TamisError) as error:
            raise RequestError(
                f"version {answer.version}, which gave this answer, is not among the versions of "
                "the project any more, so only the items that it showed can be explained",
                "item_id",
            ) from error

    def _row(self, item_id: str) -> int:
        return self._recommender.parts.items.row(item_id)

    def _title(self, item_id: str) -> str:
        """The title as it is now; the id of an item that the open version does not know."""
        row = self._row(item_id)
        return item_id if row == UNKNOWN else self._recommender.title(row)


@lru_cache(maxsize=2)
def _table(path: Path) -> Table:
    return Table.read("items", path)
