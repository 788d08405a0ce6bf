"""Relations between tasks: conditions, chains of conditions, and names of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.schema.config import TaskConfig
from tamis.schema.errors import ConfigError


def condition_of(task: TaskConfig, tasks: Sequence[TaskConfig]) -> TaskConfig | None:
    """The task that predicts the condition of `task`: by its name, or by the name of its product.

    None if `task` has no condition, or if no task predicts the behaviour that is its condition.
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

    None if no task predicts one of the conditions; there is no product then.

    Raises:
        ConfigError: the conditions form a cycle.
    """
    links = [task]
    while links[0].given is not None:
        before = condition_of(links[0], tasks)
        if before is None:
            return None
        if before in links:
            names = " → ".join(link.name for link in (*links, before))
            raise ConfigError(f"the conditions of tasks form a cycle: {names}; remove one `given`")
        links.insert(0, before)
    return tuple(links)


def prediction_names(tasks: Sequence[TaskConfig]) -> list[str]:
    """Names of the predictions of a ranker with these tasks: the tasks, then derived predictions.

    Derived are `like` of the task `like|click` (the product with its conditions, a probability over
    all rows), `watch_seconds` of the watch-time task `watch`, `done_share` of the completion task
    `done`, and `rating_4` of the multiclass task `rating` with a class 4.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        names += [name for name in extra_names(task, tasks) if name not in names]
    return names


def extra_names(task: TaskConfig, tasks: Sequence[TaskConfig]) -> list[str]:
    """Names of the predictions derived from `task`; see `prediction_names`."""
    if task.kind == "watch_time":
        return [f"{task.base}_seconds"]
    if task.kind == "completion":
        return [f"{task.base}_share"]
    if task.kind == "multiclass":
        return [f"{task.base}_{label}" for label in class_names(task)]
    return [task.base] if product(task, tasks) else []


def product(task: TaskConfig, tasks: Sequence[TaskConfig]) -> tuple[TaskConfig, ...] | None:
    """The binary tasks whose product of probabilities is that of `task` over all rows, or None."""
    if task.kind != "binary" or task.given is None or task.base == task.name:
        return None
    if any(other.name == task.base for other in tasks):
        return None
    links = chain(task, tasks)
    return links if links and all(link.kind == "binary" for link in links) else None


def class_names(task: TaskConfig) -> list[str]:
    """Names of the classes: their values, or 0 (none) to K of the behaviours."""
    if task.value == "behaviour":
        return [str(k) for k in range(len(task.behaviour) + 1)]
    return [f"{value:g}".replace("-", "minus_").replace(".", "_") for value in task.classes]


def class_values(task: TaskConfig) -> tuple[float, ...]:
    """The value of each class."""
    if task.value == "behaviour":
        return tuple(float(k) for k in range(len(task.behaviour) + 1))
    return task.classes
