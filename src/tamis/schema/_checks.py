"""Checks of `tamis.toml` that concern more than one key, such as names that must exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tamis.schema._task_checks import task_problems
from tamis.schema.config import Behaviour, CascadeConfig, ProjectConfig
from tamis.schema.errors import ConfigError
from tamis.schema.experiments import check_experiment_name
from tamis.schema.features import DenseFeat, SparseFeat, VarLenSparseFeat
from tamis.schema.metric_terms import find_metric, metric_terms
from tamis.schema.suggestions import suggest


@dataclass(frozen=True)
class ConfigFault:
    """A fault: the path of its key in the file, and a sentence with the value and how to fix it."""

    key: tuple[int | str, ...]
    text: str


def cross_checks(config: ProjectConfig) -> list[ConfigFault]:
    """All faults that concern more than one key; an empty list if there are none."""
    checks = (
        _tables, _behaviours, _bounds, _reachable, _tasks, _histories, _split, _names, _shares,
        _buckets, _cascade, _context, _time_zone, _windows, _metrics, _experiments,
    )  # fmt: skip
    return [problem for check in checks for problem in check(config)]


_ITEM_ROLES = (
    "title", "category", "category_separator", "author", "published", "time_unit", "latitude",
    "longitude", "text",
)  # fmt: skip
"""Keys of [items] that [users], which has the same type, does not use."""


def _tables(config: ProjectConfig) -> Iterator[ConfigFault]:
    """Sections of tables that declare columns of a table without a file."""
    if config.users is not None and config.users.path is None:
        yield ConfigFault(
            ("users",),
            '`users.path` is missing: the file of the table, such as path = "users.csv". Without a '
            "table of users, remove the section: the users are then those of the events.",
        )
    given = set[str]() if config.users is None else config.users.model_fields_set
    for role in _ITEM_ROLES:
        if role in given:
            yield ConfigFault(
                ("users", role),
                f"`users.{role}` has no effect: only items have it. Remove the key; a column of "
                "the users is an input of models by [[features]].",
            )
    if config.events.untimed and config.events.arrival:
        yield ConfigFault(
            ("events", "arrival"),
            f'`events.arrival` = "{config.events.arrival}" is given, but the log is `untimed`: '
            "remove one of the two.",
        )
    if config.events.position and not any(b.impression for b in config.behaviours.values()):
        yield ConfigFault(
            ("events", "position"),
            f'`events.position` = "{config.events.position}" has no effect: it is the place of an '
            "impression, and no behaviour is one. Set `impression = true` on the behaviour of "
            "items that were shown, or remove the key.",
        )
    if config.events.untimed and config.events.time_of_day:
        yield ConfigFault(
            ("events", "time_of_day"),
            f'`events.time_of_day` = "{config.events.time_of_day}" is given, but the log is '
            "`untimed`: remove one of the two.",
        )
    if config.follows is not None:
        yield from _follows(config)
    if config.items.path is None and config.events.path is not None:
        for role in sorted(config.items.model_fields_set - {"path", "id"}):
            yield ConfigFault(
                ("items", role),
                f"`items.{role}` is given, but `items.path` names no table of items, and items of "
                'the events have no attributes. Add path = "items.csv", or remove the key.',
            )


def _follows(config: ProjectConfig) -> Iterator[ConfigFault]:
    """A table of follows that no channel reads, or whose authors no column of the items holds."""
    followed = [
        channel
        for name, channel in config.cascade.channels.items()
        if (channel.use or name) == "author" and channel.options.get("source") == "followed"
    ]
    if not followed:
        yield ConfigFault(
            ("follows",),
            "`follows` has no effect: no channel reads it. Add [cascade.channels.author] with "
            'source = "followed", or remove the section.',
        )
    elif not config.items.author and not all(c.options.get("column") for c in followed):
        yield ConfigFault(
            ("follows", "author"),
            "`follows` names authors, but the items have none: set `items.author` to their column.",
        )


def _behaviours(config: ProjectConfig) -> Iterator[ConfigFault]:
    if not config.behaviours:
        yield ConfigFault(("behaviours",), "`behaviours` is empty: add [behaviours.click].")
    elif not any(b.positive for b in config.behaviours.values()):
        names = ", ".join(config.behaviours)
        yield ConfigFault(
            ("behaviours",),
            f"no behaviour is positive ({names}): set `positive = true` on those that show "
            "interest; they train recall and are the targets of `tamis evaluate`.",
        )
    for name, behaviour in config.behaviours.items():
        if behaviour.positive and behaviour.impression:
            yield ConfigFault(
                ("behaviours", name),
                f"`behaviours.{name}` is both positive and an impression, but an impression "
                "does not show interest; remove one of the two.",
            )


def _bounds(config: ProjectConfig) -> Iterator[ConfigFault]:
    for name, b in config.behaviours.items():
        key = f"behaviours.{name}"
        if b.min_value is not None and b.max_value is not None and b.min_value > b.max_value:
            yield ConfigFault(
                ("behaviours", name, "min_value"),
                f"`{key}.min_value` = {b.min_value:g} is above its `max_value` = {b.max_value:g}: "
                "no event can match.",
            )
        if b.column is not None and b.label is not None:
            yield ConfigFault(
                ("behaviours", name, "label"),
                f"`{key}` has a column of its own and a label: remove one of the two.",
            )
        if _bounded(b) and config.events.value is None and b.column is None:
            yield ConfigFault(
                ("behaviours", name),
                f"`{key}` has bounds on the value, but no column holds it: set `events.value`, "
                'like value = "rating".',
            )


def _bounded(behaviour: Behaviour) -> bool:
    return behaviour.min_value is not None or behaviour.max_value is not None


def _reachable(config: ProjectConfig) -> Iterator[ConfigFault]:
    """An event has the first behaviour that fits, so one without bounds hides those after it."""
    catch_all: dict[str | None, str] = {}
    for name, behaviour in config.behaviours.items():
        if behaviour.column is not None:
            continue
        label = (behaviour.label or name) if config.events.behaviour else None
        if label in catch_all:
            first = catch_all[label]
            why = f'label "{label}"' if label else "no `events.behaviour` column"
            yield ConfigFault(
                ("behaviours", name),
                f"`behaviours.{name}` gets no event: `{first}` comes before it, has no bounds and "
                f"matches all ({why}). Put `{first}` last, or give it min_value or max_value.",
            )
        elif not _bounded(behaviour):
            catch_all[label] = name


def _tasks(config: ProjectConfig) -> Iterator[ConfigFault]:
    known = ", ".join(config.behaviours)
    for name, task in config.tasks.items():
        for behaviour in task.behaviour:
            if behaviour not in config.behaviours:
                yield ConfigFault(
                    ("tasks", name, "behaviour"),
                    f'`tasks.{name}.behaviour`: "{behaviour}" is not declared; the behaviours are '
                    f"{known}.",
                )
        for key, text in task_problems(task, list(config.tasks.values()), config):
            yield ConfigFault(("tasks", name, key), f"`tasks.{name}`: {text}")


def _histories(config: ProjectConfig) -> Iterator[ConfigFault]:
    known = ", ".join(config.behaviours)
    for number, feature in enumerate(config.features):
        for behaviour in feature.history if isinstance(feature, VarLenSparseFeat) else ():
            if behaviour not in config.behaviours:
                yield ConfigFault(
                    ("features", number, "history"),
                    f'`features[{feature.name}].history`: "{behaviour}" is not declared; the '
                    f"behaviours are {known}.",
                )


def _split(config: ProjectConfig) -> Iterator[ConfigFault]:
    split = config.split
    if split.valid_from >= split.test_from:
        yield ConfigFault(
            ("split", "valid_from"),
            f"`split.valid_from` = {split.valid_from:g} must be less than `split.test_from` = "
            f"{split.test_from:g}: settings are chosen on data before the test window.",
        )
        return
    first = split.test_from - split.windows * (split.test_from - split.valid_from)
    if first <= 1e-9:
        width = split.test_from - split.valid_from
        most = int((split.test_from - 1e-9) / width)
        yield ConfigFault(
            ("split", "windows"),
            f"`split.windows` = {split.windows} windows of {width:.3g} each reach before the first "
            f"event: at most {most} fit before test_from = {split.test_from:g}.",
        )


def _names(config: ProjectConfig) -> Iterator[ConfigFault]:
    counts = Counter(feature.name for feature in config.features)
    for number, feature in enumerate(config.features):
        if counts.pop(feature.name, 1) > 1:
            yield ConfigFault(
                ("features", number, "name"),
                f'the feature name "{feature.name}" is used more than once: names must differ; '
                "`column` may be the same.",
            )


def _shares(config: ProjectConfig) -> Iterator[ConfigFault]:
    owners = {f.name: f for f in config.features if isinstance(f, SparseFeat | VarLenSparseFeat)}
    for number, feature in enumerate(config.features):
        shares = feature.shares if not isinstance(feature, DenseFeat) else None
        if shares is None:
            continue
        place = f"`features[{feature.name}].shares`"
        if shares == feature.name or shares not in owners:
            yield ConfigFault(
                ("features", number, "shares"),
                f'{place} = "{shares}": must be another sparse or varlen feature; there are '
                f"{', '.join(n for n in owners if n != feature.name) or 'none'}.",
            )
        elif owners[shares].shares is not None:
            yield ConfigFault(
                ("features", number, "shares"),
                f'{place} = "{shares}", which itself shares `{owners[shares].shares}`: name that '
                "one instead.",
            )


def _buckets(config: ProjectConfig) -> Iterator[ConfigFault]:
    for number, feature in enumerate(config.features):
        if not isinstance(feature, DenseFeat):
            continue
        place, edges = f"`features[{feature.name}].boundaries`", feature.boundaries
        if feature.transform == "bucket" and not edges:
            text = f'{place} is missing: transform = "bucket" needs ascending boundaries.'
        elif feature.transform != "bucket" and edges:
            given = f'transform = "{feature.transform}"'
            text = f'{place} is given, but {given}: set transform = "bucket".'
        elif any(a >= b for a, b in pairwise(edges)):
            text = f"{place} = {list(edges)}: must be strictly ascending."
        else:
            continue
        yield ConfigFault(("features", number, "boundaries"), text)


def _cascade(config: ProjectConfig) -> Iterator[ConfigFault]:
    cascade = config.cascade
    if cascade.merge.method == "snake" and "normalise" in cascade.merge.model_fields_set:
        yield ConfigFault(
            ("cascade", "merge", "normalise"),
            f'`cascade.merge.normalise` = "{cascade.merge.normalise}" has no effect: a snake merge '
            'reads no scores. Set method = "score", or remove it.',
        )
    if cascade.prerank is None and "prerank_keep" in cascade.model_fields_set:
        yield ConfigFault(
            ("cascade", "prerank_keep"),
            f"`cascade.prerank_keep` = {cascade.prerank_keep} has no effect without a pre-ranker: "
            "add [cascade.prerank], or remove it.",
        )
    if not config.cascade.channels:
        yield ConfigFault(
            ("cascade", "channels"),
            "`cascade.channels` is empty: recall needs at least one, like "
            "[cascade.channels.itemcf].",
        )
    yield from _budgets(cascade)


def _budgets(cascade: CascadeConfig) -> Iterator[ConfigFault]:
    """Budgets of stages that the cascade does not have."""
    names = [f"recall:{name}" for name in cascade.channels]
    names += ["features", *(["prerank"] if cascade.prerank else []), "rank"]
    names += [f"rerank:{name}" for name in cascade.rerank]
    for stage in cascade.budgets.stages:
        if stage not in names:
            yield ConfigFault(
                ("cascade", "budgets", "stages", stage),
                f"`cascade.budgets.stages` names {stage!r}, which is no stage with a budget."
                f"{suggest(stage, names)} Stages: {', '.join(names)}.",
            )
    for kind, there in (("prerank", cascade.prerank), ("rerank", cascade.rerank)):
        if kind in cascade.budgets.model_fields_set and not there:
            yield ConfigFault(
                ("cascade", "budgets", kind),
                f"`cascade.budgets.{kind}` has no effect: there is no [cascade.{kind}]. Remove it.",
            )


REQUEST_FEATURES = ("hour", "weekday", "weekend", "holiday", "geohash")
"""Features of a request's time and place, whose names no declared column of context may have."""


