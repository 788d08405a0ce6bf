"""The experiments of a running service: which arms a request is in, and the versions they need."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Generic, NamedTuple, TypeVar

from tamis.data import one_id
from tamis.experiments import Experiments, Running
from tamis.journal import ExperimentLog
from tamis.schema import INTERLEAVED, ConfigError, RequestError, StoreError, suggest
from tamis.service.arms import ArmChange, ArmKey
from tamis.service.request import Request

L = TypeVar("L")
"""An open version: `tamis.service.LiveRecommender`."""
log = logging.getLogger("tamis.service")


class ChosenArms(NamedTuple):
    """The arms of one request."""

    arms: Mapping[str, str] = {}
    """Experiment → arm."""
    changes: tuple[ArmChange, ...] = ()
    """What they change."""
    against: tuple[ArmChange, ...] | None = None
    """Of an interleaved slate: the changes of the other arm, with those of other experiments."""
    teams: tuple[str, str] = ("", "")
    """The two arms of an interleaved slate: of `changes`, and of `against`."""
    version: str = ""
    """The version that an arm names; empty: the one that serves."""
    version_of: str = ""
    """The experiment whose arm names it."""

    def without(self, experiments: Collection[str]) -> ChosenArms:
        """Without some experiments; the version stays."""
        arms = {name: arm for name, arm in self.arms.items() if name not in experiments}
        changes = tuple(one for one in self.changes if one.experiment not in experiments)
        against = self.against
        if against is not None:
            if INTERLEAVED in arms.values():
                against = tuple(one for one in against if one.experiment not in experiments)
            else:
                against = None
        return self._replace(arms=arms, changes=changes, against=against)


class LiveExperiments(Generic[L]):
    """The experiments as the journal's steps made them; `look` takes up new steps.

    Args:
        steps: the steps of the project's experiments.
    """

    def __init__(self, steps: ExperimentLog) -> None:
        self._steps = steps
        self._seen = self._unreadable = -1
        self.state = Experiments()
        """Replaced as a whole: requests go on with the one that they took."""
        self.versions: dict[str, L] = {}
        """Open versions that arms need, beside the one that serves. Replaced as a whole."""
        self.look()

    def read(self) -> tuple[Experiments, int] | None:
        """What new steps have made of the experiments, and the number of steps; None: no new ones.

        While the journal does not answer, or a step cannot be read, experiments go on as they are.
        """
        try:
            head = self._steps.head
            if head in (self._seen, self._unreadable):
                return None
            steps = self._steps.read()
        except StoreError as error:
            log.warning("experiments go on as they are: %s", error)
            return None
        try:
            return Experiments.of(steps), len(steps)
        except ConfigError as error:  # written by another release, whose rules were others
            self._unreadable = len(steps)
            log.error("experiments go on as they are; a step cannot be taken up: %s", error)
            return None

    def take(self, found: tuple[Experiments, int], versions: Mapping[str, L]) -> None:
        """Takes up what `read` returned, with the open versions that its arms need."""
        self.versions = dict(versions)
        self.state, self._seen = found

    def look(self) -> bool:
        """Takes up new steps, without opening versions; whether there were any."""
        found = self.read()
        if found is None:
            return False
        self.take(found, self.versions)
        return True

    def chosen(self, request: Request) -> ChosenArms:
        """The arms of a request. Raises RequestError where it names an arm that there is not."""
        state = self.state
        if not state.running and not request.arms:
            return ChosenArms()
        units = {"user": one_id(request.user_id), "session": request.session_id or None}
        asked = {name: _arm_of(state, name, arm) for name, arm in request.arms.items()}
        layers = {state.experiments[name].design.layer for name in asked}
        arms = {
            name: arm
            for name, arm in state.assigned(units).items()
            if state.experiments[name].design.layer not in layers
        }
        arms |= asked
        changes: list[ArmChange] = []
        against: list[ArmChange] | None = None
        teams, version, version_of = ("", ""), "", ""
        for name in sorted(arms):
            one = state.experiments[name]
            if one.design.interleaving and one.stage == "running" and name not in asked:
                if request.pins:  # they have places of their own, which a draft would not keep
                    del arms[name]
                    continue
                teams = _teams(one)
                arms[name] = INTERLEAVED
                first, second = (ArmChange(name, a, one.design.arms[a].cascade) for a in teams)
                against = [*changes, second]
                changes.append(first)
                continue
            arm = one.design.arms[arms[name]]
            if arm.version and (not version or name in asked):
                version, version_of = arm.version, name
            if arm.cascade:
                change = ArmChange(name, arms[name], arm.cascade)
                changes.append(change)
                against = None if against is None else [*against, change]
        both = None if against is None else tuple(against)
        return ChosenArms(arms, tuple(changes), both, teams, version, version_of)


def wanted_versions(state: Experiments) -> set[str]:
    """Names of the versions that arms of running experiments need."""
    arms = [arm for one in state.running for arm in one.design.arms.values()]
    return {arm.version for arm in arms if arm.version}


def wanted_changes(state: Experiments) -> set[ArmKey]:
    """Keys of the arms of running experiments that change `[cascade]`, or are interleaved."""
    return {
        ArmChange(one.name, name, arm.cascade).key
        for one in state.running
        for name, arm in one.design.arms.items()
        if arm.cascade or one.design.interleaving
    }


def _teams(one: Running) -> tuple[str, str]:
    """The control, and the other arm."""
    control = one.design.control
    return control, next(arm for arm in one.design.arms if arm != control)


def _arm_of(state: Experiments, name: str, arm: str) -> str:
    """The arm that a tester asks for. Raises RequestError where there is none."""
    running: dict[str, Running] = {one.name: one for one in state.running}
    if name not in running:
        raise RequestError(
            f"arms: no experiment {name!r} is running; there are: {', '.join(running) or 'none'}"
            f".{suggest(name, running)}",
            "arms",
        )
    arms = running[name].design.arms
    if arm not in arms:
        raise RequestError(
            f"arms[{name}] = {arm!r}: its arms are {', '.join(arms)}.{suggest(arm, arms)}", "arms"
        )
    return arm
