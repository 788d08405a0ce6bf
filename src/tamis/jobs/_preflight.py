"""Checks a declaration against the data before anything is fitted.

A filter that names an undeclared behaviour or a rule on a missing column would otherwise fail after
the channels have been fitted, which may take hours. Every stage that reads columns or behaviours
and is cheap to fit is therefore tried on a sample: the stage itself says what is wrong. What the
expensive stages name is checked by `NAMES`, and by the same functions that training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tamis.cascade import (
    FitContext,
    check_task_values,
    tasks_of,
    value_of,
)
from tamis.data import Dataset, Table
from tamis.features import LocalCalendar, check_groups, default_features, table_coverage
from tamis.schema import ConfigError, ProjectConfig, StageConfig, TamisError, suggest
from tamis.service import registry
from tamis.splitting import test_cut

TRIED_CHANNELS = (
    "again", "author", "city", "content", "declared_interests", "demographic", "fresh", "geohash",
    "hot", "rules",
)  # fmt: skip
"""Channels that read columns of the tables or roles of them, and are cheap to fit."""
READ_EVENTS_ALONE = ("again", "hot")
"""Of these, channels that read columns only with the option `by`. Without it they are not tried:
importing them takes longer than all other checks."""
FITTED_CHANNELS = (
    "cached", "deep_retrieval", "ease", "fm", "gru4rec", "itemcf", "lookalike", "mf", "offline",
    "sasrec", "swing", "two_tower", "usercf",
)  # fmt: skip
"""Channels that read the events alone, or the declared features; what their options name is checked
by `NAMES`."""
NAMES = {"behaviours": "behaviour", "weights": "behaviour", "crosses": "feature", "lhuc": "feature"}
"""Option of a stage → what its texts name."""
SAMPLE_ROWS, SAMPLE_EVENTS = 2_000, 2_000
"""First rows of the tables and first of their events that a stage is tried on."""


def faults(config: ProjectConfig, data: Dataset) -> list[str]:
    """Every fault of the declaration in view of the data, one sentence or more each."""
    return [text for check in _checks(config, data) for text in check()]


def require(config: ProjectConfig, data: Dataset) -> None:
    """Raises ConfigError with every fault of the declaration in view of the data."""
    found = faults(config, data)
    if found:
        raise ConfigError("\n".join(found))


def _checks(config: ProjectConfig, data: Dataset) -> Iterator[Callable[[], list[str]]]:
    """The checks, each a function that lists its faults."""
    yield lambda: _undeclared(config, data)
    for check in (
        lambda: value_of(config, data.items),
        lambda: LocalCalendar.of(config, data),
        lambda: check_task_values(tasks_of(config), data),
        lambda: _durations(config, data),
        lambda: _vectors(config),
        lambda: _features(config, data),
    ):
        yield lambda check=check: _fault(check)
    for kind, name, stage in _tried(config):
        yield lambda kind=kind, name=name, stage=stage: _trial(config, data, kind, name, stage)


def _fault(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except TamisError as error:
        return [str(error)]
    return []


def _durations(config: ProjectConfig, data: Dataset) -> None:
    """The items' durations that tasks read; see `raw_numbers`."""
    if any(task.duration is not None for task in config.tasks.values()):
        from tamis.cascade import raw_numbers  # imports the model library

        raw_numbers(config, data.items)


def _vectors(config: ProjectConfig) -> None:
    """The channels whose vectors the pre-ranker and re-rank rules read; see `vectors_for`."""
    cascade = config.cascade
    if any("channel" in stage.options for stage in cascade.rerank.values()):
        from tamis.cascade import give_vectors  # imports the model library

        built = {name: registry.build("rerank", name, s) for name, s in cascade.rerank.items()}
        give_vectors(
            built, {n: registry.build("recall", n, c) for n, c in cascade.channels.items()}
        )
    prerank = cascade.prerank
    use = "prerank" if prerank is None else prerank.use or "prerank"
    if prerank is not None and (use == "stored" or ":" in use):
        from tamis.cascade import vectors_for  # imports the model library

        channels = {n: registry.build("recall", n, c) for n, c in cascade.channels.items()}
        vectors_for(registry.build("prerank", "prerank", prerank), channels)


