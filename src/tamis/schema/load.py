"""Reads `tamis.toml`; all faults are reported together, with line, key, value and how to fix it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from tamis.schema._checks import ConfigFault, cross_checks
from tamis.schema._toml_lines import KeyLines
from tamis.schema.config import (
    AnswersConfig,
    Behaviour,
    BudgetsConfig,
    CascadeConfig,
    EventsConfig,
    GateConfig,
    JournalConfig,
    MergeConfig,
    OnlineConfig,
    ProjectConfig,
    SplitConfig,
    TableConfig,
    TaskConfig,
    UpdateConfig,
)
from tamis.schema.errors import ConfigError
from tamis.schema.experiments import ArmConfig, ExperimentConfig, LayerConfig, MetricConfig
from tamis.schema.features import DenseFeat, Feature, SparseFeat, VarLenSparseFeat
from tamis.schema.serve import ServeConfig
from tamis.schema.suggestions import suggest
from tamis.schema.text import TextConfig

FILE_NAME = "tamis.toml"

_FEATURE_KINDS: dict[str, type[BaseModel]] = {
    "sparse": SparseFeat,
    "dense": DenseFeat,
    "varlen": VarLenSparseFeat,
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "": ProjectConfig,
    "events": EventsConfig,
    "items": TableConfig,
    "items.text": TextConfig,
    "users": TableConfig,
    "behaviours.NAME": Behaviour,
    "journal": JournalConfig,
    "split": SplitConfig,
    "tasks.NAME": TaskConfig,
    "cascade": CascadeConfig,
    "cascade.merge": MergeConfig,
    "cascade.budgets": BudgetsConfig,
    "update": UpdateConfig,
    "gate": GateConfig,
    "answers": AnswersConfig,
    "online": OnlineConfig,
    "serve": ServeConfig,
    "metrics.NAME": MetricConfig,
    "layers.NAME": LayerConfig,
    "experiments.NAME": ExperimentConfig,
    "experiments.NAME.arms.NAME": ArmConfig,
}
_NAMED = ("behaviours", "tasks", "metrics", "layers", "experiments")
"""Sections whose tables have names of their own."""


def load_config(path: Path | str) -> ProjectConfig:
    """Reads the declaration of a project.

    `path` is the file or the folder that holds `tamis.toml`. Options of a stage (all keys of a
    `[cascade.channels.*]` table except `use`, `quota`, `weight` and `fallback`) are checked later,
    by the config class of the stage.

    Raises:
        ConfigError: the file is missing, is not TOML or has faults; all faults are listed together,
            each with line, key, value and what is allowed.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_not_toml(path, text, error)) from error
    return parse_config(data, path=path, lines=KeyLines(text))


def parse_config(
    data: Mapping[str, Any], path: Path | str = FILE_NAME, lines: KeyLines | None = None
) -> ProjectConfig:
    """The config of a parsed document; `path` and `lines` are used in messages only.

    Raises:
        ConfigError: as `load_config`.
    """
    config: ProjectConfig | None = None
    try:
        config = ProjectConfig.model_validate(dict(data))
        problems = cross_checks(config)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_problem(detail, data) for detail in details]
    if config is None or problems:
        raise ConfigError(_report(Path(path), problems, lines))
    return config


def parse_features(data: Mapping[str, Any], path: Path | str) -> tuple[Feature, ...]:
    """The [[features]] of a parsed document. Raises ConfigError with all faults."""
    listed = {"features": data.get("features", ())}
    if not listed["features"]:
        raise ConfigError(
            f"{path}: it has no [[features]]; declare at least one, with kind and name"
        )
    try:
        return _Features.model_validate(listed).features
    except ValidationError as error:
        problems = [_problem(detail, listed) for detail in error.errors(include_url=False)]
        raise ConfigError(_report(Path(path), problems, None)) from error


