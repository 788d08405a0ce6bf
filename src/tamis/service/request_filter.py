"""The filter of a single request: a condition that the caller gives with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tamis.cascade import Candidates, Cascade, Queries
from tamis.data import ExpressionError, FilterExpression, Ragged, explained, separators_of
from tamis.filters import ConditionFilter, names_of
from tamis.schema import RequestError
from tamis.service.assembly import Parts
from tamis.service.request import Request

NAME = "request.filter"
"""Name of the filter in the trace."""
MOST_LISTED = 300_000
"""Most items of a catalogue in which a request's condition is evaluated for all of them."""
_FIELDS = ("time", "city", "latitude", "longitude", "interests")


class RequestCondition(ConditionFilter):
    """The condition filter of one request; its faults are those of the field `filter`."""

    field = "filter"
    items = 0
    """Number of items of the version."""

    def excluded(self, queries: Queries) -> Ragged | None:
        """The items that do not meet the condition, so that channels recall others in their place;
        None in a large catalogue, where candidates are tested after recall alone."""
        if self.items > MOST_LISTED:
            return None
        every = np.arange(self.items, dtype=np.int32)
        kept = self.keep(queries, Candidates(np.array([0, self.items], np.int64), every))
        return Ragged.of([every[~kept]])


def request_filter(request: Request, parts: Parts) -> RequestCondition:
    """The filter of a request that has a condition.

    Raises RequestError where the condition cannot be parsed, or names what is not there.
    """
    text, features = request.filter, parts.config.features
    columns = parts.config.events.request_columns
    try:
        condition = FilterExpression.parse(text)
        condition.check_names(
            {
                "item": names_of(parts.items),
                "user": names_of(parts.users),
                "request": (*_FIELDS, *columns, *request.values),
            }
        )
        rule = RequestCondition(where=text, unknown="remove").over(
            parts.items,
            parts.users,
            separators_of(parts.config.items, features, parts.items.frame.columns),
            separators_of(None, features, parts.users.frame.columns),
        )
    except ExpressionError as error:
        raise RequestError(f"filter: {explained(text, error)}", "filter") from error
    rule.items = len(parts.items)
    return rule


def filtered(cascade: Cascade, rule: RequestCondition) -> Cascade:
    """The cascade with one more filter."""
    filters = {**cascade.retrieval.filters, NAME: rule}
    return replace(cascade, retrieval=replace(cascade.retrieval, filters=filters))
