"""Updates the serving version: it learns what came since, from its own weights.

impressions    ── serving version ──|─── A: learnt first ───|─ B: held out ─|  end
replays        ── serving version ──|── windows: A ───────|─ last window: B ─────────────|  end
one window     ── serving version ──|── window: some users A, the others B ──────────────|  end

1  The candidate starts from the serving version's weights and learns A in one pass. Channels,
   features and statistics are those known at the cut, where B begins (the last window starts).
2  The gate compares it with the serving version on B; calibrations are fitted on B.
3  The published version goes on from the candidate: it learns B in one pass, and knows all data.

So every new row is learnt once. Where a fit cannot start from a former one (trees, neighbours,
lists, counts), it is made again on all data. What training chose (epochs, orders, options that
depend on the data) is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from tamis._version import __version__
from tamis.bundle import Kind, Versions
from tamis.cascade import (
    REPLAY_USERS,
    Candidates,
    FormerRows,
    Hydrate,
    Replay,
    Retrieval,
    check_task_values,
    impression_window,
    join,
    queries_at,
    raw_numbers,
    replay_window,
    returning_users,
    tasks_of,
)
from tamis.data import Dataset
from tamis.features import FeatureSpace, Histories, OfflineStatistics, RowCoverage, Rows
from tamis.jobs._data_watch import DataWatch
from tamis.jobs._gate import (
    FEWEST,
    GateCheck,
    data_checks,
    failed,
    is_judged,
    quality_checks,
    request_checks,
    size_checks,
    worst_first,
)
from tamis.jobs._judge import Judge, VersionComparison, taken
from tamis.jobs._preflight import require as require_preflight
from tamis.jobs._publish import publish
from tamis.jobs._rejections import none_yet, read_rejections
from tamis.jobs._replays import FEWEST_USERS, IMPRESSIONS, Replays, as_served
from tamis.jobs._trainer import Trainer
from tamis.jobs._trial_requests import try_out
from tamis.jobs._update_report import UpdateReport
from tamis.runtime import Int32, Progress
from tamis.schema import ConfigError, LabelError, ProjectConfig, TrainingError, VersionError
from tamis.service import Parts, Recommender, registry
from tamis.splitting import Window
from tamis.train import Calibration, Chosen, Estimator, FrameModel

FREE = (
    *("name", "keep_versions", "update", "gate", "serve", "journal", "answers", "clock"),
    *("split", "cascade", "experiments", "metrics", "layers"),
)
"""Keys of tamis.toml that may differ from the serving version's; those of `cascade` singly."""
FREE_OF_CASCADE = (
    *("fusion", "filters", "rerank", "slate", "budgets", "cold_start", "merge", "prerank_keep"),
)


JUDGED = 100
"""Users of a single window who are held out even if they are more than the share of
`[update] holdout`, up to half of them: chance hides what fewer could show."""
ENOUGH = 50
"""Positive labels on which an intercept is corrected."""


class NewStretch(NamedTuple):
    """What is new, and how it is divided."""

    since: int
    """Events that arrived from then on are new, ms."""
    cut: int
    """The candidate knows what arrived before, ms."""
    windows: tuple[Window, ...]
    """Replayed windows; () of a log with impressions, or where no horizon has passed."""
    learnt_until: int
    """Up to when labels have been learnt after the update: the next one goes on from there."""


Labelled = Sequence[tuple[Window, Replay]]
"""Windows and the labelled rows of each."""


@dataclass(frozen=True, eq=False)
class New:
    """The new labelled rows: those that the candidate learns, and those held out."""

    first: Labelled
    held_out: Labelled
    users: Int32 | None = None
    """Rows of the users that slates are judged by; None: all who chose an item later."""


class Made(NamedTuple):
    """What was fitted for one cut."""

    space: FeatureSpace
    retrieval: Retrieval
    known: Dataset
    scorers: Mapping[str, Any]


class _ScorerFit(NamedTuple):
    """A scorer to fit."""

    stage: str
    """rank or prerank."""
    former: Any
    """What it goes on from."""
    chosen: Chosen
    teacher: Any
    """The fitted ranker, for a pre-ranker."""