class _Features(BaseModel):
    features: tuple[Annotated[Feature, Field(discriminator="kind")], ...]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        folder = path.parent
        raise ConfigError(
            f"{path}: there is no such file. `tamis init {folder}` looks at the tables in the "
            "folder and writes one."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 text (byte {error.start}). Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error


def _not_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    message = str(error)
    shown = ""
    if "at line " in message:
        number = int(message.split("at line ")[1].split(",")[0])
        shown = f"\n  line {number}: {text.splitlines()[number - 1].strip()[:120]}"
    return (
        f"{path}: not valid TOML: {message}.{shown}\n"
        '  Text needs quotes (path = "events.csv"), a key may occur once in its table, '
        "and every bracket must be closed."
    )


def _report(path: Path, problems: Sequence[ConfigFault], lines: KeyLines | None) -> str:
    """The message: one line per problem, in the order of the file."""
    placed = [(lines.find(p.key) if lines else None, p) for p in problems]
    placed.sort(key=lambda pair: pair[0] or 0)
    count = "1 problem" if len(placed) == 1 else f"{len(placed)} problems"
    rows = [f"  {f'line {line}: ' if line else ''}{problem.text}" for line, problem in placed]
    return "\n".join([f"{path}: {count}", *rows])


def _problem(detail: ErrorDetails, data: Mapping[str, Any]) -> ConfigFault:
    key = _key(detail["loc"])
    shown, kind, value = _shown(key, data), detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return ConfigFault(key, _unknown_key(key, shown, data))
    if kind == "missing":
        return ConfigFault(key, f"`{shown}` is missing: {_what_is_needed(key)}")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = _at(value, ("kind",)) if isinstance(value, Mapping) else value
        advice = suggest(given, _FEATURE_KINDS) if isinstance(given, str) else ""
        kinds = ", ".join(f'"{k}"' for k in _FEATURE_KINDS)
        return ConfigFault(
            key, f"`{shown}.kind` = {_quote(given)}: must be one of {kinds}.{advice}"
        )
    return ConfigFault(key, f"`{shown}` = {_quote(value)}: {_allowed(detail)}")


def _key(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The path in the file, without the tag that pydantic adds after the number of a feature."""
    if loc[0] == "features" and len(loc) > 2 and loc[2] in _FEATURE_KINDS:
        return (*loc[:2], *loc[3:])
    return loc


def _shown(key: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """The key as `cascade.channels.itemcf.quota`; a feature by its name if it has one."""
    parts: list[str] = []
    for depth, part in enumerate(key):
        if isinstance(part, int):
            entry = _at(data, key[: depth + 1])
            name = _at(entry, ("name",))
            parts[-1] += f"[{name or part}]"
        else:
            parts.append(part)
    return ".".join(parts)


def _at(data: Any, key: Sequence[int | str]) -> Any:
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


_RENAMED: dict[tuple[str, ...], str] = {
    ("events", "unknown"): 'set `unknown = "keep"` (the default) or "drop" in [items] and [users].',
}
"""Keys of earlier releases, and what to write instead."""


def _unknown_key(key: tuple[int | str, ...], shown: str, data: Mapping[str, Any]) -> str:
    if instead := _RENAMED.get(tuple(map(str, key))):
        return f"`{shown}` is no longer a key: {instead}"
    name, model = str(key[-1]), _model(key[:-1], data)
    allowed = list(model.model_fields)
    sections = [s for s, other in _SECTIONS.items() if s and name in other.model_fields]
    section = f" It belongs in [{sections[0]}]." if sections else ""
    advice = suggest(name, allowed, cutoff=0.8) or section or suggest(name, allowed)
    return f"`{shown}` is not a key.{advice} Allowed here: {', '.join(allowed)}."


def _model(key: Sequence[int | str], data: Mapping[str, Any]) -> type[BaseModel]:
    """The config class of the table at `key`."""
    if key and key[0] == "features":
        return _FEATURE_KINDS.get(str(_at(data, (*key[:2], "kind"))), SparseFeat)
    names = [str(part) for part in key]
    if len(names) > 1 and names[0] in _NAMED:
        names[1::2] = ["NAME"] * len(names[1::2])
    return _SECTIONS.get(".".join(names), ProjectConfig)


_NEEDED: dict[tuple[str, ...], str] = {
    ("events",): 'the event log. Add [events] with path = "events.csv".',
    (
        "behaviours",
    ): "the kinds of events. Add for example [behaviours.click] with positive = true.",
    ("cascade",): "the stages. Add [cascade] with channels and rank.",
    ("cascade", "channels"): "recall. Add for example [cascade.channels.itemcf].",
    ("cascade", "rank"): 'the ranker. Add [cascade.rank] with use = "deepfm".',
    ("name",): 'the project\'s name. Add name = "my-shop" as the first line.',
}


def _what_is_needed(key: tuple[int | str, ...]) -> str:
    if known := _NEEDED.get(tuple(map(str, key))):
        return known
    if key[-1] == "path":
        return 'the file of the table, such as path = "items.csv".'
    if key[-1] == "id":
        return "the column that holds the table's unique ids."
    return "it has no default and must be given."


def _allowed(detail: ErrorDetails) -> str:
    """What pydantic expected, in terms of the file."""
    kind, context = detail["type"], detail.get("ctx", {})
    limits = {
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "literal_error": "must be one of {expected}",
    }
    if kind in limits:
        text = limits[kind].format(**context)
        options = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{text}.{suggest(str(detail['input']), options)}"
    kinds = {
        "string_type": 'must be text in quotes, like "item_id"',
        "int_parsing": "must be a whole number",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "bool_parsing": "must be true or false",
        "bool_type": "must be true or false",
        "tuple_type": 'must be a list in brackets, like ["click", "like"]',
        "dict_type": "must be a table",
        "model_type": "must be a table of keys",
        "model_attributes_type": "must be a table of keys",
    }
    return f"{kinds.get(kind, detail['msg'])}."


def _quote(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
