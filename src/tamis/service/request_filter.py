"""The filter of a single request: a condition that the caller gives with it."""

from __future__ import annotations

from dataclasses import replace

from tamis.cascade import Cascade
from tamis.data import ExpressionError, FilterExpression, explained, separators_of
from tamis.filters import ConditionFilter, names_of
from tamis.schema import RequestError
from tamis.service.assembly import Parts
from tamis.service.request import Request

NAME = "request.filter"
"""Name of the filter in the trace."""
_FIELDS = ("time", "city", "latitude", "longitude", "interests")


class RequestCondition(ConditionFilter):
    """The condition filter of one request; its faults are those of the field `filter`."""

    field = "filter"


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
    return rule


def filtered(cascade: Cascade, rule: RequestCondition) -> Cascade:
    """The cascade with one more filter."""
    filters = {**cascade.retrieval.filters, NAME: rule}
    return replace(cascade, retrieval=replace(cascade.retrieval, filters=filters))
