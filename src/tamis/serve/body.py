"""Decodes the body of a request: JSON text in UTF-8, one object, no name twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from litestar import Request as HTTPRequest
from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from tamis.schema import RequestError
from tamis.service import CheckedFields, EventRow, Request

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

EXAMPLE = '{"user_id": "u1", "n": 10}'
MAX_BYTES = 1_000_000
"""Largest body; a longer one is refused unread."""
_NAMES = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "a boolean"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SHOWN = 20
"""Characters of a malformed body that a message shows to each side of the fault."""


class UnsupportedBodyError(RequestError):
    """The body is not plain JSON text: compressed, or of another content type."""


MAX_EVENTS = 1_000
"""Events of one call."""


class _JSONRequest(HTTPRequest[Any, Any, Any]):
    """An HTTP request with a JSON body."""

    async def body(self) -> bytes:
        """The bytes of the body; raises RequestError where there are none."""
        found = await super().body()
        if not found.strip():
            raise RequestError(f"the body is empty; send a JSON object, such as {EXAMPLE}")
        return found

    async def value(self) -> Any:
        """The value of the body; raises RequestError for what is not JSON in UTF-8."""
        check_headers(
            self.headers.get("content-type", ""), self.headers.get("content-encoding", "")
        )
        found = _decoded(_text(await self.body()))
        self.scope["state"]["sent"] = found  # errors repeat the value of the field at fault
        return found


class BodyRequest(_JSONRequest):
    """An HTTP request whose JSON body is a `tamis.service.Request`; see `body_of` for others."""

    kind: ClassVar[type[CheckedFields]] = Request
    example = EXAMPLE

    async def json(self) -> Any:
        """The checked request in the body; raises RequestError naming the place at fault."""
        return checked_request(await self.value(), self.kind, self.example)


def body_of(kind: type[CheckedFields], example: str) -> type[BodyRequest]:
    """A class of HTTP requests whose JSON body is a `kind`; messages show the example."""
    return type(f"{kind.__name__}Body", (BodyRequest,), {"kind": kind, "example": example})


@dataclass(frozen=True)
class SentEvents:
    """Events as they were sent. They are checked one by one, so that a wrong one does not hold up
    the others; as a type of its own, the framework leaves them as they are."""

    rows: list[object]
    single: bool
    """The body is one event, not a list."""


@dataclass(frozen=True)
class SentRows:
    """Users or items as they were sent, which are checked one by one."""

    rows: list[object]


class EventsSchema(OpenAPISchemaPlugin):
    """Describes `SentEvents` and `SentRows` in the OpenAPI document: one object, or a list."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value in (SentEvents, SentRows)

    def to_openapi_schema(
        self, field_definition: FieldDefinition, schema_creator: SchemaCreator
    ) -> Schema:
        if field_definition.annotation is SentRows:
            columns = FieldDefinition.from_annotation(dict[str, Any] | list[dict[str, Any]])
            described = schema_creator.for_field_definition(columns)
            assert isinstance(described, Schema)
            return described
        rows = FieldDefinition.from_annotation(EventRow | list[EventRow])
        found = schema_creator.for_field_definition(rows)
        assert isinstance(found, Schema)  # of a union; a single class would be a reference
        return found


class EventsBody(_JSONRequest):
    """An HTTP request whose JSON body is an event, or a list of events."""

    async def json(self) -> Any:
        """The events as they were sent, which are checked one by one later."""
        found = await self.value()
        rows = found if isinstance(found, list) else [found]
        if len(rows) > MAX_EVENTS:
            raise RequestError(
                f"{len(rows):,} events: send at most {MAX_EVENTS:,} in one call, or import a file "
                "with `tamis events`"
            )
        return SentEvents(rows, single=not isinstance(found, list))


class ColumnsBody(_JSONRequest):
    """An HTTP request whose JSON body is one object of columns."""

    async def json(self) -> Any:
        """The columns as they were sent."""
        return SentRows([await self.value()])


class RowsBody(_JSONRequest):
    """An HTTP request whose JSON body is a list of users or items."""

    async def json(self) -> Any:
        """The rows as they were sent, which are checked one by one later."""
        found = await self.value()
        if not isinstance(found, list):
            raise RequestError("send a list of objects, or one object to the address of its id")
        if len(found) > MAX_EVENTS:
            raise RequestError(f"{len(found):,} rows: send at most {MAX_EVENTS:,} in one call")
        return SentRows(found)


def check_headers(content_type: str, content_encoding: str) -> None:
    """Raises UnsupportedBodyError for a body that is not JSON, or compressed.

    A missing content type, and text/plain, are taken for JSON, which they usually are.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedBodyError(
            f"content-encoding: {content_encoding}: this endpoint reads uncompressed bodies; "
            "send the JSON as it is"
        )
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    json_like = kind in ("", "application/json", "text/json", "text/plain") or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not json_like:
        raise UnsupportedBodyError(
            f"content-type: {content_type}: send JSON, with the header "
            "`content-type: application/json`"
        )
    _, _, charset = parameters.partition("charset=")
    charset = charset.partition(";")[0].strip().strip('"').lower()
    if charset not in ("", "utf-8", "utf8", "us-ascii", "ascii"):
        raise UnsupportedBodyError(f"charset={charset}: JSON is sent in UTF-8")


def checked_request(
    value: Any, kind: type[CheckedFields] = Request, example: str = EXAMPLE
) -> CheckedFields:
    """The checked request of a JSON value; raises RequestError naming the place at fault."""
    if not isinstance(value, dict):
        name = "null" if value is None else _NAMES[type(value)]
        raise RequestError(f"the body is {name}; send one JSON object, such as {example}")
    return kind.parse(value, strict=False)


def _text(body: bytes) -> str:
    if body.startswith(_UTF16):
        raise RequestError("the body looks like UTF-16; send JSON in UTF-8")
    try:
        return body.decode("utf-8-sig")  # JSON has no byte-order mark, but some clients write one
    except UnicodeDecodeError as error:
        raise RequestError(
            f"the body is not UTF-8 text: byte {error.start} is 0x{body[error.start]:02x}; "
            "send JSON in UTF-8"
        ) from None


def _decoded(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except json.JSONDecodeError as error:
        shown = text[max(error.pos - _SHOWN, 0) : error.pos + _SHOWN]
        raise RequestError(
            f"the body is not JSON: {error.msg} at character {error.pos}, near {shown!r}"
        ) from None
    except RecursionError:
        raise RequestError(
            f"the body is nested too deeply; a request is one flat object, such as {EXAMPLE}"
        ) from None
    except ValueError:  # more digits than Python converts
        raise RequestError(
            "the body holds a whole number of thousands of digits; send ids of that length as texts"
        ) from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise RequestError(f"{twice!r} is given twice in one object; give it once", twice)
    return found


def _constant(name: str) -> float:
    raise RequestError(f"the body holds {name}, which is no JSON number; leave the field out")


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise RequestError(f"the number {text} is out of range; send a smaller one")
    return value