def _features(config: ProjectConfig, data: Dataset) -> None:
    check_groups(data, config.groups)
    features = config.features or default_features(data, config)
    table_coverage(data, features, config, test_cut(config.split, data.events))


def _tried(config: ProjectConfig) -> Iterator[tuple[str, str, StageConfig]]:
    """(kind, name, declaration) of the stages that are tried on a sample."""
    cascade = config.cascade
    yield from (("filters", name, stage) for name, stage in cascade.filters.items())
    yield from (("rerank", name, stage) for name, stage in cascade.rerank.items())
    for name, stage in cascade.channels.items():
        use = stage.use or name
        events_alone = use in READ_EVENTS_ALONE and "by" not in stage.options
        if use in TRIED_CHANNELS and not events_alone:
            yield "recall", name, stage


def _trial(
    config: ProjectConfig, data: Dataset, kind: str, name: str, stage: StageConfig
) -> list[str]:
    """The fault of a stage that cannot be fitted; one found on a sample is confirmed on all data,
    as a column may have no value in the sample only."""
    section = {"recall": "channels"}.get(kind, kind)
    context = FitContext(
        seed=config.seed, features=config.features, items=config.items, users=config.users
    )
    if not _fault(lambda: _fit(kind, name, stage, sample(data), context)):
        return []
    place = f"tamis.toml: [cascade.{section}.{name}]"
    found = _fault(lambda: _fit(kind, name, stage, data, context))
    return [text if text.startswith("tamis.toml") else f"{place} {text}" for text in found]


def _fit(kind: str, name: str, stage: StageConfig, data: Dataset, context: Any) -> None:
    registry.build(kind, name, stage).fit(data, context)


def sample(data: Dataset) -> Dataset:
    """The first rows of the tables, and the first of their events; row numbers do not change."""
    users, items = (_head(table) for table in (data.users, data.items))
    events = data.events
    held = (events.user >= 0) & (events.user < len(users))
    held &= (events.item >= 0) & (events.item < len(items))
    first = np.flatnonzero(held)[:SAMPLE_EVENTS]
    follows = data.follows
    if follows is not None:
        follows = follows.take(follows.user < len(users))
    return Dataset(users, items, events.take(first), data.behaviours, follows)


def _head(table: Table) -> Table:
    return table.part(np.arange(min(len(table), SAMPLE_ROWS)))


def _undeclared(config: ProjectConfig, data: Dataset) -> list[str]:
    """Undeclared behaviours and features in the options of stages that are not tried."""
    features = config.features or default_features(data, config)
    known = {"behaviour": list(config.behaviours), "feature": [f.name for f in features]}
    cascade = config.cascade
    stages: list[tuple[str, StageConfig]] = [
        *(
            (f"channels.{name}", stage)
            for name, stage in cascade.channels.items()
            if (stage.use or name) not in TRIED_CHANNELS
        ),
        *([("prerank", cascade.prerank)] if cascade.prerank else []),
        ("rank", cascade.rank),
    ]
    return [
        f"tamis.toml: [cascade.{section}] {option}: {name!r} is not a declared {NAMES[option]} "
        f"(declared: {', '.join(known[NAMES[option]])}).{suggest(name, known[NAMES[option]])}"
        for section, stage in stages
        for option in NAMES.keys() & stage.options.keys()
        for name in _texts(stage.options[option])
        if name not in known[NAMES[option]] and name not in ("auto", "declared")
    ]


def _texts(value: Any) -> Iterator[str]:
    """The texts in an option's value: a text, the keys of a table, or those of nested lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value:
            yield from _texts(part)
