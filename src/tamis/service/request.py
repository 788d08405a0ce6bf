"""A request: all that a caller may give, checked once where it enters (HTTP, CLI, Python)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, ClassVar, Self, cast

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from tamis.data import CITY, MAX_ID, MISSING, Context, Texts, one_id
from tamis.schema import RequestError, suggest
from tamis.service._field_checks import (
    FIRST_MS,
    LAST_MS,
    check_id,
    check_unicode,
    plain,
    plain_id,
    refused,
    unit_hint,
)

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | int
"""An external id; numbers are taken as text: 42 and "42" are the same id."""
SCENE = "scene"
MOST_PINS = 20
"""Most pins of a request."""
_Value = Annotated[str, Meta(max_length=MAX_ID)] | bool | int | float


class Boost(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A factor on the value of some items: of one item, of a category, or of a condition."""

    factor: Annotated[float, Meta(gt=0, le=1000)]
    """Above 1 the items rise, below 1 they fall. A negative value is divided by it instead."""
    item_id: Id | None = None
    """One item."""
    category: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | None = None
    """All items of this category, a value of the column `category` of `[items]`."""
    where: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None
    """All items that meet this condition, such as "price < 30"; the language of `filter`."""


class CheckedFields(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Fields that a caller gives, checked by their types and by `check`."""

    _IDS: ClassVar[tuple[str, ...]] = ()
    """Fields that hold an id."""
    _LISTS: ClassVar[tuple[str, ...]] = ()
    """Fields that hold a list: of ids, or "interests"."""

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """A checked request from Python values (ids of any type, lists for tuples).

        Raises RequestError naming the field, the value and how to fix it.
        """
        return cls.parse(fields)

    @classmethod
    def parse(cls, fields: Mapping[str, Any], strict: bool = True) -> Self:
        """A checked request of {field: value}.

        Args:
            strict: False also takes numbers and booleans that are written as texts.

        Raises RequestError naming the field, the value and how to fix it.
        """
        unknown = set(fields) - set(cls.__struct_fields__)
        if unknown:
            name = sorted(unknown)[0]
            raise RequestError(
                f"{name}: a request has no such field.{suggest(name, cls.__struct_fields__)} "
                f"Fields: {', '.join(cls.__struct_fields__)}",
                name,
            )
        for name in cls._LISTS:
            if isinstance(fields.get(name), str):
                raise RequestError(
                    f"{name} is the text {fields[name]!r}: give a list of texts", name
                )
        given = {key: plain(value) for key, value in fields.items()}
        for name in cls._IDS:
            if name in given:
                given[name] = plain_id(given[name], name)
        for name in set(cls._LISTS) - {"interests"}:
            if isinstance(given.get(name), list):
                given[name] = [plain_id(x, f"{name}[{k}]") for k, x in enumerate(given[name])]
        if "pins" in given:
            given["pins"] = _plain_pins(given["pins"])
        try:
            request = msgspec.convert(given, cls, strict=strict)
        except msgspec.ValidationError as error:
            raise refused(error, given) from error
        request.check()
        return request

    def check(self) -> None:
        """Raises RequestError for a blank id, or text that is not Unicode."""
        for name in self._IDS:
            if getattr(self, name) is not None:
                check_id(getattr(self, name), name)
        for name in self._LISTS:
            for k, one in enumerate(getattr(self, name) or ()):
                check = check_unicode if name == "interests" else check_id
                check(one, f"{name}[{k}]")


class _Situation(CheckedFields, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Who asks, when, where and with which conditions."""

    user_id: Id | None = None
    """External user id; a request holds it as text, as the tables do: 1, 1.0 and "1" are one id.
    Without one, or for an unknown one, the items are not personalised."""
    time: int | None = None
    """The request's time in ms since 1970 UTC, not before the end of the version's data. If
    omitted: the time of the project's clock."""
    interests: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    """Declared interests of a new user: categories, brands or keywords of the items."""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    """Degrees north of the request's place; goes with `longitude`."""
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """Degrees east of the request's place; goes with `latitude`."""
    city: Annotated[str, Meta(max_length=1024)] | None = None
    """The request's city, as the items' (or users') column spells it."""
    scene: Annotated[str, Meta(max_length=200)] = ""
    """The place of the product that asks, such as "home" or "detail": kept with the answer, and the
    value of the column of context `scene` where the project declares one."""
    context: dict[str, Annotated[str, Meta(max_length=MAX_ID)] | int | float | bool | None] = {}
    """Values of the columns that the project declares in `[events] context`, such as
    {"device": "ios"}. A column that is left out is missing."""
    values: dict[str, _Value | tuple[_Value, ...]] = {}
    """Further values that conditions read as `request.NAME`: {"regions": ["FR", "BE"]}."""
    boost: Annotated[tuple[Boost, ...], Meta(max_length=100)] = ()
    """Factors on the value of items, categories or conditions, before re-rank; factors of several
    that meet an item are multiplied. They move items that reach the ranker, and add none."""

    _IDS: ClassVar[tuple[str, ...]] = ("user_id",)
    _LISTS: ClassVar[tuple[str, ...]] = ("interests",)

    def __post_init__(self) -> None:
        if isinstance(self.user_id, str) and not self.user_id.strip():
            return  # not an id: `check` refuses it
        force_setattr(self, "user_id", one_id(self.user_id))

    def check(self) -> None:
        """Raises RequestError for what the field types cannot express: half a place, a time in
        another unit, a number that is not finite, a blank id, text that is not Unicode."""
        super().check()
        for name in ("city", "scene"):
            check_unicode(getattr(self, name) or "", name)
        for name, value in self.context.items():
            check_unicode(name, "context")
            if isinstance(value, str):
                check_unicode(value, f"context[{name}]")
        for name, value in self.values.items():
            _check_value(name, value)
        for k, boost in enumerate(self.boost):
            _check_boost(boost, f"boost[{k}]")
        for name, other in (("latitude", "longitude"), ("longitude", "latitude")):
            value = getattr(self, name)
            if value is not None and getattr(self, other) is None:
                raise RequestError(
                    f"{name} is given without {other}: a place needs both, in degrees", name
                )
            if value is not None and not isfinite(value):
                raise RequestError(f"{name} is {value}: give a number of degrees", name)
        if self.time is not None and not FIRST_MS <= self.time < LAST_MS:
            raise RequestError(
                f"time = {self.time} is not within the years 2000 to 2100 in ms since 1970 UTC"
                f"{unit_hint(self.time)}",
                "time",
            )

    def context_for(
        self, columns: Sequence[str], missing: Sequence[str] = MISSING
    ) -> Context | None:
        """The request's context for the stages that read it; None where none is given.

        Args:
            columns: those that the project declares as columns of context.
            missing: texts that mean a missing value in the log, and so in a request.

        Raises RequestError for a value of a column that is not declared.
        """
        for name in self.context:
            if name not in columns:
                if name in ("city", "latitude", "longitude", "time", "user_id"):
                    raise RequestError(f"context: {name} is a field of its own, not in it", name)
                declared = f"the project declares {', '.join(columns) or 'none'}"
                raise RequestError(
                    f"context: there is no column {name!r}; {declared} ([events] context in "
                    f"tamis.toml).{suggest(name, columns)}",
                    "context",
                )
        given = {name: one_id(value) for name, value in self.context.items()}
        if self.scene and SCENE in columns:
            given[SCENE] = self._scene(given.get(SCENE))
        given = {name: None if text in missing else text for name, text in given.items()}
        city = self._city(given.get(CITY))
        if city is not None and city.strip() in missing:
            city = None
        some = city or self.interests or any(given.values()) or self.values
        if self.latitude is None and not some:
            return None
        for name in self.values:
            if name in columns:
                raise RequestError(
                    f"values: {name} is a column of context; give it in context", "values"
                )
        if city and CITY in columns:
            given[CITY] = one_id(city)
        return Context(
            np.array([np.nan if self.latitude is None else self.latitude], dtype=np.float64),
            np.array([np.nan if self.longitude is None else self.longitude], dtype=np.float64),
            (city or None,),
            (tuple(self.interests),),
            {name: Texts.one(name, text) for name, text in given.items()},
            (self.values,) if self.values else None,
        )

    def _scene(self, of_context: str | None) -> str | None:
        """The scene, given as a field or as a column of context."""
        scene = one_id(self.scene)
        if of_context not in (None, scene):
            raise RequestError(
                f"scene = {self.scene!r}, but context holds scene = {of_context!r}: give it once",
                SCENE,
            )
        return scene

    def _city(self, of_context: str | None) -> str | None:
        """The city, given as a field or as a column of context."""
        if self.city and of_context and one_id(self.city) != of_context:
            raise RequestError(
                f"city = {self.city!r}, but context holds city = {of_context!r}: give it once",
                CITY,
            )
        return self.city or of_context


class Request(_Situation, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for recommendations. Every field may be left out.

    Build one with `Request.of(...)` in Python, which checks the fields; the HTTP service decodes
    the same class from JSON.
    """

    n: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Number of items wanted. If omitted: the project's slate size."""
    exclude_item_ids: Annotated[tuple[Id, ...], Meta(max_length=10_000)] = ()
    """Item ids that must not be in the answer."""
    filter: Annotated[str, Meta(max_length=2000)] = ""
    """A condition that every item of the answer meets, such as "price <= 30 and not used"; the
    language of conditions is that of the filter `condition`."""
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    """How much items differ from those placed before: 0 orders by value alone, 1 by difference
    alone. If omitted: as the project's re-rank rules say. Refused where the project has no rule
    with such a strength (`mmr` has)."""
    pins: Annotated[dict[str, Annotated[int, Meta(ge=1, le=1000)]], Meta(max_length=MOST_PINS)] = {}
    """Items with a place of their own, such as {"i7": 1}: {item id: place from 1}, at most 20. They
    are ranked whether recalled or not, and are more important than the project's re-rank rules. An
    item that a filter removes, or that is excluded, is not shown; `broken_rules` then says so."""
    explain: bool = False
    """Whether each item comes with its reasons."""
    why_not: Id | None = None
    """An item id: the answer then says which stage removed this item."""
    session_id: Annotated[str, Meta(max_length=200)] = ""
    """The user's session; kept with the answer in the journal."""
    arms: Annotated[dict[str, Annotated[str, Meta(max_length=200)]], Meta(max_length=50)] = {}
    """For testers: {experiment: arm} that answers, whatever the user's own; such answers count in
    no result."""
    dry_run: bool = False
    """Whether the answer leaves no trace: it is not in the journal, and no channel remembers it."""
    recommendation_id: Annotated[str, Meta(max_length=200)] = ""
    """Identifies the answer afterwards, in events and in logs. If empty: the service makes one."""

    _IDS: ClassVar[tuple[str, ...]] = ("user_id", "why_not")
    _LISTS: ClassVar[tuple[str, ...]] = ("exclude_item_ids", "interests")

    def check(self) -> None:
        """Raises RequestError for what the field types cannot express."""
        super().check()
        for name in ("filter", "session_id", "recommendation_id"):
            check_unicode(getattr(self, name), name)
        for name, arm in self.arms.items():
            check_unicode(name, "arms")
            check_unicode(arm, f"arms[{name}]")
        _check_pins(self.pins)
        if self.diversity is not None and not isfinite(self.diversity):
            raise RequestError(
                f"diversity is {self.diversity}: give a number from 0 to 1", "diversity"
            )


class RankRequest(_Situation, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request to order given items for a user."""

    item_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=5_000)]
    """Ids of the items to order, each once."""

    _LISTS: ClassVar[tuple[str, ...]] = ("item_ids", "interests")


def _plain_pins(given: Any) -> Any:
    """Pins with the texts of their ids; what is no object is left to the check of its type.

    Raises RequestError where two spellings of one id are pinned.
    """
    if not isinstance(given, dict):
        return given
    found: dict[str, Any] = {}
    for item, place in cast("dict[Any, Any]", given).items():
        known = plain_id(item, "pins")
        name = "" if known is None else str(one_id(known) if str(known).strip() else known)
        if name in found:
            raise RequestError(f"pins: item {name!r} is pinned twice; give it one place", "pins")
        found[name] = place
    return found


def _check_pins(pins: Mapping[str, int]) -> None:
    """Raises RequestError for a blank id, or a place that two items have."""
    taken: dict[int, str] = {}
    for item, place in pins.items():
        check_id(item, "pins")
        if place in taken:
            raise RequestError(
                f"pins: items {taken[place]!r} and {item!r} are both at place {place}; give each a "
                "place of its own",
                "pins",
            )
        taken[place] = item


def _check_boost(boost: Boost, place: str) -> None:
    """Raises RequestError unless a boost names exactly one thing."""
    given = {n: getattr(boost, n) for n in ("item_id", "category", "where")}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        raise RequestError(
            f"{place} has {', '.join(given) or 'no item'}: give one of item_id, category, where",
            "boost",
        )
    if not isfinite(boost.factor):
        raise RequestError(f"{place}.factor is {boost.factor}: give a finite number", "boost")
    for name, value in given.items():
        check = check_id if name == "item_id" else check_unicode
        check(value, f"{place}.{name}")


def _check_value(name: str, value: Any) -> None:
    """Raises RequestError for a value of a name that is a field, or of several types."""
    if name in ("time", CITY, "latitude", "longitude", "interests"):
        raise RequestError(f"values: {name} is a field of its own, not in values", name)
    check_unicode(name, "values")
    several = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
    kinds = {"number" if type(one) in (int, float) else type(one).__name__ for one in several}
    if len(kinds) > 1:
        raise RequestError(f"values: {name} = {list(several)!r}: give values of one type", "values")
    for one in several:
        if isinstance(one, str):
            check_unicode(one, f"values[{name}]")
        elif isinstance(one, float) and not isfinite(one):
            raise RequestError(f"values: {name} is {one}: give a finite number", "values")
