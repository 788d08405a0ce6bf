"""The entries of a journal: all that happens to a running service, each one JSON object.

The field `kind` tells the entries apart. Ids are text, as `tamis.data.one_id` reads them; times are
milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from tamis.schema import StoreError

T = TypeVar("T")
Value = str | int | float | bool | None
"""A value of an event's context."""
Cell = Value | list[str | int | float]
"""A value of a column of the users' or the items' table; lists are categories or a vector."""


DELETED_USER = ""
"""Stands in the exported files for the users of events who were deleted later; no user has it."""


class Event(Struct, tag_field="kind", tag="event", frozen=True, kw_only=True, omit_defaults=True):
    """A user's action on an item, or an impression."""

    event_id: str
    """Two events of one id are one event: a client may send it again after a lost answer."""
    user_id: str
    item_id: str
    behaviour: str
    """One of `[behaviours]` of `tamis.toml`."""
    time: int
    """When it happened."""
    arrival: int
    """When it reached the service."""
    value: float | None = None
    """Rating, seconds watched or price."""
    context: dict[str, Value] = {}
    """Columns of `[events] context`."""
    recommendation_id: str | None = None
    """The answer that showed the item."""
    position: int | None = None
    """Place in the slate, from 1."""


class UserPut(Struct, tag_field="kind", tag="user_put", frozen=True, kw_only=True):
    """A user with all columns: those that are left out are missing from now on."""

    user_id: str
    columns: dict[str, Cell]
    """Columns of the users' table, by the names that the project declares."""


class UserPatch(Struct, tag_field="kind", tag="user_patch", frozen=True, kw_only=True):
    """New values of some columns of a user; a user that is not there yet is made."""

    user_id: str
    columns: dict[str, Cell]


class UserDelete(Struct, tag_field="kind", tag="user_delete", frozen=True, kw_only=True):
    """The user's row, history and impressions are gone from all later answers."""

    user_id: str


class ItemPut(Struct, tag_field="kind", tag="item_put", frozen=True, kw_only=True):
    """An item with all columns: those that are left out are missing from now on."""

    item_id: str
    columns: dict[str, Cell]
    """Columns of the items' table, by the names that the project declares."""


class ItemPatch(Struct, tag_field="kind", tag="item_patch", frozen=True, kw_only=True):
    """New values of some columns of an item; one that is not there yet, or was deleted, is made."""

    item_id: str
    columns: dict[str, Cell]


class ItemDelete(Struct, tag_field="kind", tag="item_delete", frozen=True, kw_only=True):
    """The item is in no answer until it is put or patched again."""

    item_id: str


class ItemHide(Struct, tag_field="kind", tag="item_hide", frozen=True, kw_only=True):
    """The item is in no answer until it is shown again by `ItemShow`."""

    item_id: str


class ItemShow(Struct, tag_field="kind", tag="item_show", frozen=True, kw_only=True):
    """A hidden item may be recommended again."""

    item_id: str


class Recommended(Struct, frozen=True, array_like=True):
    """One item of a recommendation."""

    item_id: str
    place: int
    """From 1."""
    score: float | None = None
    """The fused value of the ranker; None where it is not finite."""
    propensity: float | None = None
    """Probability with which the item was drawn at its place; None where slates are not drawn."""


class Recommendation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer of the service, which the journal keeps apart from its entries."""

    recommendation_id: str
    time: int
    user_id: str | None
    version: str
    """The version that answered."""
    slate: list[Recommended]
    position: int = 0
    """Number of the last entry of the journal that the answer took into account."""
    delta: int = 0
    """Number of the newest delta of the version that it took into account; 0: none."""
    degraded: list[str] = []
    """What failed or was left out."""
    broken_rules: list[str] = []
    """The re-rank rules that do not hold in the slate, with their places."""
    session_id: str = ""
    """The user's session; empty where the request names none."""
    scene: str = ""
    """The place of the product that asked; empty where the request names none."""
    request: dict[str, Any] = {}
    """Fields of the request that were given, the user apart."""
    trace: bytes | None = None
    """What each stage did with each candidate: `tamis.cascade.Record.of`."""
    inputs: bytes | None = None
    """What the ranker read of each candidate: `tamis.cascade.RankerInputs.of`."""
    arms: dict[str, str] = {}
    """Experiment → the arm that answered."""
    teams: list[str] = []
    """Of an interleaved answer: the arm that placed each item."""
    took_ms: float = 0.0
    """Milliseconds that the stages took."""
    rejected: dict[str, list[str]] = {}
    """Stage ("prerank", "rank") → some of the items that it rejected, drawn at random."""


class ExperimentStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step in the life of an experiment, which the journal keeps apart from its entries."""

    experiment: str
    step: Literal["start", "ramp", "full", "close"]
    time: int
    """When it was taken, ms since 1970 UTC."""
    by: str
    """Who took it."""
    traffic: float = 0.0
    """Share of the layer's units that take part from now on: of `start` and `ramp`."""
    arm: str = ""
    """Of `full`: the arm that everybody gets."""
    reverse: float = 0.0
    """Of `full`: the share of units that keep the control arm."""
    note: str = ""
    """Why, in words."""
    design: dict[str, Any] = {}
    """Of `start`: the declaration (`tamis.schema.ExperimentConfig`), as it stays to the end."""
    metrics: dict[str, dict[str, Any]] = {}
    """Of `start`: the declared metrics that it reads (`tamis.schema.MetricConfig`), by name."""
    holdout: float = 0.0
    """Of `start`: the share of the layer's units that no experiment of the layer reaches."""
    outside: float = 0.0
    """Of `start`: the share of units that no experiment of any layer reaches."""


Entry = (
    Event
    | UserPut
    | UserPatch
    | UserDelete
    | ItemPut
    | ItemPatch
    | ItemDelete
    | ItemHide
    | ItemShow
)
"""What changes the state of a service; entries are numbered, and applied in that order."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)
_ANSWER_DECODER = msgspec.json.Decoder(Recommendation)
_STEP_DECODER = msgspec.json.Decoder(ExperimentStep)


def key_of(entry: Entry) -> str | None:
    """The key that only one entry of a journal may have: that of an event; None for others."""
    return f"event:{entry.event_id}" if isinstance(entry, Event) else None


def encoded(entry: Entry | Recommendation | ExperimentStep) -> bytes:
    """The entry, the answer or the step, as JSON."""
    return _ENCODER.encode(entry)


def answer_of(body: bytes | str, place: str) -> Recommendation:
    """The answer of a JSON text; raises as `decoded` does."""
    return _decoded(_ANSWER_DECODER, body, place)


def step_of(body: bytes | str, place: str) -> ExperimentStep:
    """The step of a JSON text; raises as `decoded` does."""
    return _decoded(_STEP_DECODER, body, place)


def decoded(body: bytes | str, place: str) -> Entry:
    """The entry of a JSON text. Raises StoreError naming `place` where it is damaged or unknown."""
    return _decoded(_DECODER, body, place)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | str, place: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{place}: not an entry that this release knows ({error}); it may be damaged, or "
            "written by a later release: open the journal with that release"
        ) from error


def write_entries(path: Path, entries: Sequence[Entry]) -> None:
    """Writes entries to a file, one JSON object a line."""
    path.write_bytes(b"".join(encoded(entry) + b"\n" for entry in entries))


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Reads what `write_entries` wrote. Raises StoreError naming a line that is damaged."""
    lines = path.read_bytes().splitlines()
    return tuple(decoded(line, f"{path}, line {k}") for k, line in enumerate(lines, start=1))