def _context(config: ProjectConfig) -> Iterator[ConfigFault]:
    """Columns of context that are given twice, that have another role, or another's name."""
    events = config.events
    roles = ("user", "item", "time", "arrival", "behaviour", "value", "request", "position")
    roles += ("city", "latitude", "longitude", "sample_weight")
    taken = {getattr(events, role): f"`events.{role}`" for role in roles if getattr(events, role)}
    taken |= {b.column: f"`behaviours.{b.name}`" for b in config.behaviours.values() if b.column}
    for number, column in enumerate(events.context):
        place = f'`events.context[{number}]` = "{column}"'
        if column in events.context[:number]:
            text = f"{place} is given twice: remove one of the two."
        elif column in taken:
            text = f"{place} is the column of {taken[column]} already: remove it from `context`."
        elif column in REQUEST_FEATURES:
            text = (
                f"{place} has the name of a feature of the request's time or place; rename the "
                "column in the table, or leave it out and use that feature."
            )
        elif column == "city" and events.city:
            text = (
                f'{place}, but the city of the request is `events.city` = "{events.city}": remove '
                "one of the two."
            )
        else:
            continue
        yield ConfigFault(("events", "context", number), text)
    for one, other in (("latitude", "longitude"), ("longitude", "latitude")):
        if getattr(events, one) and not getattr(events, other):
            text = f"`events.{one}` is given without `events.{other}`: a place needs both."
            yield ConfigFault(("events", one), text)
    for number, feature in enumerate(config.features):
        wide = isinstance(feature, SparseFeat) and feature.precision is not None
        if wide and feature.source != "geohash":
            yield ConfigFault(
                ("features", number, "precision"),
                f"`features[{feature.name}].precision` is given, but only the context feature "
                '`geohash` has a precision: set column = "geohash", or remove the key.',
            )