class _RefusedError(Exception):
    """Ends the writing of a version that the gate refuses."""


@dataclass
class Updater(Trainer):
    """One full update of the serving version; see the module."""

    force: bool = False
    """Whether a version is published although checks fail."""
    _learnt: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _covered: Mapping[str, Any] | None = None
    """The coverage of the features in the latest rows that the ranker learnt from."""

    def update(self) -> UpdateReport:
        """Makes a version, and publishes it if the gate lets it pass."""
        self.steps = Progress("update", self.progress)
        with self.steps:
            self.read()
            since = self.former.manifest.data_until
            new = int((self.data.events.arrival >= since).sum())
            if not new:
                moment = np.datetime64(since, "ms").astype("datetime64[s]")
                text = (
                    f"no event arrived since {moment}, the end of the data of the serving version: "
                    "there is nothing to learn"
                )
                return UpdateReport(self.former.name, None, 0, notes=(text,))
            self.steps.begin("compare the new events with those before")
            with self.meter.stage("watch"):
                watch = DataWatch.of(self.parts, self.data, self.former_rows, since)
            checks = data_checks(self.config.gate, watch) + self._sizes()
            report = UpdateReport(self.former.name, None, new, data=watch.to_dict())
            if failed(checks) and not self.force:
                return self._finished(report, checks)
            return self._learn(report, checks)

    def read(self) -> None:
        """Opens the serving version, reads the tables, and checks that they fit together."""
        with self.meter.stage("read") as record:
            self.steps.begin("open the serving version")
            versions = Versions(self.project.root)
            self.former = versions.current(Kind.SERVING)
            self._hold = self.former.hold()
            self.parts = Parts.open(self.former)
            self.config = self.project.config
            changed = changed_keys(self.parts.config, self.config)
            if changed:
                raise ConfigError(
                    f"tamis.toml: {', '.join(changed)} changed since version {self.former.name} "
                    "was made: an update starts from its weights and keeps its settings. Undo the "
                    f"change, or run `tamis train {self.project.root}`"
                )
            if self.parts.text is not None:
                self.project = replace(self.project, encoder=self.parts.text.encoder)
            self.steps.begin("read the tables")
            self.data = self.project.data
            self._check_journal()
            require_preflight(self.config, self.data)
            self.notes.update(dict.fromkeys(check_task_values(tasks_of(self.config), self.data)))
            self._vectors = self._wanted_vectors()
            self.rejected = none_yet(self.config)
            if self.rejected is not None:
                found = read_rejections(self.project.root)
                self.rejected = self.rejected if found is None else found
            self.rejected_live = self._logged_rejections()
            self.former_rows = FormerRows.of(self.data, self.parts.users, self.parts.items)
            self.order = replace(self.order, order=self.parts.order)
            record["samples"] = len(self.data.events)
            self.replays = Replays(
                self.config,
                self.data,
                Histories.of(self.data),
                self._retrieval,
                self.meter,
                self.steps,
            )
            self.impressions = self.replays.impressions

    def _check_journal(self) -> None:
        """Raises VersionError where the journal lacks entries that the serving version knows."""
        position = self.former.manifest.journal_position
        found = self.project.journal_data
        head = None if found is None else found.position
        if position is not None and (head is None or head < position):
            raise VersionError(
                f"version {self.former.name} has learnt entries up to number {position} of the "
                f"journal, which ends at {head or 0} now: the journal was replaced or lost its "
                f"end. Restore it, or run `tamis train {self.project.root}`"
            )

    def _sizes(self) -> list[GateCheck]:
        """Checks of the numbers of items, users and events."""
        until = self.former.manifest.data_until
        held = {"items": len(self.parts.items), "users": len(self.parts.users)}
        held["events"] = len(self.parts.histories)
        now = {"items": len(self.data.items), "users": len(self.data.users)}
        now["events"] = int((self.data.seen & (self.data.events.arrival < until)).sum())
        return size_checks(self.config.gate, held, now)

    def _finished(self, report: UpdateReport, checks: Sequence[GateCheck]) -> UpdateReport:
        """The report with what was measured and noted."""
        seconds = sum(s["seconds"] for s in self.meter.stages.values())
        whole = self._training_seconds()
        return replace(
            report,
            checks=worst_first(checks),
            learnt=self._learnt,
            training=self.meter.report(),
            seconds=seconds,
            share_of_training=seconds / whole if whole else None,
            rejects=self.project.rejects.counts,
            notes=tuple(self.notes),
        )

    def _training_seconds(self) -> float:
        """Seconds of the last `tamis train`, which versions pass on."""
        manifest = self.former.manifest
        passed_on = manifest.update.get("training_seconds")
        if passed_on is not None:
            return float(passed_on)
        stages = manifest.metrics.get("training", {}).values()
        return float(sum(stage.get("seconds") or 0.0 for stage in stages))

    # ------------------------------------------------------------------ learning

    def _learn(self, report: UpdateReport, checks: list[GateCheck]) -> UpdateReport:
        """Makes the candidate, judges it, and goes on from it to the version."""
        stretch = self._stretch()
        new = self._new_rows(stretch)
        former = {"rank": self.parts.rank, "prerank": self.parts.prerank}
        settings = self.former.manifest.settings
        chosen = {stage: _chosen(settings.get(stage, {})) for stage in self.scorers()}
        begun = {stage: _uncalibrated(chosen[stage], former[stage]) for stage in chosen}
        candidate = self._fitted(stretch.cut, new.first, self.parts.space, former, begun)
        self._centre(candidate, new.first, stretch.cut)
        compared = self._judged(stretch, new, candidate)
        self._note_power(compared)
        checks += quality_checks(self.config.gate, compared, self._recorded())
        report = replace(report, quality=compared.to_dict())
        if failed(checks) and not self.force:
            return self._finished(report, checks)
        chosen = self._calibrated(candidate, new.held_out, stretch, chosen)
        made = self._fitted(self.data.end, new.held_out, candidate.space, candidate.scorers, chosen)
        self._centre(made, (*new.first, *new.held_out), self.data.end)
        return self._published(report, checks, made, chosen, stretch)

    def _stretch(self) -> NewStretch:
        """Divides what is new; see the module."""
        manifest, events = self.former.manifest, self.data.events
        since, end = manifest.data_until, self.data.end
        share = 1 - self.config.update.holdout
        times = np.sort(events.time[events.arrival >= since])
        times = times[times >= since]
        cut = int(times[min(int(share * len(times)), len(times) - 1)]) if len(times) else since
        cut = max(cut, since)
        if self.impressions:
            return NewStretch(since, cut, (), end)
        length = manifest.horizon or self.replays.horizon
        begin = int(manifest.update.get("learnt_until", since))
        count = (int(events.time[-1]) + 1 - begin) // length
        if not count:
            days = length / 86_400_000
            self.notes[
                f"the horizon of labels is {days:.2g} days, and less than that has passed since "
                "the ranker learnt last: it keeps its weights for now, and the next update goes on "
                "from there"
            ] = None
            return NewStretch(since, cut, (), begin)
        every = [
            Window(begin + k * length, begin + (k + 1) * length)
            for k in range(max(0, count - self.config.split.windows), count)
        ]
        windows = tuple(w for w in every if self._returns(w))
        cut = windows[-1].start if windows else cut
        return NewStretch(since, cut, windows, begin + count * length)

    def _returns(self, window: Window) -> bool:
        """Whether a user with a history comes back in the window."""
        known = self.data.as_of(window.end)
        return len(returning_users(known, self.replays.histories, window)) > 0

    def _new_rows(self, stretch: NewStretch) -> New:
        """The labelled rows that are new."""
        self.steps.begin("make the new labelled rows")
        with self.meter.stage("new rows") as record:
            if self.impressions:
                first = self._impressions(Window(stretch.since, stretch.cut))
                new = New(first, self._impressions(Window(stretch.cut, self.data.end)))
            else:
                new = self._replayed(stretch)
            record["samples"] = sum(len(part.labels) for _, part in (*new.first, *new.held_out))
        return new

    def _impressions(self, window: Window) -> Labelled:
        """The impressions of a window, with labels as known at its end; empty without any."""
        try:
            found = impression_window(
                self.config,
                self.data.as_of(window.end),
                self.replays.histories,
                window,
                IMPRESSIONS,
                positions=True,
            )
        except TrainingError:
            return ()
        return ((window, found),)

    def _replayed(self, stretch: NewStretch) -> New:
        """Replays of the windows. The last one is held out; if it is the only one, some of its
        users, so that the candidate has something to learn."""
        if not stretch.windows:
            return New((), ())
        quotas = sum(c.quota for c in self.config.cascade.channels.values())
        per_window = self.config.split.max_rows / len(stretch.windows)
        most = int(np.clip(per_window / max(quotas, 1), FEWEST_USERS, REPLAY_USERS))
        found = [
            replay_window(
                self.config,
                self.data.as_of(window.end),
                self.replays.histories,
                self._retrieval(window.start),
                window,
                self.config.seed,
                most_users=most,
            )
            for window in stretch.windows
        ]
        *first, last = zip(stretch.windows, found, strict=True)
        if first:
            return New(first, (last,), last[1].queries.user)
        window, replay = last
        random, users = np.random.default_rng(self.config.seed), len(replay.queries)
        count = max(1, round(self.config.update.holdout * users), min(JUDGED, users // 2))
        held = np.sort(random.permutation(len(replay.queries))[:count])
        kept = np.setdiff1d(np.arange(len(replay.queries)), held)
        if len(kept):
            first.append((window, taken(replay, kept)))
        return New(first, ((window, taken(replay, held)),), replay.queries.user[held])

    def _fitted(
        self,
        cut: int,
        rows: Labelled,
        former_space: FeatureSpace,
        former: Mapping[str, Any],
        chosen: Mapping[str, Chosen],
    ) -> Made:
        """Everything as known at `cut`; scorers go on from `former` with the rows."""
        known = self.data.as_of(cut)
        with self.meter.stage("features"):
            self.steps.begin("fit the features")
            space = FeatureSpace.fit(
                known, former_space.features, config=self.config, former=former_space
            )
        retrieval = self._retrieval(cut)
        scorers: dict[str, Any] = {}
        for stage in self.scorers():
            fit = _ScorerFit(stage, former[stage], chosen[stage], scorers.get("rank"))
            scorers[stage] = self._scorer(fit, space, rows, cut)
        return Made(space, retrieval, known, scorers)

    def _scorer(self, fit: _ScorerFit, space: FeatureSpace, new: Labelled, cut: int) -> Any:
        """A scorer that goes on from a former one, or one that is fitted again."""
        stage, former = fit.stage, fit.former
        scorer = registry.build(stage, stage, getattr(self.config.cascade, stage))
        if not isinstance(former, Estimator) or not isinstance(scorer, type(former)):
            return self._refitted(fit, scorer, space, cut)
        rows = self._stage_rows(stage, space, new, cut)
        if not len(rows):
            self._note_learnt(stage, "carried", 0)
            return scorer.carried(former, rows)
        context = self._context(former, fit.teacher, _one_pass(fit.chosen))
        with self.meter.stage(stage) as record:
            self.steps.begin(f"{stage}: learn {len(rows):,} new rows")
            try:
                scorer.fit(rows, None, tasks_of(self.config), context)
                self.notes |= {f"{stage}: {note}": None for note in scorer.notes}
            except LabelError as error:
                self.notes[f"{stage} keeps its weights: {error}"] = None
                self._note_learnt(stage, "carried", 0)
                return scorer.carried(former, rows)
            record["samples"] = len(rows)
        self._note_learnt(stage, "warm", len(rows))
        return scorer

    def _note_learnt(self, stage: str, how: str, rows: int) -> None:
        """Adds to the report how a stage learnt; what was learnt replaces `carried`."""
        entry = self._learnt.setdefault(stage, {"how": how, "rows": 0})
        entry["rows"] += rows
        if how != "carried":
            entry["how"] = how

    def _stage_rows(self, stage: str, space: FeatureSpace, new: Labelled, cut: int) -> Rows:
        """The labelled rows as a stage reads them; no row, but the right inputs, without any."""
        if not new:
            new = ((Window(cut - 1, cut), self._no_rows(cut)),)
        rows = self._rows(space, join([replay for _, replay in new]))
        if stage == "rank" and len(rows):
            self._covered = RowCoverage.of(space.features, rows)
        return self._read_by(stage, rows, new, cut)

    def _no_rows(self, cut: int) -> Replay:
        """A query without candidates."""
        one, moment = np.zeros(1, np.int32), np.array([cut], np.int64)
        queries = queries_at(self.replays.histories, one, moment)
        nothing = Candidates(np.zeros(2, np.int64), np.zeros(0, np.int32), {})
        return Replay(queries, nothing, np.zeros((0, len(tasks_of(self.config))), np.float32))

    def _refitted(self, fit: _ScorerFit, scorer: Any, space: FeatureSpace, cut: int) -> Any:
        """A scorer that cannot start from a former one, fitted on the rows of all windows."""
        stage = fit.stage
        shown = [w for w in self.replays.windows(serving=True) if w.end <= cut]
        if not shown:
            raise TrainingError(
                f"{stage} {scorer.name!r} cannot start from former weights, and no window of "
                f"[split] ends before the held-out events: run `tamis train {self.project.root}`"
            )
        replay = self.replays.of(shown)
        trained = [(window, self.replays.training(window)) for window in shown]
        rows = self._read_by(stage, self._rows(space, replay), trained, cut)
        with self.meter.stage(stage) as record:
            self.steps.begin(f"{stage}: fit on {len(rows):,} rows")
            context = self._context(None, fit.teacher, fit.chosen, self.replays.negatives)
            scorer.fit(rows, None, tasks_of(self.config), context)
            record["samples"] = len(rows)
        self._learnt[stage] = {"how": "refitted", "rows": len(rows)}
        return scorer

    def _retrieval(self, cut: int) -> Retrieval:
        """Channels and filters fitted on the data known at `cut`.

        Channels go on from those of the latest fit before the cut, which is the serving version's
        at first; none knows anything that came after the cut.
        """
        if cut in self._retrievals:
            return self._retrievals[cut]
        known, since = self.data.as_of(cut), self.former.manifest.data_until
        earlier = [c for c in self._retrievals if since <= c < cut]
        former: Mapping[str, Any] = {}
        context = self._context()
        if earlier:
            former = self._retrievals[max(earlier)].channels
            context = replace(context, since=max(earlier))
        elif cut >= since:
            former = self.parts.channels
            context = replace(context, since=since, former_rows=self.former_rows)
        channels: dict[str, Any] = {}
        likes = known.events.arrival[known.positive]
        new = len(likes) if context.since is None else int((likes >= context.since).sum())
        for name, declared in self.config.cascade.channels.items():
            stage = f"recall:{name}"
            with self.meter.stage(stage) as record:
                self.steps.begin(f"fit recall channel {name}")
                channel = registry.build("recall", name, declared)
                channels[name] = channel.fit(known, replace(context, former=former.get(name)))
                warm = bool(getattr(channels[name], "warm", False))
                record["samples"] = new if warm else len(likes)
            if warm:
                self._note_learnt(stage, "warm", new)
            else:
                self._learnt[stage] = {"how": "refitted", "rows": len(likes)}
        filters = self._stages("filters", self.config.cascade.filters, known)
        self._retrievals[cut] = Retrieval(self.config.cascade, channels, filters)
        return self._retrievals[cut]

    # ------------------------------------------------------------------ judging

    def _judged(self, stretch: NewStretch, new: New, made: Made) -> VersionComparison:
        """The candidate compared with the serving version on what is held out."""
        self.steps.begin("compare with the serving version")
        with self.meter.stage("judge"):
            until = stretch.windows[-1].end if stretch.windows else self.data.end
            parts = self._parts(made.known, made.space, made.retrieval, made.scorers)
            judge = Judge(
                self.data,
                parts,
                self.parts,
                self.former_rows,
                stretch.cut,
                until,
                self.config.seed,
            )
            # Channels of the serving version know what came after an earlier cut.
            fair = stretch.cut >= stretch.since
            slates, tasks = judge.slates(new.users) if fair else None, {}
            if new.held_out:
                ((_, replay),) = new.held_out
                tasks = judge.predictions(as_served(replay), self._hydrate(made.space))
                for name, found in self._calibration(made, new.held_out, stretch.cut).items():
                    if name in tasks:
                        ratio, error = found
                        tasks[name] = replace(
                            tasks[name], calibration=ratio, calibration_error=error
                        )
            protocol = {
                "held out": "the latest new impressions, by time"
                if self.impressions
                else "the last new window"
                if len(stretch.windows) > 1
                else "users of the new window"
                if stretch.windows
                else "the latest new events, by time",
                "cut": str(np.datetime64(stretch.cut, "ms")),
                "slates": "NDCG@10 over users who chose an item after the cut, of "
                + (
                    "the ranked candidates of both versions at the cut, reduced to items that the "
                    "user was shown after it"
                    if self.data.has_impressions
                    else "the slates of both versions at the cut, full catalogue"
                )
                + "; histories and statistics as of the cut, channels and models of the serving "
                "version as they are",
                "predictions": "held-out rows whose users and items both versions know",
                "calibration": "calibrated on one half of the held-out queries and judged on the "
                "other, both ways; the serving version as it is",
                "published": "the version that is published has then learnt what is held out, too",
            }
            return VersionComparison(slates, tasks, protocol)

    def _note_power(self, compared: VersionComparison) -> None:
        """Notes that the gate could not have seen a fall of NDCG, where few users are held out."""
        slates, limit = compared.ndcg, self.config.gate.ndcg_drop
        if slates is None or not slates.serving:
            self.notes["no user of what is held out tells which version's slates are better"] = None
            return
        if slates.users < FEWEST:
            self.notes[
                f"{slates.users:,} users are held out: the gate judges no NDCG of fewer than "
                f"{FEWEST}; update less often, or raise [update] holdout"
            ] = None
            return
        seen = (slates.difference.high - slates.difference.low) / 2 / slates.serving
        if seen > limit:
            self.notes[
                f"{slates.users:,} users are held out: chance hides a fall of NDCG by less than "
                f"{seen:.0%}, so the gate cannot tell whether it fell by more than {limit:.0%} "
                "([gate] ndcg_drop); update less often, or raise [update] holdout"
            ] = None

    def _calibration(
        self, made: Made, held_out: Labelled, cut: int
    ) -> dict[str, tuple[float, float]]:
        """{binary task: (predicted ÷ observed, its relative standard error)} of the ranker on each
        half of the held-out queries, calibrated on the other half; nothing where a half has no
        rows. Queries are the units of the error, as one user may have many of the positives."""
        scorer, ((window, replay),) = made.scorers["rank"], held_out
        if not isinstance(scorer, FrameModel):
            return {}
        number = np.arange(len(replay.queries)) % 2
        halves = [
            self._stage_rows("rank", made.space, ((window, as_served(part)),), cut)
            for part in (taken(replay, np.flatnonzero(number == k)) for k in (0, 1))
        ]
        if not all(len(rows) for rows in halves):
            return {}
        before = scorer.heads, scorer.calibrations, scorer.chosen
        tasks = [(t, task) for t, task in enumerate(scorer.heads.tasks) if task.kind == "binary"]
        sums = {task.name: np.zeros((2, len(replay.queries))) for _, task in tasks}
        for fitted, judged in (halves, halves[::-1]):
            scorer.calibrations = before[1]
            _calibrated_on(scorer, replace(fitted, weights=None))
            predicted = scorer.score_rows(judged)
            assert judged.labels is not None
            assert judged.groups is not None
            for t, task in tasks:
                label = judged.labels[:, t]
                known = ~np.isnan(label)
                for k, values in enumerate((predicted[task.name], label)):
                    np.add.at(sums[task.name][k], judged.groups[known], values[known])
        scorer.heads, scorer.calibrations, scorer.chosen = before
        found: dict[str, tuple[float, float]] = {}
        for name, (ours, observed) in sums.items():
            if observed.sum() > 0:
                ratio = float(ours.sum() / observed.sum())
                spread = float(np.sqrt(((ours - ratio * observed) ** 2).sum()))
                found[name] = ratio, spread / max(float(ours.sum()), 1e-12)
        return found

    def _hydrate(self, space: FeatureSpace) -> Hydrate:
        statistics = OfflineStatistics(self.data, recipes=space.recipes)
        return Hydrate(space, statistics, raw_numbers(self.config, self.data.items))

    def _recorded(self) -> dict[str, float]:
        """{task: AUC} that the serving version reached when it was made, where it was judged."""
        manifest = self.former.manifest
        tasks = manifest.update.get("quality", {}).get("tasks", {})
        found = {
            name: one["auc"]
            for name, one in tasks.items()
            if one.get("auc") is not None and is_judged(one.get("rarer"))
        }
        every = tasks_of(self.config)
        at_training = manifest.metrics.get("validation", {}).get("rank", {})
        if not found and len(every) == 1 and "auc" in at_training:
            found = {every[0].name: at_training["auc"]}
        return found

    def _calibrated(
        self, made: Made, held_out: Labelled, stretch: NewStretch, chosen: Mapping[str, Chosen]
    ) -> dict[str, Chosen]:
        """What training chose, with calibrations of the candidate on what is held out, and the
        scales of its logits, to which they belong."""
        found = dict(chosen)
        self.steps.begin("calibrate on what is held out")
        served = [(w, replace(as_served(replay), weights=None)) for w, replay in held_out]
        with self.meter.stage("calibrate"):
            for stage, scorer in made.scorers.items():
                if not isinstance(scorer, FrameModel):
                    continue
                learnt: dict[str, Any] = {"scales": scorer.scales or (1.0,) * scorer.heads.n_logits}
                if served:
                    rows = self._stage_rows(stage, made.space, served, stretch.cut)
                    new = _calibrated_on(scorer, rows)
                    learnt |= {"calibrations": new.calibrations, "seconds": new.seconds}
                else:
                    learnt["calibrations"] = scorer.calibrations
                found[stage] = found[stage].model_copy(update=learnt)
        return found

    def _centre(self, made: Made, new: Labelled, cut: int) -> None:
        """Corrects the intercepts on new rows, of replayed windows on the newest ones: their rates
        differ, and the last pass may have seen few of them. `cut` is that of `made`."""
        newest = new if self.impressions else _newest(new)
        served = [(w, replace(as_served(replay), weights=None)) for w, replay in newest]
        former = {"rank": self.parts.rank, "prerank": self.parts.prerank}
        for stage, scorer in made.scorers.items():
            if served and isinstance(scorer, Estimator) and self._learnt[stage]["how"] == "warm":
                rows = self._stage_rows(stage, made.space, served, cut)
                before = registry.build(stage, stage, getattr(self.config.cascade, stage))
                scorer.centre_on(rows, before.carried(former[stage], rows))

    # ------------------------------------------------------------------ publishing

    def _published(
        self,
        report: UpdateReport,
        checks: list[GateCheck],
        made: Made,
        chosen: Mapping[str, Chosen],
        stretch: NewStretch,
    ) -> UpdateReport:
        """Writes the version, tries it out, and publishes it unless a check fails."""
        versions, manifest = Versions(self.project.root), self.former.manifest
        known, forced = made.known, False
        journal = self.project.journal_data
        try:
            with self.meter.stage("write"), versions.write(Kind.SERVING) as draft:
                self.steps.begin("write the version")
                parts = self._parts(known, made.space, made.retrieval, made.scorers)
                draft.code, draft.data_from = __version__, int(known.events.time.min())
                draft.data_until = known.end
                draft.horizon = manifest.horizon or self.replays.horizon
                draft.journal_position = None if journal is None else journal.position
                new = {stage: values.to_dict() for stage, values in chosen.items()}
                draft.settings = manifest.settings | new
                draft.metrics = {
                    **manifest.metrics,
                    "training": self.meter.report(),
                    "coverage": self._covered or manifest.metrics.get("coverage", {}),
                }
                parts.save(draft)
                self.steps.begin("try the version out")
                trial = try_out(
                    draft.preview(),
                    Recommender(self.former),
                    self.config.gate.requests,
                    self.config.seed,
                )
                checks += request_checks(self.config.gate, trial)
                forced = bool(failed(checks))
                if forced and not self.force:
                    raise _RefusedError
                draft.update = self._record(report, checks, stretch, forced)
        except _RefusedError:
            return self._finished(report, checks)
        version = versions.open(draft.name)
        publish(self.project, version)
        done = replace(report, version=version.name, forced=forced)
        return self._finished(done, checks)

    def _record(
        self, report: UpdateReport, checks: Sequence[GateCheck], stretch: NewStretch, forced: bool
    ) -> dict[str, Any]:
        """What the manifest keeps of the update."""
        return {
            "from": self.former.name,
            "new_events": report.new_events,
            "learnt": self._learnt,
            "learnt_until": stretch.learnt_until,
            "training_seconds": self._training_seconds(),
            "data": _finite(report.data),
            "quality": _finite(report.quality),
            "checks": [check.to_dict() for check in worst_first(checks)],
            "forced": forced,
        }


def _newest(new: Labelled) -> Labelled:
    """The latest windows that hold at least ENOUGH positive labels of the first task together, or
    all of them."""
    found: list[tuple[Window, Replay]] = []
    positives = 0
    for window, replay in sorted(new, key=lambda one: one[0], reverse=True):
        if positives >= ENOUGH and window != found[0][0]:
            break
        found.insert(0, (window, replay))
        positives += int((replay.labels[:, 0] > 0).sum())
    return found


def changed_keys(former: ProjectConfig, now: ProjectConfig) -> list[str]:
    """The sections and keys that differ between two declarations and that weights rest on."""
    keys = [key for key in type(now).model_fields if key not in FREE]
    found = [f"[{key}]" for key in keys if getattr(former, key) != getattr(now, key)]
    for key in type(now.cascade).model_fields:
        if key not in FREE_OF_CASCADE and getattr(former.cascade, key) != getattr(now.cascade, key):
            found.append(f"[cascade] {key}")
    return found


def _chosen(settings: Mapping[str, Any]) -> Chosen:
    """What training chose for a stage, as its manifest holds it."""
    return Chosen.from_dict({k: v for k, v in settings.items() if k in Chosen.model_fields})


def _uncalibrated(chosen: Chosen, former: Any) -> Chosen:
    """The same for a fit that goes on from `former` and fits the lines of its log-odds to its rows:
    calibrations of the former ones would correct them twice."""
    if not isinstance(former, Estimator) or former.orders_only:
        return chosen
    return chosen.model_copy(update={"calibrations": (), "scales": ()})


def _calibrated_on(scorer: FrameModel, rows: Rows) -> Chosen:
    """What the scorer has chosen, with calibrations on held-out rows; tasks of which these hold few
    labels of either class keep those that they have (none after a fit from a former one, whose line
    takes their place), unless only the order was learnt."""
    before = scorer.calibrations or (Calibration(),) * len(scorer.heads.tasks)
    new = scorer.calibrate_on(rows)
    if rows.labels is None or scorer.orders_only or not scorer.calibrations:
        return new
    maps = list(scorer.calibrations)
    for t, _ in scorer.heads.rates:
        if scorer.heads.few(t, rows.labels):
            maps[t] = before[t]
    scorer.calibrations = tuple(maps)
    return new.model_copy(update={"calibrations": tuple(maps)})


def _one_pass(chosen: Chosen) -> Chosen:
    """The same for a fit of one pass over the rows."""
    return chosen.model_copy(update={"epochs": 1, "decay_after": ()})


def _finite(value: Any) -> Any:
    """JSON values; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value
