"""The other policy of `tamis estimate`: its file, and the values by which it orders candidates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tamis.bundle import Kind, Versions
from tamis.cascade import (
    RECALL_ORDER,
    CandidateOrder,
    Candidates,
    RankedRecord,
    Record,
    Value,
    value_of,
    with_factors,
)
from tamis.data import Table, read_items
from tamis.experiments import SlatePolicy
from tamis.journal import Journal, Recommendation
from tamis.rerank import SampleConfig
from tamis.runtime import Float32, Float64
from tamis.schema import (
    CascadeConfig,
    ConfigError,
    ProjectConfig,
    StageConfig,
    VersionError,
    option_problems,
)
from tamis.service import AnsweredItems, read_order

_ROUNDED = 0.02
"""Relative difference up to which predictions of two or three digits explain another fused value.
"""


class LeftOut(StrEnum):
    """Why an answer does not count, in words."""

    EMPTY = "have no items"
    TESTER = "are of testers who chose an arm"
    INTERLEAVED = "are interleaved slates, which two policies fill"
    NO_TRACE = "have no trace: set [answers] traces above 0"
    NOT_DRAWN = (
        "have slates that were not drawn (deterministic slates say nothing of what was not shown): "
        "declare [cascade.rerank.sample]"
    )
    PINNED = "have items that the request pinned, which no policy draws"
    NOT_RANKED = "show items that were not ranked"
    NO_PREDICTIONS = "were made without the ranker, which had failed"
    IN_ARMS = (
        "are in arms of experiments, and the fusion reads scores of channels, which the journal "
        "holds for the project's own cascade alone"
    )
    NO_VERSION = (
        "are of versions that are no longer stored, which hold the order and the columns of items "
        "that the policy reads: lower --most, or keep more versions"
    )


@dataclass(frozen=True)
class OtherPolicy:
    """What is to be estimated."""

    config: ProjectConfig
    """The project's, with the other `[cascade]`."""
    draw: SlatePolicy
    logged: bool
    """Whether its values are those of the journal: it is the project's own fusion, which reads
    scores of channels."""
    of_items: bool
    """Whether its fusion reads columns of the items."""
    same_fusion: bool
    """Whether its fusion is the project's."""


def read_policy(config: ProjectConfig, root: Path, file: Path) -> OtherPolicy:
    """The other policy of a file. Raises ConfigError naming what cannot be estimated."""
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as TOML: {error}") from error
    given = data.get("cascade")
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{file} has no [cascade]: give its `fusion`, and [cascade.rerank.sample] for another "
            "temperature"
        )
    own = config.cascade.model_dump()
    try:
        cascade = CascadeConfig.model_validate({**own, "rerank": {}, **given})
    except ValidationError as error:
        problems = "; ".join(option_problems(error, CascadeConfig.model_fields))
        raise ConfigError(f"{file}: [cascade] {problems}") from error
    changed = [
        key
        for key in CascadeConfig.model_fields
        if key not in ("fusion", "rerank") and getattr(cascade, key) != getattr(config.cascade, key)
    ]
    if changed:
        raise ConfigError(
            f"{file}: [cascade] changes {', '.join(changed)}, but the journal holds the candidates "
            "of the cascade as it is: only `fusion` and the rule `sample` can be estimated; "
            "compare others by an experiment"
        )
    rules = {name: stage.use or name for name, stage in cascade.rerank.items()}
    others = [name for name, use in rules.items() if use != "sample"]
    if others:
        raise ConfigError(
            f"{file}: [cascade.rerank.{others[0]}]: what this rule would choose cannot be computed "
            "from the journal: leave it out, or compare by an experiment"
        )
    draw = SlatePolicy(None)
    for name in rules:
        draw = sample_policy(cascade.rerank[name])
    changed_config = config.model_copy(update={"cascade": cascade})
    fusion = _value(changed_config, root).fusion
    logged = bool(fusion.channels)
    if logged and cascade.fusion != config.cascade.fusion:
        raise ConfigError(
            f"{file}: fusion {cascade.fusion!r} reads the channels {', '.join(fusion.channels)}: "
            "estimates read predictions of the ranker and columns of the items; compare by an "
            "experiment"
        )
    same = cascade.fusion == config.cascade.fusion
    return OtherPolicy(changed_config, draw, logged, bool(fusion.columns), same)


def _value(config: ProjectConfig, root: Path) -> Value:
    """The fusion, checked against the items where it names more than predictions."""
    try:
        return value_of(config)
    except ConfigError:  # it names item columns, or it is wrong
        return value_of(config, _items(config, root))


