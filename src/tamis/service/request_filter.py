"""The filter of a single request: a condition that the caller gives with it."""

from __future__ import annotations

from collections.abc import Collection
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
    """A condition of one request; its faults are those of the field that holds it."""

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
    """The filter of a request that has a condition; see `request_condition`."""
    return request_condition(request.filter, "filter", "filter", parts, request.values)


def request_condition(
    text: str, field: str, place: str, parts: Parts, values: Collection[str]
) -> RequestCondition:
    """A condition that a request holds.

    Args:
        field: the field of the request that holds it, for errors.
        place: the same with the place in the field, such as "boost[2].where".
        values: names that the request gives, which conditions read as `request.NAME`.

    Raises RequestError where the condition cannot be parsed, or names what is not there.
    """
    features, columns = parts.config.features, parts.config.events.request_columns
    try:
        condition = FilterExpression.parse(text)
        condition.check_names(
            {
                "item": names_of(parts.items),
                "user": names_of(parts.users),
                "request": (*_FIELDS, *columns, *values),
            }
        )
        rule = RequestCondition(where=text, unknown="remove").over(
            parts.items,
            parts.users,
            separators_of(parts.config.items, features, parts.items.columns),
            separators_of(None, features, parts.users.columns),
        )
    except ExpressionError as error:
        raise RequestError(f"{place}: {explained(text, error)}", field) from error
    rule.field, rule.items = field, len(parts.items)
    return rule


def filtered(cascade: Cascade, rule: RequestCondition) -> Cascade:
    """The cascade with one more filter."""
    filters = {**cascade.retrieval.filters, NAME: rule}
    return replace(cascade, retrieval=replace(cascade.retrieval, filters=filters))
