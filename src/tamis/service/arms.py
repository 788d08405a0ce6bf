"""Arms of experiments that change `[cascade]`: the version's own stages, arranged otherwise.

What is learnt belongs to the version; an arm changes what is decided at a request: which channels,
filters and rules take part, quotas and weights, the fusion, and the options of rules that act at a
request (`at_request`). So an arm takes no memory but that of the rules whose options it changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from tamis.cascade import (
    CandidateOrder,
    Cascade,
    CountsEvents,
    FollowsEvents,
    Retrieval,
    StageBudgets,
    give_vectors,
    value_of,
)
from tamis.schema import (
    CascadeConfig,
    ConfigError,
    StageConfig,
    TamisError,
    option_problems,
    suggest,
)
from tamis.service import registry
from tamis.service.assembly import Parts

_NAMED = ("channels", "filters", "rerank")
_FITTED = ("prerank", "rank")
_CURE = "train a version with it, and name that by `version` in the arm"
_PLACING = ("ads", "pins", "explore", "sample")
"""Re-rank rules that give items places of their own, or draw them."""


ArmKey = tuple[str, str, str]
"""Experiment, arm, and what the arm changes."""


class ArmChange(NamedTuple):
    """What an arm of an experiment changes."""

    experiment: str
    arm: str
    cascade: Mapping[str, Any]
    """Changes of `[cascade]`; see `ArmConfig.cascade`."""

    @property
    def place(self) -> str:
        """Its section of `tamis.toml`."""
        return f"experiments.{self.experiment}.arms.{self.arm}.cascade"

    @property
    def key(self) -> ArmKey:
        """What it is remembered by: (experiment, arm, contents). A name alone is not enough: a
        start that was refused may be tried again with another design."""
        return self.experiment, self.arm, json.dumps(self.cascade, sort_keys=True, default=str)

    def paths(self) -> set[tuple[str, ...]]:
        """The paths that it changes: ("rerank", "mmr", "theta")."""
        return set(_paths(self.cascade))


class ArmCascades:
    """The cascades of one version as arms change it; each is made once.

    Args:
        parts: the open version, whose stages are shared.
        base: its cascade.
        version: its folder, from which rules with other options are read.
        follow: called with stages that take up new users and items from then on.
        release: called with stages that need no more.
    """

    def __init__(
        self,
        parts: Parts,
        base: Cascade,
        version: Path,
        follow: Callable[[Sequence[object]], None],
        release: Callable[[Sequence[object]], None],
    ) -> None:
        self._parts, self._base, self._version = parts, base, version
        self._follow, self._release = follow, release
        self._cascades: dict[tuple[ArmKey, ...], Cascade | str] = {}
        """Cascades by the arms in them, or why there is none."""
        self._own: dict[tuple[str, ...], Any] = {}
        """Stages and fusions that differ from the version's, by what they are made of."""
        self._used: dict[tuple[ArmKey, ...], set[tuple[str, ...]]] = {}

    def of(self, changes: Sequence[ArmChange]) -> Cascade:
        """The cascade of requests that are in these arms. Raises ConfigError, naming the arms,
        where this version cannot have them, whatever the reason."""
        if not changes:
            return self._base
        key = tuple(change.key for change in changes)
        if key not in self._cascades:
            try:
                self._cascades[key] = self._made(changes, key)
            except TamisError as error:  # of its files, of its options, of the tables
                self._cascades[key] = str(error)
        found = self._cascades[key]
        if isinstance(found, str):
            raise ConfigError(found)
        return found

    def keep(self, wanted: Collection[ArmKey]) -> None:
        """Frees what only arms need whose keys are not among `wanted`."""
        for key in [key for key in self._cascades if not set(key) <= set(wanted)]:
            del self._cascades[key]
            self._used.pop(key, None)
        used = set[tuple[str, ...]]().union(*self._used.values())
        gone = [name for name in self._own if name not in used]
        self._release([self._own.pop(name) for name in gone])

    @property
    def own(self) -> int:
        """Stages and fusions that are not the version's."""
        return len(self._own)

    def _made(self, changes: Sequence[ArmChange], key: tuple[ArmKey, ...]) -> Cascade:
        config = self._parts.config.cascade
        for change in changes:
            config = changed_config(config, change, self._at_request)
        place = ", ".join(change.place for change in changes)
        used = self._used.setdefault(key, set())
        rules = {name: self._stage("rerank", name, config, place, used) for name in config.rerank}
        filters = {n: self._stage("filters", n, config, place, used) for n in config.filters}
        base, retrieval = self._base, self._base.retrieval
        budgets = base.budgets
        if config.budgets != self._parts.config.cascade.budgets:
            budgets = StageBudgets(config.budgets)
            budgets.counts = base.budgets.counts  # faults are counted once for the version
        return replace(
            base,
            retrieval=Retrieval(
                config,
                {name: self._parts.channels[name] for name in config.channels},
                filters,
                retrieval.fallbacks,
                retrieval.known,
            ),
            prerank=base.prerank if config.prerank else None,
            widen=base.widen if config.prerank else None,
            fusion=self._fusion(config, place, used),
            rerank=rules,
            order=_order(self._parts, config, place),
            budgets=budgets,
        )

    def _at_request(self, section: str, name: str) -> frozenset[str]:
        """The options of a stage that an arm may change."""
        stage = getattr(self._parts, section)[name]
        if isinstance(stage, FollowsEvents | CountsEvents):  # it keeps counts under its options
            return frozenset()
        return frozenset(getattr(stage, "at_request", ()))

    def _fusion(self, config: CascadeConfig, place: str, used: set[tuple[str, ...]]) -> Any:
        declared = self._parts.config.cascade
        if (config.fusion, config.channels) == (declared.fusion, declared.channels):
            return self._base.fusion
        name = ("fusion", config.fusion, *config.channels)

        def made() -> Any:
            whole = self._parts.config.model_copy(update={"cascade": config})
            return value_of(whole, self._parts.items)

        return self._shared(name, place, used, made)

    def _stage(
        self, section: str, name: str, config: CascadeConfig, place: str, used: set[tuple[str, ...]]
    ) -> Any:
        """The version's stage, or one with the options of the arm, read from its files."""
        given: Mapping[str, Any] = getattr(self._parts, section)
        wanted: StageConfig = getattr(config, section)[name]
        if wanted == getattr(self._parts.config.cascade, section)[name]:
            return given[name]

        def made() -> Any:
            stage = registry.load(section, name, wanted, self._version / section / name)
            give_vectors({name: stage}, self._parts.channels)
            return stage

        options = json.dumps(wanted.options, sort_keys=True, default=str)
        return self._shared((section, name, options), place, used, made)

    def _shared(
        self,
        name: tuple[str, ...],
        place: str,
        used: set[tuple[str, ...]],
        make: Callable[[], Any],
    ) -> Any:
        """A stage or a fusion of arms, made once for all combinations that have it."""
        if name not in self._own:
            try:
                made = make()
            except TamisError as error:
                raise ConfigError(f"[{place}] {' '.join(name[:2])}: {error}") from error
            self._follow([made])
            self._own[name] = made
        used.add(name)
        return self._own[name]


