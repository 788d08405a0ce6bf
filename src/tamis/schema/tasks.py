"""How tasks stand to one another: conditions, chains of them, and names of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.schema.config import TaskConfig
from tamis.schema.errors import ConfigError


def condition_of(task: TaskConfig, tasks: Sequence[TaskConfig]) -> TaskConfig | None:
    """The task that is `task`'s condition: of that name, or the one whose product has it.

    None where it has none, or where its condition is a behaviour that no task predicts.
    """
    if task.given is None:
        return None
    for name in ("name", "base"):
        for other in tasks:
            if other is not task and getattr(other, name) == task.given:
                return other
    return None


def chain(task: TaskConfig, tasks: Sequence[TaskConfig]) -> tuple[TaskConfig, ...] | None:
    """`task` and its conditions, the outermost first: click, cart|click, purchase|cart.

    None where a condition on the way is predicted by no task: there is no product then. Raises
    ConfigError where conditions run in a circle.
    """
    links = [task]
    while links[0].given is not None:
        before = condition_of(links[0], tasks)
        if before is None:
            return None
        if before in links:
            names = " → ".join(link.name for link in (*links, before))
            raise ConfigError(f"the tasks' conditions run in a circle: {names}; remove one `given`")
        links.insert(0, before)
    return tuple(links)


def prediction_names(tasks: Sequence[TaskConfig]) -> list[str]:
    """What a ranker of these tasks gives for a candidate, in order: the tasks, then what is made of
    them.

    `like` beside `like|click`: the product of the rate with its conditions, a probability over all
    rows. `watch_seconds` beside a watch-time task, `done_share` beside a completion task,
    `rating_4` beside a multiclass task with the class 4.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        names += [name for name in extra_names(task, tasks) if name not in names]
    return names


def extra_names(task: TaskConfig, tasks: Sequence[TaskConfig]) -> list[str]:
    """The names beside the task's own; see `prediction_names`."""
    if task.kind == "watch_time":
        return [f"{task.base}_seconds"]
    if task.kind == "completion":
        return [f"{task.base}_share"]
    if task.kind == "multiclass":
        return [f"{task.base}_{label}" for label in class_names(task)]
    return [task.base] if product(task, tasks) else []


def product(task: TaskConfig, tasks: Sequence[TaskConfig]) -> tuple[TaskConfig, ...] | None:
    """The binary tasks whose probabilities multiply to that of `task` over all rows, or None."""
    if task.kind != "binary" or task.given is None or task.base == task.name:
        return None
    if any(other.name == task.base for other in tasks):
        return None
    links = chain(task, tasks)
    return links if links and all(link.kind == "binary" for link in links) else None


def class_names(task: TaskConfig) -> list[str]:
    """The classes in words: their values, or 0 (none) … K of the behaviours."""
    if task.value == "behaviour":
        return [str(k) for k in range(len(task.behaviour) + 1)]
    return [f"{value:g}".replace("-", "minus_").replace(".", "_") for value in task.classes]


def class_values(task: TaskConfig) -> tuple[float, ...]:
    """The number that each class stands for."""
    if task.value == "behaviour":
        return tuple(float(k) for k in range(len(task.behaviour) + 1))
    return task.classes
