"""Finds stage classes by the names in `tamis.toml`, and builds them from their options."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tamis.schema import CascadeConfig, ConfigError, MissingExtraError, StageConfig

ROOMS = ("recall", "filters", "prerank", "rank", "rerank")
"""Rooms that hold stages, one class a file."""

_NAMED = {
    "recall": "cascade.channels.{}",
    "filters": "cascade.filters.{}",
    "prerank": "cascade.prerank",
    "rank": "cascade.rank",
    "rerank": "cascade.rerank.{}",
}


def available(room: str) -> dict[str, type[Any]]:
    """The stage classes of a room by short name (their file's), in alphabetical order.

    Those whose optional package is not installed are left out.
    """
    package = importlib.import_module(f"tamis.{_checked(room)}")
    found: dict[str, type[Any]] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        try:
            stages = _stages_in(f"tamis.{room}.{module.name}")
        except ModuleNotFoundError as error:
            if _is_ours(error):
                raise
            continue
        if len(stages) > 1:
            raise ConfigError(
                f"tamis/{room}/{module.name}.py holds several stages "
                f"({', '.join(s.__name__ for s in stages)}): one class a file"
            )
        if stages:
            found[module.name] = stages[0]
    return found


def find(room: str, use: str, where: str = "") -> Any:
    """What `use` names: the stage class of that short name, or `package.module:Name`.

    where: place in `tamis.toml`, for messages. Raises ConfigError where there is no such class.
    """
    place = where or _section(room, use)
    if ":" in use:
        return _by_path(use, place)
    if use.isidentifier() and use in _files(room):
        try:
            stages = _stages_in(f"tamis.{room}.{use}")
        except ModuleNotFoundError as error:
            if _is_ours(error):
                raise
            raise MissingExtraError(
                f"tamis.toml: [{place}] use = {use!r} needs the package {error.name!r}, which is "
                f"not installed: pip install {error.name}"
            ) from error
        if len(stages) == 1:
            return stages[0]
    names = list(available(room))
    close = get_close_matches(use, names, 1)
    raise ConfigError(
        f"tamis.toml: [{place}] use = {use!r}: there is no such stage"
        + (f"; did you mean {close[0]!r}?" if close else ".")
        + f" In tamis.{room}: {', '.join(names)}."
        + " A stage of your own is named by 'package.module:Class'."
    )


def look_in(folder: Path | str) -> None:
    """Lets `package.module:Class` name files of `folder` (a project's), before all others."""
    place = str(Path(folder).resolve())
    if place not in sys.path:
        sys.path.insert(0, place)


def build(room: str, name: str, config: StageConfig | None = None) -> Any:
    """An unfitted stage as declared in `tamis.toml` under `name`, its options checked.

    Raises ConfigError naming section, key, value and the known keys.
    """
    stage, settings = resolve(room, name, config)
    return _named(room, name, stage(settings))


def load(room: str, name: str, config: StageConfig | None, directory: Path) -> Any:
    """A fitted stage from what its `save` wrote, with the options of `tamis.toml`."""
    stage, settings = resolve(room, name, config)
    return _named(room, name, stage.load(directory, settings))


def resolve(room: str, name: str, config: StageConfig | None = None) -> tuple[type[Any], BaseModel]:
    """A declared stage's class and its typed config: `cls(config)` or `cls.load(path, config)`."""
    config = config or StageConfig()
    where = _section(room, name)
    use = config.use or name
    stage: Any = find(room, use, where)
    if not (inspect.isclass(stage) and _has_config(stage)):
        raise ConfigError(
            f"tamis.toml: [{where}] use = {use!r}: not a stage: it must be a class with `Config`, "
            f"a pydantic model of its options"
        )
    options: type[BaseModel] = getattr(stage, "Config")  # noqa: B009
    try:
        return stage, options(**config.options)
    except ValidationError as error:
        known = {*options.model_fields, *type(config).model_fields}
        lines = [_problem(sorted(known), where, e) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def check(cascade: CascadeConfig) -> None:
    """Finds every declared stage and reads its options, so that a slip is told before the work.

    Raises ConfigError with every fault.
    """
    declared: list[tuple[str, str, StageConfig]] = [
        *(("recall", name, stage) for name, stage in cascade.channels.items()),
        *(("filters", name, stage) for name, stage in cascade.filters.items()),
        *([("prerank", "prerank", cascade.prerank)] if cascade.prerank else []),
        ("rank", "rank", cascade.rank),
        *(("rerank", name, stage) for name, stage in cascade.rerank.items()),
    ]
    faults: list[str] = []
    for room, name, stage in declared:
        try:
            resolve(room, name, stage)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))


def _named(room: str, name: str, stage: Any) -> Any:
    if room == "recall":
        stage.name = name  # two channels may share a class: itemcf, itemcf_long
    return stage


def _problem(known: list[str], where: str, error: Any) -> str:
    key = ".".join(map(str, error["loc"])) or "(all options)"
    start = f"tamis.toml: [{where}] {key} = {error['input']!r}: "
    if error["type"] != "extra_forbidden":
        return start + error["msg"]
    close = get_close_matches(key, known, 1)
    return (
        start
        + "unknown key"
        + (f"; did you mean {close[0]!r}?" if close else ".")
        + f" Known keys: {', '.join(known)}."
    )


def _section(room: str, name: str) -> str:
    return _NAMED[_checked(room)].format(name)


def _checked(room: str) -> str:
    if room not in ROOMS:
        raise ConfigError(f"there is no room {room!r} of stages; rooms are {', '.join(ROOMS)}")
    return room


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").split(".")[0] == "tamis"


def _files(room: str) -> set[str]:
    package = importlib.import_module(f"tamis.{_checked(room)}")
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def _stages_in(module_name: str) -> list[type[Any]]:
    """Public, concrete classes with a `Config` that a module defines itself."""
    module = importlib.import_module(module_name)
    return [
        thing
        for name, thing in vars(module).items()
        if inspect.isclass(thing)
        and thing.__module__ == module_name
        and not name.startswith("_")
        and not inspect.isabstract(thing)
        and _has_config(thing)
    ]


def _has_config(stage: Any) -> bool:
    config = getattr(stage, "Config", None)
    return inspect.isclass(config) and issubclass(config, BaseModel)


def _by_path(use: str, where: str) -> Any:
    module_name, _, class_name = use.partition(":")
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
        close = get_close_matches(class_name, names, 1)
        raise ConfigError(
            f"tamis.toml: [{where}] use = {use!r}: {module_name} has no class {class_name!r}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    return stage