def changed_config(
    config: CascadeConfig, change: ArmChange, at_request: Callable[[str, str], frozenset[str]]
) -> CascadeConfig:
    """`[cascade]` with the changes of an arm.

    Args:
        at_request: of "filters" or "rerank" and the name of a stage, the options that act at a
            request.

    Raises ConfigError naming the key: it is unknown, its value is wrong, or it cannot be changed
    without a version of its own.
    """
    merged = _merged(config.model_dump(), change.cascade)
    for section in _NAMED:
        kept, known = merged[section], cast("Mapping[str, Any]", getattr(config, section))
        if not isinstance(kept, dict):
            raise ConfigError(
                f"tamis.toml: [{change.place}] {section} = {kept!r}: give a table of stages"
            )
        stages = cast("dict[str, Any]", kept)
        merged[section] = {name: stage for name, stage in stages.items() if stage is not False}
        for name in set(stages) - set(known):
            raise ConfigError(
                f"tamis.toml: [{change.place}.{section}.{name}]: the version has no such stage"
                f".{suggest(name, list(known))} An arm leaves out or changes stages of the "
                "version; declare it in [cascade], leave it out in the other arms by "
                f"`{section}.{name} = false`, and train"
            )
    merged["prerank"] = None if merged["prerank"] is False else merged["prerank"]
    try:
        changed = CascadeConfig.model_validate(merged)
    except ValidationError as error:
        problems = option_problems(error, CascadeConfig.model_fields)
        listed = "\n".join(f"tamis.toml: [{change.place}] {p}" for p in problems)
        raise ConfigError(listed) from error
    try:
        registry.check(changed)
    except ConfigError as error:
        raise ConfigError(str(error).replace("[cascade", f"[{change.place}")) from error
    _check_learnt(config, changed, change.place, at_request)
    return changed


