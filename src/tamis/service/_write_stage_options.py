"""Writes `stage_options.json`: run python -m tamis.service._write_stage_options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from tamis.cascade import Wraps
from tamis.schema import ComponentConfig
from tamis.service import registry
from tamis.service.stage_options import FILE

_HEAD = ("needs_import", "required")
_DROPPED = ("title", "description", "default", "examples")


def collect() -> dict[str, dict[str, Any]]:
    """{kind: {short name: its options}} of every stage of Tamis; imports all of them."""
    found: dict[str, dict[str, Any]] = {}
    for kind in registry.KINDS:
        found[kind] = {}
        for use, stage in registry.available(kind).items():
            schema = stage.Config.model_json_schema()
            found[kind][use] = {
                "needs_import": issubclass(stage, Wraps) or _has_validators(stage.Config),
                "required": schema.get("required", []),
                "options": {
                    name: _stripped(option) | _conditions(stage.Config, name)
                    for name, option in schema.get("properties", {}).items()
                },
            }
    return found


def dump(options: Mapping[str, Any]) -> str:
    """The text of the packaged file: JSON with one option per line, for readable changes."""
    kinds: list[str] = []
    for kind, stages in sorted(options.items()):
        entries: list[str] = []
        for use, entry in sorted(stages.items()):
            named = [f'"{name}": {json.dumps(s)}' for name, s in sorted(entry["options"].items())]
            listed = ",\n   ".join(named)
            head = ", ".join(f'"{key}": {json.dumps(entry[key])}' for key in _HEAD)
            entries.append(f'  "{use}": {{{head}, "options": {{\n   {listed}}}}}')
        kinds.append(f' "{kind}": {{\n' + ",\n".join(entries) + "}")
    return "{\n" + ",\n".join(kinds) + "}\n"


def _conditions(config: type[BaseModel], option: str) -> dict[str, Any]:
    """An option's conditions (`ComponentConfig.only_with`), and its default if they read it."""
    conditions = config.conditions() if issubclass(config, ComponentConfig) else {}
    named = {name for needs in conditions.values() for need in needs for name in need.names}
    found: dict[str, Any] = {}
    if option in conditions:
        found["needs"] = [asdict(need) for need in conditions[option]]
    if option in named.union(conditions) and not config.model_fields[option].is_required():
        found["default"] = config.model_fields[option].get_default(call_default_factory=True)
    return json.loads(json.dumps(found))  # lists for tuples, as the file holds them


def _has_validators(config: type[BaseModel]) -> bool:
    """Whether a config has validators other than that of `ComponentConfig`."""
    rules = config.__pydantic_decorators__
    own = set(rules.model_validators) - set(
        ComponentConfig.__pydantic_decorators__.model_validators
    )
    return bool(rules.field_validators or own or rules.validators)


def _stripped(schema: Any) -> Any:
    """A JSON Schema without what only readers need."""
    if isinstance(schema, dict):
        items = cast("dict[str, Any]", schema).items()
        return {key: _stripped(value) for key, value in items if key not in _DROPPED}
    if isinstance(schema, list):
        return [_stripped(value) for value in cast("list[Any]", schema)]
    return schema


if __name__ == "__main__":
    Path(__file__).with_name(FILE).write_text(dump(collect()), encoding="utf-8")
