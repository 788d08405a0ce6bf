"""The experiments of a running service: which arms a request is in, and the versions they need."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tamis.data import one_id
from tamis.experiments import INTERLEAVED, Experiments, Running
from tamis.journal import ExperimentLog
from tamis.schema import ConfigError, RequestError, StoreError, suggest
from tamis.service.arms import ArmChange
from tamis.service.request import Request

if TYPE_CHECKING:
    from tamis.service.live import LiveRecommender

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

    def without_version(self) -> ChosenArms:
        """Without the experiment whose arm names a version."""
        arms = {name: arm for name, arm in self.arms.items() if name != self.version_of}
        return self._replace(arms=arms, version="", version_of="")


class LiveExperiments:
    """The experiments as the journal's steps made them; `look` takes up new steps.

    Args:
        steps: the steps of the project's experiments.
    """

    def __init__(self, steps: ExperimentLog) -> None:
        self._steps = steps
        self._seen = -1
        self.state = Experiments()
        """Replaced as a whole: requests go on with the one that they took."""
        self.versions: dict[str, LiveRecommender] = {}
        """Open versions that arms need, beside the one that serves. Replaced as a whole."""
        self.look()

    def look(self) -> bool:
        """Reads the steps if there are new ones; whether there were. While the journal does not
        answer, experiments go on as they are."""
        try:
            head = self._steps.head
            if head == self._seen:
                return False
            steps = self._steps.read()
            self.state, self._seen = Experiments.of(steps), len(steps)
        except StoreError as error:
            log.warning("experiments go on as they are: %s", error)
            return False
        except ConfigError as error:  # written by another release, whose rules were others
            log.error("experiments go on as they are; a step cannot be taken up: %s", error)
            return False
        return True

    def wanted_versions(self) -> set[str]:
        """Names of the versions that arms of running experiments need."""
        arms = [arm for one in self.state.running for arm in one.design.arms.values()]
        return {arm.version for arm in arms if arm.version}

    def wanted_changes(self) -> set[tuple[str, str]]:
        """(experiment, arm) of running experiments that change `[cascade]`."""
        return {
            (one.name, name)
            for one in self.state.running
            for name, arm in one.design.arms.items()
            if arm.cascade
        }

    def chosen(self, request: Request) -> ChosenArms:
        """The arms of a request. Raises RequestError where it names an arm that there is not."""
        state = self.state
        if not state.running and not request.arms:
            return ChosenArms()
        units = {"user": one_id(request.user_id), "session": request.session_id or None}
        arms = state.assigned(units)
        for name, arm in request.arms.items():
            arms[name] = _arm_of(state, name, arm)
        changes: list[ArmChange] = []
        against: list[ArmChange] | None = None
        teams = ("", "")
        version = version_of = ""
        for name in sorted(arms):
            design = state.experiments[name].design
            if design.interleaving and name not in request.arms and against is None:
                one, other = teams = (
                    design.control,
                    next(a for a in design.arms if a != design.control),
                )
                arms[name] = INTERLEAVED
                changes.append(ArmChange(name, one, design.arms[one].cascade))
                against = [*changes[:-1], ArmChange(name, other, design.arms[other].cascade)]
                continue
            arm = design.arms[arms[name]]
            if arm.version and not version:
                version, version_of = arm.version, name
            if arm.cascade:
                change = ArmChange(name, arms[name], arm.cascade)
                changes.append(change)
                against = None if against is None else [*against, change]
        both = None if against is None else tuple(against)
        return ChosenArms(arms, tuple(changes), both, teams, version, version_of)


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
