"""Reads the configuration that a version stores, written by an earlier or a later release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tamis.schema.component import NO_EFFECT
from tamis.schema.config import ProjectConfig
from tamis.schema.stored_files import read_json_value, reading

_FEATURE_TAGS = ("sparse", "dense", "varlen")


def read_stored_config(path: Path) -> tuple[ProjectConfig, list[str]]:
    """The configuration in `path`, and the dotted names of the keys that are left out.

    Those are keys that this release does not know, or that have no effect in it. Missing keys take
    their default. Options of stages are not checked here: their config classes are known to the
    registry.

    Raises VersionError if the file is missing or damaged, lacks a key that has no default, or holds
    a value that this release does not accept.
    """
    saved = read_json_value(path, dict)
    unknown: list[str] = []
    with reading(path):
        while True:
            try:
                return ProjectConfig.model_validate(saved), unknown
            except ValidationError as error:
                faults = error.errors()
                extra = [e["loc"] for e in faults if e["type"] == "extra_forbidden"]
                idle = [e for e in faults if e["type"] == NO_EFFECT]
                extra += [(*e["loc"], o) for e in idle for o in e.get("ctx", {})["options"]]
                if not extra:
                    raise
                unknown += [_remove(saved, loc) for loc in extra]


def _remove(saved: Any, loc: tuple[int | str, ...]) -> str:
    """Deletes the key at a place that pydantic reported; returns its dotted name."""
    if loc[0] == "features" and len(loc) > 3 and loc[2] in _FEATURE_TAGS:
        loc = (*loc[:2], *loc[3:])  # pydantic adds the kind of the feature after its number
    keys = list(loc)
    last = keys.pop()
    for part in keys:
        saved = saved[part]
    del saved[last]
    return ".".join(map(str, loc))
