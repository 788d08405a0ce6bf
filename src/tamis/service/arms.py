"""Arms of experiments that change `[cascade]`: the version's own stages, arranged otherwise.

What is learnt belongs to the version; an arm changes what is decided at a request: which channels,
filters and rules take part, quotas and weights, the fusion, the options of rules. So an arm takes
no memory but that of the rules whose options it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from tamis.filters import ExposedFilter
from tamis.schema import CascadeConfig, ConfigError, StageConfig, option_problems, suggest
from tamis.service import registry
from tamis.service.assembly import Parts

_NAMED = ("channels", "filters", "rerank")
_FITTED = ("prerank", "rank")


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


@dataclass(frozen=True, eq=False)
class ArmCascade:
    """A version's cascade as arms change it."""

    cascade: Cascade
    followers: tuple[object, ...]
    """What it does not share with the version's own cascade, and takes up new users and items."""


def changed_config(config: CascadeConfig, change: ArmChange) -> CascadeConfig:
    """`[cascade]` with the changes of an arm.

    Raises ConfigError naming the key: it is unknown, its value is wrong, or it cannot be changed
    without a version of its own.
    """
    merged = _merged(config.model_dump(), change.cascade, change.place)
    for section in _NAMED:
        kept = cast("dict[str, Any]", merged[section])
        known = cast("Mapping[str, Any]", getattr(config, section))
        merged[section] = {name: stage for name, stage in kept.items() if stage is not False}
        for name in set(kept) - set(known):
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
        raise ConfigError(
            "\n".join(f"tamis.toml: [{change.place}] {p}" for p in problems)
        ) from error
    try:
        registry.check(changed)
    except ConfigError as error:
        raise ConfigError(str(error).replace("[cascade", f"[{change.place}")) from error
    _check_learnt(config, changed, change.place)
    return changed


def arm_cascade(
    parts: Parts, base: Cascade, version: Path, changes: Sequence[ArmChange]
) -> ArmCascade:
    """The cascade of requests that are in these arms; `base` is that of the version.

    Args:
        version: the folder of the version, from which rules with other options are read.

    Raises ConfigError where an arm cannot be had of this version.
    """
    config = parts.config.cascade
    for change in changes:
        config = changed_config(config, change)
    place = ", ".join(change.place for change in changes)
    rules = {name: _stage(parts, version, place, "rerank", name, config) for name in config.rerank}
    filters = {n: _stage(parts, version, place, "filters", n, config) for n in config.filters}
    try:
        give_vectors({n: r for n, r in rules.items() if r is not parts.rerank[n]}, parts.channels)
        fusion = value_of(parts.config.model_copy(update={"cascade": config}), parts.items)
    except ConfigError as error:
        raise ConfigError(str(error).replace("[cascade", f"[{place}")) from error
    retrieval = base.retrieval
    cascade = replace(
        base,
        retrieval=Retrieval(
            config,
            {name: parts.channels[name] for name in config.channels},
            filters,
            retrieval.fallbacks,
            retrieval.known,
        ),
        prerank=base.prerank if config.prerank else None,
        widen=base.widen if config.prerank else None,
        fusion=fusion,
        rerank=rules,
        order=_order(parts, config, place),
        budgets=StageBudgets(config.budgets),
    )
    own = [*rules.values(), *filters.values()]
    shared = {id(stage) for stage in (*parts.rerank.values(), *parts.filters.values())}
    return ArmCascade(cascade, (fusion, *(stage for stage in own if id(stage) not in shared)))


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


def _stage(
    parts: Parts, version: Path, place: str, section: str, name: str, config: CascadeConfig
) -> Any:
    """The version's stage, or one with the options of the arm, read from the version's files."""
    given: Mapping[str, Any] = getattr(parts, section)
    declared, wanted = getattr(parts.config.cascade, section)[name], getattr(config, section)[name]
    if wanted == declared:
        return given[name]
    if isinstance(given[name], FollowsEvents | CountsEvents | ExposedFilter):
        raise ConfigError(
            f"tamis.toml: [{place}.{section}.{name}]: {name} keeps counts of what happens while it "
            "serves, so an arm can leave it out, but cannot change its options: train a version "
            "with them, and name it by `version` in the arm"
        )
    return registry.load(section, name, wanted, version / section / name)


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """`config` with the values of `changes`, tables within tables too."""
    found = dict(config)
    for key, value in changes.items():
        former = found.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            inner, table = cast("Mapping[str, Any]", former), cast("Mapping[str, Any]", value)
            found[key] = _merged(inner, table, f"{place}.{key}")
        else:
            found[key] = value
    return found


def _check_learnt(config: CascadeConfig, changed: CascadeConfig, place: str) -> None:
    """Raises ConfigError where a change needs another training."""
    cure = "train a version with it, and name that by `version` in the arm"
    for name in _FITTED:
        former: StageConfig | None = getattr(config, name)
        now: StageConfig | None = getattr(changed, name)
        if now is not None and now != former:
            raise ConfigError(f"tamis.toml: [{place}.{name}]: {name} is learnt in training: {cure}")
    if changed.order != config.order and changed.order == "auto":
        raise ConfigError(f"tamis.toml: [{place}]: order = 'auto' is chosen in training: {cure}")
    for name, channel in changed.channels.items():
        former = config.channels[name]
        if (channel.use, channel.options) != (former.use, former.options):
            option = next(
                (o for o, v in channel.options.items() if former.options.get(o) != v), "use"
            )
            raise ConfigError(
                f"tamis.toml: [{place}.channels.{name}] {option}: it is learnt in training; an arm "
                f"changes quota, weight and fallback of a channel: {cure}"
            )
    for section in ("filters", "rerank"):
        for name, stage in getattr(changed, section).items():
            if stage.use != getattr(config, section)[name].use:
                raise ConfigError(f"tamis.toml: [{place}.{section}.{name}] use: {cure}")
    if not changed.channels:
        raise ConfigError(f"tamis.toml: [{place}.channels]: the arm leaves out every channel")
