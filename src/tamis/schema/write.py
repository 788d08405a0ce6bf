"""Writes `tamis.toml`, optionally with comments above keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.items import AoT
from tomlkit.items import Table as TomlTable

from tamis.schema.config import ProjectConfig


def dump_config(
    config: ProjectConfig | Mapping[str, Any], comments: Mapping[str, str] | None = None
) -> str:
    """The config as TOML text; keys with their default value are left out.

    comments: path of a key (`cascade.channels.itemcf.quota`, `features[genres]`, "" for the start
    of the file) → text of the comment above it.
    """
    data = _plain(config) if isinstance(config, ProjectConfig) else config
    notes = dict(comments or {})
    document = tomlkit.document()
    for line in notes.get("", "").splitlines():
        document.add(tomlkit.comment(line))
    if "" in notes:
        document.add(tomlkit.nl())
    _fill(document, data, "", notes)
    return document.as_string().rstrip("\n") + "\n"


def write_config(
    config: ProjectConfig | Mapping[str, Any],
    path: Path | str,
    comments: Mapping[str, str] | None = None,
) -> None:
    """Writes the text of `dump_config` to `path`; the file is replaced only when it is complete."""
    path = Path(path)
    draft = path.with_name(path.name + ".part")
    draft.write_text(dump_config(config, comments), encoding="utf-8")
    os.replace(draft, path)


def _plain(config: ProjectConfig) -> dict[str, Any]:
    data = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    for section in ("behaviours", "tasks"):
        for entry in data.get(section, {}).values():
            entry.pop("name", None)
    dumped = zip(data.get("features", ()), config.features, strict=True)
    data["features"] = [{"kind": feature.kind, **entry} for entry, feature in dumped]
    if not data["features"]:
        del data["features"]
    return data


def _fill(
    table: tomlkit.TOMLDocument | TomlTable,
    data: Mapping[str, Any],
    path: str,
    notes: Mapping[str, str],
) -> None:
    """Adds plain keys first, as TOML requires, then sub-tables, each in their order."""
    for key, value in sorted(data.items(), key=lambda pair: _rank(pair[1])):
        if value is None:
            continue
        at = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            entries = cast("Mapping[str, Any]", value)
            inner = tomlkit.table(is_super_table=_only_tables(entries) and at not in notes)
            child = _headed(notes.get(at, ""), inner)
            _fill(child, entries, at, notes)
            table.add(key, child)
        elif _is_tables(value):
            table.add(key, _tables(value, at, notes))
        else:
            for line in notes.get(at, "").splitlines():
                table.add(tomlkit.comment(line))
            table.add(key, value)


def _rank(value: Any) -> int:
    return 1 if isinstance(value, Mapping) or _is_tables(value) else 0


def _only_tables(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(isinstance(v, Mapping) for v in value.values())


def _is_tables(value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    entries = cast("Sequence[Any]", value)
    return len(entries) > 0 and isinstance(entries[0], Mapping)


def _tables(entries: Any, at: str, notes: Mapping[str, str]) -> AoT:
    array = tomlkit.aot()
    for entry in entries:
        note = notes.get(f"{at}[{entry.get('name', '')}]", "")
        child = _headed(note, tomlkit.table())
        _fill(child, entry, at, {})
        array.append(child)  # pyright: ignore[reportUnknownMemberType]
    return array


def _headed(note: str, child: TomlTable) -> TomlTable:
    """Adds the comment as first lines of the table; above its header it would belong to the table
    before."""
    for line in note.splitlines():
        child.add(tomlkit.comment(line))
    return child
