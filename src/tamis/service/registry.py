"""Finds stages by their short names in `tamis.toml`, and builds them with their options checked."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from tamis.cascade import Wraps
from tamis.schema import (
    CascadeConfig,
    Component,
    ConfigError,
    MissingExtraError,
    StageConfig,
    known_options,
    option_problems,
    suggest,
)
from tamis.service import stage_options

KINDS = ("recall", "filters", "prerank", "rank", "rerank")
"""Packages that hold stages. A stage's short name is the name of its module."""

_SECTION = {
    "recall": "cascade.channels.{}",
    "filters": "cascade.filters.{}",
    "prerank": "cascade.prerank",
    "rank": "cascade.rank",
    "rerank": "cascade.rerank.{}",
}
_PACKAGE = Path(__file__).parent.parent
_ONE_OF = (("mmr", "dpp"), ("sample",), ("fatigue",), ("explore",))
"""Re-rank rules of which only the last would have an effect."""


@cache
def modules(kind: str) -> dict[str, str]:
    """Short name -> module of every stage of a kind, by its files; nothing is imported.

    Families are sub-packages; files and folders that start with an underscore hold no stage.
    Raises ConfigError for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"no stages of kind {kind!r}; kinds are {', '.join(KINDS)}")
    found: dict[str, str] = {}
    for path in sorted((_PACKAGE / kind).rglob("*.py")):
        parts = path.relative_to(_PACKAGE).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            found[path.stem] = ".".join(("tamis", *parts))
    return dict(sorted(found.items()))


def available(kind: str) -> dict[str, type[Component]]:
    """The stage classes of a kind by short name, in alphabetical order.

    Stages whose optional package is not installed are left out.
    """
    found: dict[str, type[Component]] = {}
    for name, module in modules(kind).items():
        try:
            found[name] = _stage_of(module, name)
        except ModuleNotFoundError as error:
            if _is_ours(error):
                raise
    return found


def find(kind: str, use: str, where: str = "") -> type[Component]:
    """The stage class that `use` names: a short name, `file.py:Class` or `package.module:Class`.

    Args:
        where: place in `tamis.toml`, for messages.

    Raises ConfigError where there is no such class, MissingExtraError where it needs a package
    that is not installed.
    """
    known = modules(kind)
    place = where or _section(kind, use)
    if ":" in use:
        return _by_path(use, place)
    if use not in known:
        raise ConfigError(
            f"tamis.toml: [{place}] use = {use!r}: no such stage.{suggest(use, known)} "
            f"In tamis.{kind}: {', '.join(known)}. "
            "A stage of your own is named 'file.py:Class' or 'package.module:Class'."
        )
    try:
        return _stage_of(known[use], use)
    except ModuleNotFoundError as error:
        if _is_ours(error):
            raise
        raise MissingExtraError(
            f"tamis.toml: [{place}] use = {use!r} needs the package {error.name!r}, which is "
            f"not installed: pip install {error.name}"
        ) from error


def look_in(folder: Path | str) -> None:
    """Lets `file.py:Class` and `package.module:Class` name files of `folder` (a project's)."""
    place = str(Path(folder).resolve())
    if place not in sys.path:
        sys.path.insert(0, place)


def build(kind: str, name: str, config: StageConfig | None = None) -> Any:
    """An unfitted stage as declared in `tamis.toml` under `name`.

    Raises ConfigError naming section, option, value and the known options.
    """
    config = config or StageConfig()
    stage, options = resolve(kind, name, config)
    built = _named(kind, name, stage(options))
    if isinstance(built, Wraps):
        built.wrap(build(kind, *built.wrapped()))
    return built


def load(kind: str, name: str, config: StageConfig | None, directory: Path) -> Any:
    """A fitted stage from what its `save` wrote, with the options that the version declares.

    Options that the stage does not have, which another release wrote, are ignored with a warning.
    """
    config = config or StageConfig()
    where = _section(kind, name)
    stage = find(kind, config.use or name, where)
    known = known_options(stage.Config, config.options)
    options = _checked(stage.Config, known, config, where)
    loaded = _named(kind, name, cast("Any", stage).load(directory, options))
    if isinstance(loaded, Wraps):
        loaded.wrap(load(kind, *loaded.wrapped(), directory / "inner"))
    return loaded


def resolve(
    kind: str, name: str, config: StageConfig | None = None
) -> tuple[type[Component], BaseModel]:
    """A declared stage's class and its typed config: `cls(config)` or `cls.load(path, config)`."""
    config = config or StageConfig()
    where = _section(kind, name)
    stage = find(kind, config.use or name, where)
    options = _checked(stage.Config, config.options, config, where)
    if issubclass(stage, Wraps):
        resolve(kind, *stage(options).wrapped())
    return stage, options


def known_stage_options(cascade: CascadeConfig) -> tuple[CascadeConfig, list[str]]:
    """A stored cascade without options that its stages do not have, and the names of those.

    For versions that another release wrote; `tamis.toml` is checked by `check`, which refuses
    unknown options. A stage that cannot be found keeps its options; `load` reports it.
    """
    dropped: list[str] = []
    sections: dict[str, Any] = {}
    for kind, name, stage in _declared(cascade):
        try:
            fields = find(kind, stage.use or name).Config.model_fields
        except (ConfigError, MissingExtraError):
            fields = stage.options
        unknown = sorted(set(stage.options) - set(fields))
        dropped += [f"{_section(kind, name)}.{option}" for option in unknown]
        known = {k: v for k, v in dict(stage).items() if k not in unknown}
        known = type(stage).model_validate(known) if unknown else stage
        if kind in ("prerank", "rank"):
            sections[kind] = known
        else:
            sections.setdefault("channels" if kind == "recall" else kind, {})[name] = known
    return cascade.model_copy(update=sections), dropped


def check(cascade: CascadeConfig) -> None:
    """Finds every declared stage and checks its options, so that mistakes are reported at once.

    Stages are imported only where the packaged option names and types (`stage_options`) do not
    suffice: stages of the user's own, and options that are checked together.

    Raises ConfigError with every fault.
    """
    faults: list[str] = []
    for kind, name, stage in _declared(cascade):
        try:
            _check_stage(kind, name, stage)
        except ConfigError as error:
            faults.append(str(error))
    faults += _used_together(cascade)
    if faults:
        raise ConfigError("\n".join(faults))


def _used_together(cascade: CascadeConfig) -> Iterator[str]:
    """A sentence for re-rank rules of which a plan can use one only."""
    for kinds in _ONE_OF:
        names = [name for name, s in cascade.rerank.items() if (s.use or name) in kinds]
        if len(names) > 1:
            sections = ", ".join(f"[cascade.rerank.{name}]" for name in names)
            yield (
                f"tamis.toml: {sections}: a slate is arranged with one rule of the kind "
                f"{' or '.join(kinds)}; remove the others"
            )


def _check_stage(kind: str, name: str, config: StageConfig) -> None:
    """Raises ConfigError where a declared stage does not exist or an option is wrong."""
    use = config.use or name
    options = stage_options.config_of(kind, use) if use in modules(kind) else None
    if options is not None:
        _checked(options, config.options, config, _section(kind, name))
    if options is None or (stage_options.needs_import(kind, use) and config.options):
        resolve(kind, name, config)


def _checked(
    kind: type[BaseModel], options: dict[str, Any], config: StageConfig, where: str
) -> BaseModel:
    """The options of a declared stage as an object of class `kind`; raises ConfigError."""
    try:
        return kind(**options)
    except ValidationError as error:
        known = {*kind.model_fields, *type(config).model_fields}
        problems = option_problems(error, known)
        raise ConfigError("\n".join(f"tamis.toml: [{where}] {p}" for p in problems)) from error


def _declared(cascade: CascadeConfig) -> Iterator[tuple[str, str, StageConfig]]:
    yield from (("recall", name, stage) for name, stage in cascade.channels.items())
    yield from (("filters", name, stage) for name, stage in cascade.filters.items())
    if cascade.prerank:
        yield "prerank", "prerank", cascade.prerank
    yield "rank", "rank", cascade.rank
    yield from (("rerank", name, stage) for name, stage in cascade.rerank.items())


def _named(kind: str, name: str, stage: Any) -> Any:
    if kind == "recall":
        stage.name = name  # two channels may share a class: itemcf, itemcf_long
    return stage


def _section(kind: str, name: str) -> str:
    return _SECTION[kind].format(name)


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").split(".")[0] == "tamis"


def _stage_of(module_name: str, name: str) -> type[Component]:
    """The one stage that a module of Tamis defines."""
    stages = _stages_in(module_name)
    if len(stages) != 1 or stages[0].name != name:
        listed = ", ".join(f"{s.__name__} (name = {s.name!r})" for s in stages) or "none"
        raise ConfigError(
            f"{module_name} must define exactly one stage, with name = {name!r}; found {listed}"
        )
    return stages[0]


def _stages_in(module_name: str) -> list[type[Component]]:
    """Public, concrete components that a module defines itself."""
    module = importlib.import_module(module_name)
    return [
        thing
        for name, thing in vars(module).items()
        if inspect.isclass(thing)
        and issubclass(thing, Component)
        and thing.__module__ == module_name
        and not name.startswith("_")
        and not inspect.isabstract(thing)
    ]


def _by_path(use: str, where: str) -> type[Component]:
    module_name, _, class_name = use.partition(":")
    module_name = module_name.removesuffix(".py").replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the user's module exists; something that it imports does not
        raise ConfigError(
            f"tamis.toml: [{where}] use = {use!r}: no module {module_name!r}; "
            f"put its file beside tamis.toml, or install its package"
        ) from error
    stage = getattr(module, class_name, None)
    if stage is None:
        names = [s.__name__ for s in _stages_in(module_name)]
        raise ConfigError(
            f"tamis.toml: [{where}] use = {use!r}: {module_name} has no class {class_name!r}."
            + suggest(class_name, names)
        )
    named = getattr(stage, "name", None) and getattr(stage, "Config", None)
    if not (inspect.isclass(stage) and issubclass(stage, Component) and named):
        raise ConfigError(
            f"tamis.toml: [{where}] use = {use!r}: not a stage: derive it from tamis.Component "
            "(BaseChannel, BaseFilter, … do) and declare `name` and `Config`"
        )
    return stage
