"""Names and types of every stage's options, read from a packaged file: no stage is imported.

`tamis doctor` and the errors about `tamis.toml` need the options of the declared stages, whose
modules import PyTorch. `stage_options.json` holds them; `_write_stage_options` writes it, and a
test compares it with the stages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Union, cast

from pydantic import BaseModel, Field, create_model

from tamis.schema import ComponentConfig, Needs

FILE = "stage_options.json"
_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}
"""Keys of JSON Schema and the arguments of pydantic's `Field` that mean the same."""
_PLAIN: dict[str, Any] = {
    "integer": int,
    "number": float,
    "boolean": bool,
    "string": str,
    "null": type(None),
}
Schema = Mapping[str, Any]


def needs_import(kind: str, use: str) -> bool:
    """Whether `config_of` does not check all that the stage itself checks.

    True where the stage wraps another one, or its `Config` has validators of its own (rules that
    join several options), or the packaged file does not hold it.
    """
    return bool(_packaged().get(kind, {}).get(use, {}).get("needs_import", True))


@cache
def config_of(kind: str, use: str) -> type[BaseModel] | None:
    """A class that checks names, types, ranges and effects of a stage's options, not importing it.

    None where the packaged file does not hold the stage. Raises nothing.
    """
    entry: Schema | None = _packaged().get(kind, {}).get(use)
    if entry is None:
        return None
    options: Mapping[str, Schema] = entry["options"]
    fields: dict[str, Any] = {
        name: (
            _type_of(schema),
            ... if name in entry["required"] else _tuples(schema.get("default")),
        )
        for name, schema in options.items()
    }
    made = create_model(f"{use}_options", __base__=ComponentConfig, **fields)
    made.only_with = {
        name: tuple(
            Needs(**{key: _tuples(value) for key, value in need.items()})
            for need in schema["needs"]
        )
        for name, schema in options.items()
        if "needs" in schema
    }
    return made


def _tuples(value: Any) -> Any:
    """The value, with tuples instead of the lists of JSON."""
    return tuple(map(_tuples, cast("list[Any]", value))) if isinstance(value, list) else value


@cache
def _packaged() -> dict[str, dict[str, Any]]:
    return json.loads((files("tamis.service") / FILE).read_text("utf-8"))


def _type_of(schema: Schema) -> Any:
    """The Python type that accepts what a JSON Schema describes; Any where it is not a simple one.

    Arrays are tuples, as in the configs.
    """
    bounds = {argument: schema[key] for key, argument in _BOUNDS.items() if key in schema}
    if "enum" in schema or "const" in schema:
        kind: Any = Literal[tuple(schema.get("enum", [schema.get("const")]))]
    elif "anyOf" in schema:
        kind = Union[tuple(_type_of(option) for option in schema["anyOf"])]  # noqa: UP007
    elif schema.get("type") == "array" and "prefixItems" in schema:
        kind, bounds = tuple[tuple(map(_type_of, schema["prefixItems"]))], {}
    elif schema.get("type") == "array":
        kind = tuple[_type_of(schema.get("items", {})), ...]
    elif schema.get("type") == "object":
        inner = schema.get("additionalProperties", {})
        key = _type_of({"type": "string", **schema.get("propertyNames", {})})
        kind = dict[key, _type_of(cast("Schema", inner) if isinstance(inner, dict) else {})]
    else:
        kind = _PLAIN.get(schema.get("type", ""), Any)
    return Annotated[kind, Field(**bounds)] if bounds else kind
