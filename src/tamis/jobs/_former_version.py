"""The serving version that an update starts from, and whether the project still fits it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tamis.bundle import Hold, Kind, Manifest, Version, Versions
from tamis.cascade import tasks_of
from tamis.data import Dataset
from tamis.features import FeatureSpace
from tamis.jobs._gate import GateCheck, is_judged, size_checks
from tamis.schema import ConfigError, ProjectConfig, TaskConfig, VersionError
from tamis.service import Parts, ProjectFolder
from tamis.train import Chosen

FREE = (
    *("name", "keep_versions", "update", "gate", "serve", "journal", "answers", "clock"),
    *("split", "cascade", "experiments", "metrics", "layers"),
)
"""Keys of tamis.toml that may differ from the serving version's; those of `cascade` singly."""
FREE_OF_CASCADE = (
    *("fusion", "filters", "rerank", "slate", "budgets", "cold_start", "merge", "prerank_keep"),
)


@dataclass(frozen=True, eq=False)
class FormerVersion:
    """The serving version that an update starts from."""

    version: Version
    parts: Parts
    hold: Hold
    """Keeps the version from being removed while the update reads it."""

    @classmethod
    def open(cls, project: ProjectFolder) -> Self:
        """Opens the serving version of a project whose `tamis.toml` its weights still fit.

        Raises VersionError where there is none, ConfigError where what it has learnt from changed.
        """
        version = Versions(project.root).current(Kind.SERVING)
        hold = version.hold()
        parts = Parts.open(version)
        changed = changed_keys(parts.config, project.config)
        if changed:
            raise ConfigError(
                f"tamis.toml: {', '.join(changed)} changed since version {version.name} "
                "was made: an update starts from its weights and keeps its settings. Undo the "
                f"change, or run `tamis train {project.root}`"
            )
        return cls(version, parts, hold)

    @property
    def name(self) -> str:
        return self.version.name

    @property
    def manifest(self) -> Manifest:
        return self.version.manifest

    @property
    def space(self) -> FeatureSpace:
        return self.parts.space

    @property
    def scorers(self) -> dict[str, Any]:
        """{stage: fitted scorer}; None for a pre-ranker that is not declared."""
        return {"rank": self.parts.rank, "prerank": self.parts.prerank}

    def chosen(self, stage: str) -> Chosen:
        """What training, and the updates since, chose for a stage."""
        settings = self.manifest.settings.get(stage, {})
        return Chosen.from_dict({k: v for k, v in settings.items() if k in Chosen.model_fields})

    def check_journal(self, project: ProjectFolder) -> None:
        """Raises VersionError where the journal lacks entries that the version knows."""
        position, found = self.manifest.journal_position, project.journal_data
        head = None if found is None else found.position
        if position is not None and (head is None or head < position):
            raise VersionError(
                f"version {self.name} has learnt entries up to number {position} of the "
                f"journal, which ends at {head or 0} now: the journal was replaced or lost its "
                f"end. Restore it, or run `tamis train {project.root}`"
            )

    def size_checks(self, config: ProjectConfig, data: Dataset) -> list[GateCheck]:
        """Checks of the numbers of items, users and events, now and in the version."""
        known = data.seen & (data.events.arrival < self.manifest.data_until)
        parts = self.parts
        held = {"items": len(parts.items), "users": len(parts.users)}
        held["events"] = len(parts.histories)
        now = {"items": len(data.items), "users": len(data.users), "events": int(known.sum())}
        return size_checks(config.gate, held, now)

    @property
    def recorded_auc(self) -> dict[str, float]:
        """{task: AUC} of the tasks when each was last judged."""
        return recorded_auc(self.manifest, tasks_of(self.parts.config))

    @property
    def training_seconds(self) -> float:
        """Seconds of the last `tamis train`, which versions pass on."""
        passed_on = self.manifest.update.get("training_seconds")
        if passed_on is not None:
            return float(passed_on)
        stages = self.manifest.metrics.get("training", {}).values()
        return float(sum(stage.get("seconds") or 0.0 for stage in stages))


def recorded_auc(manifest: Manifest, tasks: Sequence[TaskConfig]) -> dict[str, float]:
    """{task: AUC} when the task was last judged: by the update that made the version, by one
    before it, or, of a single task, in training."""
    found = manifest.update.get("judged_auc")
    if found is None:  # versions of earlier releases
        found = _judged_auc(manifest.update.get("quality", {}))
    if found:
        return dict(found)
    at_training = manifest.metrics.get("validation", {}).get("rank", {})
    if len(tasks) == 1 and "auc" in at_training:
        return {tasks[0].name: at_training["auc"]}
    return {}


def carried_auc(recorded: Mapping[str, float], quality: Mapping[str, Any]) -> dict[str, float]:
    """The recorded AUC of tasks, replaced by that of the new version where it could be judged.

    quality: JSON values of a `VersionComparison`.
    """
    return {**recorded, **_judged_auc(quality)}


def _judged_auc(quality: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: task["auc"]
        for name, task in quality.get("tasks", {}).items()
        if task.get("auc") is not None and is_judged(task.get("rarer"))
    }


def changed_keys(
    former: ProjectConfig,
    now: ProjectConfig,
    free: Collection[str] = FREE,
    free_of_cascade: Collection[str] = FREE_OF_CASCADE,
) -> list[str]:
    """The sections and keys that differ between two declarations, without those that may."""
    keys = [key for key in type(now).model_fields if key not in free]
    found = [f"[{key}]" for key in keys if getattr(former, key) != getattr(now, key)]
    for key in type(now.cascade).model_fields:
        if key not in free_of_cascade and getattr(former.cascade, key) != getattr(now.cascade, key):
            found.append(f"[cascade] {key}")
    return found
