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
from tamis.cascade import HasFormat, TrainableScorer
from tamis.features import RowCoverage
from tamis.jobs._former_version import changed_keys
from tamis.jobs._publish import publish
from tamis.jobs._trainer import ChoiceRows, Trainer
from tamis.schema import ConfigError, ProjectConfig, VersionError
from tamis.service import FORMATS, ORDER, STORED_CONFIG, Parts
from tamis.train import Chosen

RANKER_KEYS = ("rank", "fusion", "order")
"""Keys of [cascade] that may change together with the ranker."""
_FREE = ("cascade", "tasks", "name", "keep_versions", "update", "gate")
"""Keys that may differ from the published versions; those of `cascade` are compared singly."""


class RankTrainer(Trainer):
    """Refits the ranker; each new version is a copy of the published one with the new ranker."""

    def scorers(self) -> list[str]:
        return ["rank"]

    def _logged_rejections(self) -> None:
        """None: the channels of the versions are not fitted again."""

    def _collect_rejections(self, made: ChoiceRows, fitted: Mapping[str, TrainableScorer]) -> None:
        """Does nothing: the channels of the versions are not fitted again."""

    def _version(
        self, kind: Kind, chosen: Mapping[str, Chosen], validation: dict[str, Any], curves: Any
    ) -> Version:
        versions = Versions(self.project.root)
        former = versions.current(kind)
        parts = Parts.open(former)
        self._check(former, parts)
        shown = self.replays.windows(serving=kind is Kind.SERVING)
        rows = self._rows(parts.space, self.replays.of(shown))
        with self.meter.stage("rank") as record:
            self.steps.begin(f"fit rank for the {kind.value} version")
            ranker = self._fit_scorer("rank", chosen["rank"], rows, None, None)
            record["samples"] = len(rows) * len(ranker.history)
        with self.meter.stage("write"), versions.write(kind) as draft:
            self.steps.begin(f"write the {kind.value} version")
            shutil.copytree(former.path, draft.path, ignore=_ranker_files, dirs_exist_ok=True)
            config = _merged(parts.config, self.config)
            (draft.path / STORED_CONFIG).write_text(config.model_dump_json(indent=1), "utf-8")
            ranker.save(draft.folder("rank"))
            if config.cascade.order == "auto":
                self.order.order.save(draft.path / ORDER)
            manifest = former.manifest
            # The copied parts keep the formats in which they were written.
            draft.formats = {
                **manifest.formats,
                "config": FORMATS["config"],
                "rank": ranker.format if isinstance(ranker, HasFormat) else 1,
            }
            draft.code, draft.data_from = __version__, manifest.data_from
            draft.data_until, draft.horizon = manifest.data_until, self.replays.horizon
            draft.journal_position = manifest.journal_position
            kept = {k: v for k, v in manifest.settings.items() if k != "order"}
            draft.settings = {**kept, **self._settings(chosen)}
            draft.metrics = {
                "training": {**manifest.metrics.get("training", {}), **self.meter.report()},
                "validation": {**manifest.metrics.get("validation", {}), **validation},
                "coverage": RowCoverage.of(parts.space.features, rows),
                "curves": {**manifest.metrics.get("curves", {}), **curves},
            }
        version = versions.open(draft.name)
        publish(self.project, version)
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
        changed = changed_keys(parts.config, self.config, _FREE, RANKER_KEYS)
        if changed:
            raise ConfigError(
                f"tamis.toml: {', '.join(changed)} changed since version {former.name} was "
                "trained, and --ranker-only can change [cascade.rank], [tasks] and fusion alone; "
                "run `tamis train` without --ranker-only"
            )


def _ranker_files(folder: str, names: list[str]) -> list[str]:
    """The names that are not copied from the former version (`ignore` of `shutil.copytree`)."""
    del folder
    return [name for name in names if name in ("rank", ORDER, STORED_CONFIG, MANIFEST)]


def _merged(former: ProjectConfig, now: ProjectConfig) -> ProjectConfig:
    """The former declaration with the new ranker, tasks and fusion."""
    new = {key: getattr(now.cascade, key) for key in RANKER_KEYS}
    cascade = former.cascade.model_copy(update=new)
    return former.model_copy(update={"cascade": cascade, "tasks": now.tasks})