def _items(config: ProjectConfig, root: Path) -> Table:
    """The items of the serving version; those of the tables without one."""
    try:
        return AnsweredItems.of_version(Versions(root).current(Kind.SERVING))
    except VersionError:
        return read_items(config, root)


def sample_policy(stage: StageConfig) -> SlatePolicy:
    """The policy of a rule `sample`."""
    options = SampleConfig.model_validate(dict(stage.options))
    return SlatePolicy(options.temperature, options.top)


class PolicyValues:
    """The values that the other policy gives to the candidates of answers.

    Answers of a policy that reads columns of the items come in the order of `place`.
    """

    def __init__(
        self, policy: OtherPolicy, root: Path, journal: Journal, *, own: bool = True
    ) -> None:
        """own: whether the journal is that of the project's versions."""
        self._policy, self._root, self._journal, self._own = policy, root, journal, own
        self._value = None if policy.of_items or policy.logged else value_of(policy.config)
        self._items: AnsweredItems | None = None
        self._version = ""
        self._orders: dict[str, CandidateOrder | None] = {}
        """Orders of the versions that answered; None: the version is not known."""
        self.orders: set[str] = set()
        """What orders the candidates under the policy, in words."""
        self.problem: ConfigError | VersionError | None = None
        """Why something of the version of an answer is not known."""

    @staticmethod
    def place(answer: Recommendation) -> tuple[str, int]:
        """By which answers are sorted where columns of the items are read."""
        return answer.version, answer.position

    def of(self, answer: Recommendation, record: Record, ranked: RankedRecord) -> Float64 | LeftOut:
        """(n,) what orders the candidates of an answer, or why it cannot be known.

        As the service makes it: the fusion of the predictions, then the order that training chose,
        then the factors of the request.
        """
        logged = ranked.value.astype(np.float64)
        if self._policy.logged:
            return LeftOut.IN_ARMS if answer.arms else logged
        cascade = self._policy.config.cascade
        if cascade.cold_start == "recall" and ranked.order == RECALL_ORDER:
            self.orders.add(ranked.order)
            return logged  # recall orders what new users get, whatever the fusion
        if not ranked.predictions:
            return LeftOut.NO_PREDICTIONS
        order = CandidateOrder() if cascade.order == "rank" else self._order(answer, ranked)
        fused = self._fused(answer, record, ranked)
        if order is None or fused is None:
            return LeftOut.NO_VERSION
        self.orders.add(order.text)
        same = self._policy.same_fusion and order.text == ranked.order
        if order.channels and same and np.allclose(fused, ranked.fused, rtol=_ROUNDED, atol=1e-6):
            return logged  # predictions of what was not shown have too few digits for exact places
        columns: dict[str, NDArray[Any]] = {f"rank:{k}": at for k, at in ranked.places.items()}
        whole = np.array([0, len(fused)], np.int64)
        value = order(Candidates(whole, ranked.items, columns), fused)
        if ranked.boost is not None:
            value = with_factors(value, ranked.boost)
        return value.astype(np.float64)

    def _fused(
        self, answer: Recommendation, record: Record, ranked: RankedRecord
    ) -> Float32 | None:
        """(n,) the fusion of the predictions; None where columns of the items are not known."""
        items = ranked.items
        if self._policy.of_items:
            self._open(answer.version)
            if self._items is None:
                return None
            self._items.advance(answer.position)
            items = self._items.rows(items, record.new_items)
        assert self._value is not None
        if self._items is not None and len(changed := self._items.changed()):
            self._value.update_items(self._items.table, changed)
        whole = np.array([0, len(items)], np.int64)
        fused = self._value(Candidates(whole, items), ranked.predictions)
        return np.where(np.isfinite(fused), fused, -np.inf).astype(np.float32)

    def _order(self, answer: Recommendation, ranked: RankedRecord) -> CandidateOrder | None:
        """The order that training chose for the version that answered; None: it is not known."""
        name = answer.version
        if name not in self._orders:
            try:
                self._orders[name] = read_order(Versions(self._root).open(name))
            except VersionError as error:
                self._orders[name], self.problem = None, error
        found = self._orders[name]
        if found is None and ranked.order == CandidateOrder().text:
            return CandidateOrder()
        return found

    def _open(self, name: str) -> None:
        """The items of the version that answered, as they were when it was made."""
        if name == self._version:
            return
        self._version, self._items = name, None
        try:
            version = Versions(self._root).open(name)
            found = AnsweredItems(version, self._journal, self._root, own=self._own)
            self._value = value_of(self._policy.config, found.table)
            self._items = found
        except (ConfigError, VersionError) as error:
            self.problem = error