def _time_zone(config: ProjectConfig) -> Iterator[ConfigFault]:
    """A time zone that the IANA database does not have."""
    if config.time_zone == "UTC":
        return
    try:
        ZoneInfo(config.time_zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        yield ConfigFault(
            ("time_zone",),
            f'`time_zone` = "{config.time_zone}" is not a zone of the IANA database, such as '
            f'"Asia/Shanghai".{suggest(config.time_zone, available_timezones())}',
        )


def _windows(config: ProjectConfig) -> Iterator[ConfigFault]:
    """Attributes by which events are counted, in no window."""
    if config.groups and not config.windows:
        given = '"auto"' if config.groups == "auto" else str(list(config.groups))
        yield ConfigFault(
            ("groups",),
            f"`groups` = {given} has no effect: `windows` = [] means no statistics. Name windows, "
            'such as windows = ["7d", "all"], or remove `groups`.',
        )


def _metrics(config: ProjectConfig) -> Iterator[ConfigFault]:
    """Expressions of metrics that cannot be read."""
    for name, metric in config.metrics.items():
        try:
            metric_terms(metric.value, list(config.behaviours.values()))
        except ConfigError as error:
            yield ConfigFault(("metrics", name, "value"), f"`metrics.{name}.value`: {error}")


def _experiments(config: ProjectConfig) -> Iterator[ConfigFault]:
    """Names that no experiment may have, and metrics that are not known, or have two roles."""
    for name, one in config.experiments.items():
        try:
            check_experiment_name(name)
        except ValueError as error:  # not a check of the type: a stored version may have the name
            yield ConfigFault(("experiments", name), f"`experiments.{name}`: {error}")
        roles = {"goal": (one.goal,), "secondary": one.secondary, "guardrails": one.guardrails}
        taken: dict[str, str] = {}
        for role, references in roles.items():
            key = f"experiments.{name}.{role}"
            for reference in references:
                if reference in taken:
                    yield ConfigFault(
                        ("experiments", name, role),
                        f"`{key}`: metric {reference!r} is in `{taken[reference]}` already: "
                        "remove one of the two.",
                    )
                taken[reference] = role
                if reference in config.metrics:  # its own fault is reported once, where it is
                    continue
                try:
                    find_metric(reference, config.metrics, list(config.behaviours.values()))
                except ConfigError as error:
                    yield ConfigFault(("experiments", name, role), f"`{key}`: {error}")
