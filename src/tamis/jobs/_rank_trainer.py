"""`tamis train --ranker-only`: refits the ranker in the published versions and keeps the rest.

The ranker's rows are made as in a full training: from impressions where the log has them, otherwise
by replaying the windows, for which channels are fitted again. Saved is the work of fitting the
features, the channels and the pre-ranker of both versions.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from tamis._version import __version__
from tamis.bundle import MANIFEST, Kind, Version, Versions
from tamis.jobs._trainer import Trainer
from tamis.schema import ConfigError, ProjectConfig, StageConfig, VersionError
from tamis.service import STORED_CONFIG, Parts
from tamis.splitting import windows

RANKER_KEYS = ("rank", "fusion")
"""Keys of [cascade] that may change together with the ranker."""


class RankTrainer(Trainer):
    """Refits the ranker; each new version is a copy of the published one with the new ranker."""

    def scorers(self) -> list[str]:
        return ["rank"]

    def _version(
        self, kind: Kind, settings: dict[str, Any], validation: dict[str, Any], curves: Any
    ) -> Version:
        versions = Versions(self.project.root)
        former = versions.current(kind)
        parts = Parts.open(former)
        self._check(former, parts)
        evaluation = kind is Kind.EVALUATION
        shown = self.windows if evaluation else windows(self.config.split, self.data.events, True)
        rows = self._rows(parts.space, shown)
        with self.meter.stage("rank") as record:
            self.steps.begin(f"fit rank for the {kind.value} version")
            ranker = self._fit_scorer("rank", settings["rank"], rows, None, None)
            record["samples"] = len(rows) * len(ranker.history)
        with self.meter.stage("write"), versions.write(kind) as draft:
            self.steps.begin(f"write the {kind.value} version")
            shutil.copytree(former.path, draft.path, ignore=_ranker_files, dirs_exist_ok=True)
            config = _merged(parts.config, self.config, settings["rank"])
            (draft.path / STORED_CONFIG).write_text(config.model_dump_json(indent=1), "utf-8")
            ranker.save(draft.room("rank"))
            manifest = former.manifest
            draft.code, draft.data_from = __version__, manifest.data_from
            draft.data_until = manifest.data_until
            draft.settings = {**manifest.settings, **settings}
            draft.metrics = {
                "training": {**manifest.metrics.get("training", {}), **self.meter.report()},
                "validation": {**manifest.metrics.get("validation", {}), **validation},
                "curves": {**manifest.metrics.get("curves", {}), **curves},
            }
        version = versions.open(draft.name)
        versions.publish(version)
        return version

    def _check(self, former: Version, parts: Parts) -> None:
        """Raises VersionError or ConfigError if the log or the rest of tamis.toml has changed."""
        until = self.test_cut if former.manifest.kind is Kind.EVALUATION else self.data.end
        if former.manifest.data_until != until or not (
            parts.items.ids.equals(self.data.items.ids)
            and parts.users.ids.equals(self.data.users.ids)
        ):
            raise VersionError(
                f"the tables have changed since version {former.name} was trained: its features "
                "do not fit the new rows; run `tamis train` without --ranker-only"
            )
        changed = _changed(parts.config, self.config, former.manifest.settings)
        if changed:
            raise ConfigError(
                f"tamis.toml: {', '.join(changed)} changed since version {former.name} was "
                "trained, and --ranker-only can change [cascade.rank], [tasks] and fusion alone; "
                "run `tamis train` without --ranker-only"
            )


def _ranker_files(folder: str, names: list[str]) -> list[str]:
    """The names that are not copied from the former version (`ignore` of `shutil.copytree`)."""
    del folder
    return [name for name in names if name in ("rank", STORED_CONFIG, MANIFEST)]


def _merged(former: ProjectConfig, now: ProjectConfig, chosen: Mapping[str, Any]) -> ProjectConfig:
    """The former configuration with the new ranker, its chosen settings, tasks and fusion."""
    declared = now.cascade.rank
    rank = type(declared)(**{"use": declared.use, **declared.options, **chosen})
    cascade = former.cascade.model_copy(update={"rank": rank, "fusion": now.cascade.fusion})
    return former.model_copy(update={"cascade": cascade, "tasks": now.tasks})


def _changed(former: ProjectConfig, now: ProjectConfig, settings: Mapping[str, Any]) -> list[str]:
    """The keys that need a full training and whose values differ."""
    keys = [key for key in type(now).model_fields if key not in ("cascade", "tasks", "name")]
    found = [f"[{key}]" for key in keys if getattr(former, key) != getattr(now, key)]
    for key in type(now.cascade).model_fields:
        before, after = (getattr(config.cascade, key) for config in (former, now))
        if key == "prerank":  # the version's also holds what was chosen on validation
            chosen = settings.get("prerank", {})
            before, after = _declared(before, chosen), _declared(after, chosen)
        if key not in RANKER_KEYS and before != after:
            found.append(f"[cascade] {key}")
    return found


def _declared(stage: StageConfig | None, chosen: Mapping[str, Any]) -> Any:
    """A stage's name and its options without those chosen on validation; None for no stage."""
    if stage is None:
        return None
    return stage.use, {key: value for key, value in stage.options.items() if key not in chosen}
