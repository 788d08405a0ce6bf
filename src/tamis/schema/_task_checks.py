"""Checks of tasks, declared in `tamis.toml` or given in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise

from tamis.schema.config import ProjectConfig, TaskConfig
from tamis.schema.errors import ConfigError
from tamis.schema.tasks import chain, condition_of

Fault = tuple[str, str]
"""(key of the task's table, a sentence with the value and how to fix it)."""

_ONLY: dict[str, tuple[str, ...]] = {
    "classes": ("multiclass",),
    "loss": ("regression", "watch_time"),
    "unit": ("watch_time", "completion"),
    "scale": ("watch_time",),
    "duration": ("completion",),
    "threshold": ("completion",),
    "negatives": ("binary",),
    "absent": ("multiclass", "regression", "watch_time", "completion"),
}
"""Keys that only some kinds of task have."""


def task_problems(
    task: TaskConfig, tasks: Sequence[TaskConfig], config: ProjectConfig | None = None
) -> Iterator[Fault]:
    """All faults of `task` among `tasks`.

    config: the project; None = only faults that the tasks themselves show.
    """
    for key, kinds in _ONLY.items():
        default = TaskConfig.model_fields[key].default
        if task.kind not in kinds and getattr(task, key) != default:
            yield (
                key,
                f"{key} does not apply to a {task.kind} task (only {', '.join(kinds)}): remove it.",
            )
    yield from _condition(task, tasks, config)
    yield from _label(task, config)


def check_tasks(tasks: Sequence[TaskConfig]) -> None:
    """Checks tasks given in Python. Raises ConfigError with all faults."""
    names = [task.name for task in tasks]
    for name in names:
        if not name or names.count(name) > 1:
            raise ConfigError(f"tasks {names}: each task needs a unique name")
    faults = [f"task {t.name!r}: {text}" for t in tasks for _, text in task_problems(t, tasks)]
    if faults:
        raise ConfigError("\n".join(faults))


def _condition(
    task: TaskConfig, tasks: Sequence[TaskConfig], config: ProjectConfig | None
) -> Iterator[Fault]:
    named = task.name.partition("|")[2]
    if named and task.given != named:
        yield (
            "given",
            f'given = "{task.given}" differs from that in the name, "{named}": remove `given`.',
        )
        return
    if task.esmm and (task.kind != "binary" or task.given is None):
        yield "esmm", 'esmm = true needs a binary task with a condition, like [tasks."like|click"].'
        return
    if task.given is None:
        return
    behaviours = () if config is None else tuple(config.behaviours)
    other = condition_of(task, tasks)
    if other is None and config is not None and task.given not in behaviours:
        known = sorted({t.base for t in tasks if t is not task} | set(behaviours))
        close = get_close_matches(task.given, known, 1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        yield (
            "given",
            f'its condition "{task.given}" is neither a task nor a behaviour.{hint} There are '
            f"{', '.join(known)}.",
        )
        return
    if other is not None and other.kind != "binary":
        yield "given", f'its condition "{other.name}" is a {other.kind} task; it must be binary.'
        return
    try:
        links = chain(task, tasks)
    except ConfigError as error:
        yield "given", f"{error}."
        return
    if task.esmm and links is None:
        yield "esmm", f"esmm = true needs its condition as a task: add [tasks.{task.given}]."


def _label(task: TaskConfig, config: ProjectConfig | None) -> Iterator[Fault]:
    if task.kind == "multiclass":
        yield from _classes(task)
    elif task.value == "behaviour":
        yield "value", f'value = "behaviour" is for multiclass tasks, this one is {task.kind}.'
    if task.value == "count" and task.kind != "regression":
        yield "value", f'value = "count" is for regression tasks, this one is {task.kind}.'
    if task.kind == "completion" and task.duration is None and config is not None:
        yield (
            "duration",
            'a completion task needs the column of the items\' duration: duration = "duration".',
        )
    reads = task.kind != "binary" and task.value == "value"
    if reads and config is not None and config.events.value is None:
        yield (
            "value",
            f"a {task.kind} task reads the events' value, but no column holds it: set "
            "`events.value`.",
        )


def _classes(task: TaskConfig) -> Iterator[Fault]:
    if task.value == "count":
        yield "value", 'a multiclass task reads "value" or "behaviour", not "count".'
    elif task.value == "behaviour" and task.classes:
        yield "classes", 'value = "behaviour" makes the behaviours the classes: remove `classes`.'
    elif task.value == "value" and len(task.classes) < 2:
        yield (
            "classes",
            f"classes = {list(task.classes)}: give at least two values, like [1, 2, 3, 4, 5], or "
            'value = "behaviour".',
        )
    elif any(a >= b for a, b in pairwise(task.classes)):
        yield "classes", f"classes = {list(task.classes)}: must be strictly ascending."
