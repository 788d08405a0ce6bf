"""A request for users like given ones, as a caller sends it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from tamis.schema import RequestError
from tamis.service.request import CheckedFields, Id

MOST = 10_000
"""Most users of one request or answer; `tamis lookalike` writes longer lists to a file."""


class LookalikeRequest(CheckedFields, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The given users, or the item: one of both."""

    user_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MOST)] | None = None
    """External ids of users whose mean vector is compared."""
    item_id: Id | None = None
    """External id of an item: the users like those who liked it, or nearest to its content."""
    n: Annotated[int, Meta(ge=1, le=MOST)] = 100
    """Number of users wanted."""

    _IDS: ClassVar[tuple[str, ...]] = ("item_id",)
    _LISTS: ClassVar[tuple[str, ...]] = ("user_ids",)

    def check(self) -> None:
        """Raises RequestError unless users or an item are given."""
        super().check()
        if (self.user_ids is None) == (self.item_id is None):
            given = "both are" if self.item_id is not None else "neither is"
            raise RequestError(f"user_ids, item_id: {given} given; give one of them", "user_ids")