def check_interleaving(cascade: Cascade) -> None:
    """Raises ConfigError where a version has rules that give places an interleaved slate breaks."""
    placing = [n for n, rule in cascade.rerank.items() if getattr(rule, "name", n) in _PLACING]
    if placing:
        raise ConfigError(
            f"[cascade.rerank.{placing[0]}] gives items places of their own, which an interleaved "
            "slate would not keep: leave it out in both arms, or compare without interleaving"
        )


def _order(parts: Parts, config: CascadeConfig, place: str) -> CandidateOrder:
    """The order that training chose, where the arm has what it is made of."""
    if config.order == "rank":
        return CandidateOrder()
    missing = [name for name, _ in parts.order.channels if name not in config.channels]
    if missing:
        raise ConfigError(
            f'tamis.toml: [{place}]: the order that training chose (order = "auto") reads the '
            f'channel {missing[0]!r}, which the arm leaves out: set order = "rank" in the arm'
        )
    return parts.order


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the values of `changes`, tables within tables too."""
    found = dict(config)
    for key, value in changes.items():
        former = found.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            found[key] = _merged(
                cast("Mapping[str, Any]", former), cast("Mapping[str, Any]", value)
            )
        else:
            found[key] = value
    return found


def _paths(changes: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(cast("Mapping[str, Any]", value), (*above, key))
        else:
            yield (*above, key)


def _check_learnt(
    config: CascadeConfig,
    changed: CascadeConfig,
    place: str,
    at_request: Callable[[str, str], frozenset[str]],
) -> None:
    """Raises ConfigError where a change needs another training."""
    for name in _FITTED:
        former: StageConfig | None = getattr(config, name)
        now: StageConfig | None = getattr(changed, name)
        if now is not None and now != former:
            raise ConfigError(
                f"tamis.toml: [{place}.{name}]: {name} is learnt in training: {_CURE}"
            )
    if changed.order != config.order and changed.order == "auto":
        raise ConfigError(f"tamis.toml: [{place}]: order = 'auto' is chosen in training: {_CURE}")
    for name, channel in changed.channels.items():
        for option in _different(config.channels[name], channel):
            raise ConfigError(
                f"tamis.toml: [{place}.channels.{name}] {option}: it is learnt in training; an arm "
                f"changes quota, weight and fallback of a channel: {_CURE}"
            )
    for section in ("filters", "rerank"):
        for name, stage in getattr(changed, section).items():
            different = _different(getattr(config, section)[name], stage)
            if not different:
                continue
            allowed = at_request(section, name)
            for option in different:
                if option not in allowed:
                    listed = ", ".join(sorted(allowed)) or "none of its options"
                    raise ConfigError(
                        f"tamis.toml: [{place}.{section}.{name}] {option} acts in training; of "
                        f"{name} an arm changes {listed}, or leaves it out by `{name} = false`. "
                        f"Else {_CURE}"
                    )
    if not changed.channels:
        raise ConfigError(f"tamis.toml: [{place}.channels]: the arm leaves out every channel")


def _different(former: StageConfig, now: StageConfig) -> list[str]:
    """The options in which two declarations of a stage differ."""
    found = ["use"] if former.use != now.use else []
    names = {**former.options, **now.options}
    return found + [n for n in names if former.options.get(n) != now.options.get(n)]
