"""`tamis evaluate channels`: each channel alone, all merged, and the merge without each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.cascade import (
    Candidates,
    Channel,
    Filter,
    FitContext,
    Queries,
    Recalled,
    Retrieval,
    Valid,
    holdout_queries,
)
from tamis.data import Dataset, read_dataset
from tamis.evaluate import (
    accuracy,
    catalogue_metrics,
    event_counts,
    overlap,
    paired_bootstrap,
    write_channel_report,
)
from tamis.jobs._known_items import (
    known_items,
    known_share,
    listing,
    masking,
    without_masked,
)
from tamis.jobs._logged_rejections import logged_rejections
from tamis.jobs._rejections import none_yet, read_rejections
from tamis.runtime import Meter, Progress, resident_mb
from tamis.schema import ConfigError, DataError
from tamis.service import ProjectFolder, registry
from tamis.splitting import Holdout, by_time, given, leave_one_out
from tamis.train import check_device

PROTOCOLS = ("time", "leave-one-out", "leave-one-out-refit", "given")
KS = (10, 50)
"""List lengths of the metrics."""
DEPTH = max(KS)
BLOCK = 1024
"""Queries recalled in one batch."""
MOST_USERS = 50_000
"""Most users evaluated; of more, so many are drawn at random."""
STOP_USERS = 10_000
"""Most users whose validation items stop a fit."""
WARM = 32
"""Queries recalled before the time is measured."""
MERGED = ""
"""Key of the merge of all channels; no channel has this name."""


@dataclass(frozen=True)
class ChannelEvaluation:
    """The result of `tamis evaluate channels`."""

    result: dict[str, Any]
    """The JSON; docs/evaluation.md describes each key."""
    report: Path
    """The HTML report."""

    def to_dict(self) -> dict[str, Any]:
        return self.result


def evaluate_channels(
    project: Path | str,
    *,
    protocol: str = "time",
    train: Path | str | None = None,
    test: Path | str | None = None,
    mask_seen: bool | None = None,
    report: Path | str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> ChannelEvaluation:
    """Fits every channel of `tamis.toml` on a protocol's training part and evaluates its lists.

    No trained version and no ranker is used.

    Args:
        project: folder with a `tamis.toml`.
        protocol: "time" (the test cut of [split]), "leave-one-out" (strict: the validation item is
            not trained on), "leave-one-out-refit" (it is trained on), or "given".
        train, test: with "given", event files with the columns of [events]; relative paths are
            relative to the project.
        mask_seen: whether items that the user knows are left out of the lists; None: those that
            the project's filters list in advance (`seen`, `bought`, `hidden`).
        report: file of the HTML report; None for `channels.html` in the project.
        device: where models train: "cpu", "cuda", …
        progress: whether progress is shown on standard error.

    Raises ConfigError for an unknown protocol or missing files, DataError if nothing is held out.
    """
    found = ProjectFolder(Path(project))
    _ = check_device(device)
    with Progress("evaluate channels", progress) as steps:
        steps.begin("read the tables")
        holdout, valid = _split(found, protocol, train, test, mask_seen)
        evaluator = ChannelEvaluator(found, protocol, holdout, valid, steps, device, mask_seen)
        result = evaluator.run()
        steps.begin("write the report")
        path = Path(report) if report is not None else found.root / "channels.html"
        write_channel_report(result, path)
    return ChannelEvaluation(result, path)


def _split(
    found: ProjectFolder,
    protocol: str,
    train: Path | str | None,
    test: Path | str | None,
    mask_seen: bool | None,
) -> tuple[Holdout, Holdout | None]:
    """(the held-out users and items, those that stop the fits; None if the protocol has none)."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol = {protocol!r}: give one of {', '.join(PROTOCOLS)}")
    if (protocol == "given") != (train is not None and test is not None):
        raise ConfigError(
            'protocol = "given" takes two event files, train and test; the others take none: '
            "tamis evaluate channels DIR --protocol given --train train.csv --test test.csv"
        )
    valid: Holdout | None = None
    if protocol == "time":
        holdout = by_time(found.data, found.config.split.test_from, repeats=mask_seen is not True)
    elif protocol == "given":
        holdout = given(*_two_logs(found, str(train), str(test)))
    else:
        holdout = leave_one_out(found.data, refit=protocol == "leave-one-out-refit")
        if protocol == "leave-one-out":
            valid = leave_one_out(found.data, "valid").sample(STOP_USERS, found.config.seed)
    return holdout.sample(MOST_USERS, found.config.seed), valid


def _two_logs(found: ProjectFolder, train: str, test: str) -> tuple[Dataset, Dataset]:
    """Both files as data sets with the same row numbers of users and items."""

    def read(path: str, former: Dataset | None = None) -> Dataset:
        events = found.config.events.model_copy(update={"path": path})
        config = found.config.model_copy(update={"events": events})
        return read_dataset(config, found.root, former=former)[0]

    first = read(train)
    second = found.with_text(read(test, first))
    return replace(first, users=second.users, items=second.items), second


class ChannelEvaluator:
    """Fits the channels, then recalls from them batch by batch, alone and merged."""

    def __init__(
        self,
        project: ProjectFolder,
        protocol: str,
        holdout: Holdout,
        valid: Holdout | None,
        steps: Progress,
        device: str,
        mask_seen: bool | None,
    ) -> None:
        config, root, timed = project.config, project.root, protocol == "time"
        self.config, self.cascade, self.steps = config, config.cascade, steps
        self.protocol, self.mask_seen = protocol, mask_seen
        self.context = FitContext(
            seed=config.seed,
            device=device,
            features=config.features,
            items=config.items,
            users=config.users,
            config=config,
            folder=root,
            # Those of a training by time have seen what other protocols hold out.
            rejected=read_rejections(root) if timed else none_yet(config),
            rejected_live=logged_rejections(project, project.data.end) if timed else None,
        )
        self.filters = self._fitted_filters(holdout.train)
        self.masked_by = listing(self.filters, holdout_queries(holdout, False, slice(0, 1)))
        if valid is not None:
            self.context = replace(self.context, valid=Valid(self._queries(valid), valid.targets))
        self.holdout, self.queries = self._held_out(holdout)
        self.names = list(self.cascade.channels)
        self.meter = Meter()
        self.seconds = dict.fromkeys(self.names, 0.0)
        n = len(self.holdout)
        self.lists = {name: np.full((n, DEPTH), -1, np.int32) for name in [*self.names, MERGED]}
        """{channel or MERGED: (Q, DEPTH) first items of each query}."""
        self.recall_without = {name: np.zeros(n) for name in [*self.names, MERGED]}
        """{channel: (Q,) recall of the merge without it}; MERGED: recall of the whole merge."""
        self.recall_near = {name: np.zeros(n) for name in self.recall_without}
        """The same for the first DEPTH items of the merge."""
        self.candidates = 0

    def _fitted_filters(self, train: Dataset) -> dict[str, Filter]:
        """The project's filters; none where `mask_seen` says what is masked."""
        if self.mask_seen is not None:
            return {}
        return {
            name: registry.build("filters", name, stage).fit(train, self.context)
            for name, stage in self.cascade.filters.items()
        }

    def _queries(self, holdout: Holdout) -> Queries:
        """The queries of a holdout with the items that may not be recalled."""
        queries = holdout_queries(holdout, self.mask_seen is True)
        return Retrieval(self.cascade, {}, self.filters).with_exclusions(queries)

    def _held_out(self, holdout: Holdout) -> tuple[Holdout, Queries]:
        """The holdout and its queries; of a split by time, without targets that are masked.

        In the other protocols these are misses, as in publications. Raises DataError where no
        target is left.
        """
        queries = self._queries(holdout)
        if not self.masked_by or self.protocol != "time":
            return holdout, queries
        part = without_masked(holdout, queries.exclude)
        if not len(part):
            raise DataError(
                f"the filters {', '.join(self.masked_by)} remove every held-out item: nothing is "
                "left to evaluate. Name their `behaviours`, or give mask_seen=False (--keep-seen)"
            )
        return part, self._queries(part)

    def run(self) -> dict[str, Any]:
        channels = {name: self._fitted(name) for name in self.names}
        self._recall(channels, self.queries)
        self.steps.begin("evaluate the lists")
        counts = event_counts(self.holdout.train)
        metrics = {
            name: accuracy(lists, self.holdout.targets, KS) | catalogue_metrics(lists, counts, KS)
            for name, lists in self.lists.items()
        }
        alone = {name: self.lists[name] for name in self.names}
        return {
            "project": self.config.name,
            "protocol": self._protocol(counts),
            "channels": {name: metrics[name] | self._cost(name) for name in self.names},
            "merged": metrics[MERGED] | self._merged(),
            "overlap": {
                "at": DEPTH,
                "names": self.names,
                "matrix": overlap(alone, len(counts)).tolist(),
            },
        }

    def _fitted(self, name: str) -> Channel:
        """A channel fitted on the training part; its time and memory are recorded."""
        channel: Channel = registry.build("recall", name, self.cascade.channels[name])
        before = resident_mb()
        with self.meter.stage(name) as record:
            self.steps.begin(f"fit recall channel {name}")
            channel.fit(self.holdout.train, self.context)
            record["samples"] = int(self.holdout.train.positive.sum())
        self.meter.stages[name]["peak_mb"] -= min(before, self.meter.stages[name]["peak_mb"])
        return channel

    def _recall(self, channels: Mapping[str, Channel], queries: Queries) -> None:
        """Recalls for all queries: fills the lists, their recall, and the seconds."""
        depth = {name: max(c.quota, DEPTH) for name, c in self.cascade.channels.items()}
        for name, channel in channels.items():
            channel.recall(queries.part(0, min(WARM, len(queries))), depth[name])
        self.steps.begin(f"recall for {len(queries):,} users")
        for begin in range(0, len(queries), BLOCK):
            end = min(begin + BLOCK, len(queries))
            part = queries.part(begin, end)
            found: dict[str, Recalled] = {}
            for name, channel in channels.items():
                start = perf_counter()
                found[name] = channel.recall(part, depth[name])
                self.seconds[name] += perf_counter() - start
                self.lists[name][begin:end] = found[name].item[:, :DEPTH]
            self._merge(found, begin, end)
            self.steps.update(end, len(queries))

    def _merge(self, found: Mapping[str, Recalled], begin: int, end: int) -> None:
        """Merges a batch of all channels, and of all but each."""
        for name in self.recall_without:
            others = {n: lists for n, lists in found.items() if n != name}
            if not others:  # without the only channel, nothing is recalled
                continue
            declared = {n: c for n, c in self.cascade.channels.items() if n != name}
            cascade = self.cascade.model_copy(update={"channels": declared})
            merged = Retrieval(cascade, {}, {}).merge(others)
            self.recall_without[name][begin:end], self.recall_near[name][begin:end] = (
                self._recall_of(merged, begin, end)
            )
            if name == MERGED:
                self.lists[name][begin:end] = merged.matrix(DEPTH)
                self.candidates += len(merged)

    def _recall_of(
        self, merged: Candidates, begin: int, end: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """((Q,) recall of each query's candidates, (Q,) recall of its first DEPTH candidates)."""
        targets = self.holdout.targets
        query, sizes = merged.query, np.diff(targets.indptr[begin : end + 1])
        hit = targets.contains(query + begin, merged.item)
        first = np.arange(len(merged)) - merged.indptr[query] < DEPTH
        found = np.bincount(query[hit], minlength=end - begin) / sizes
        return found, np.bincount(query[hit & first], minlength=end - begin) / sizes

    def _cost(self, name: str) -> dict[str, Any]:
        """What a channel adds to the recall of the merge, and what it costs."""
        declared, spent = self.cascade.channels[name], self.meter.report().get(name, {})
        seed = self.config.seed
        whole = paired_bootstrap(self.recall_without[MERGED], self.recall_without[name], seed=seed)
        near = paired_bootstrap(self.recall_near[MERGED], self.recall_near[name], seed=seed)
        return {
            "quota": declared.quota,
            "marginal": whole.to_dict(),
            f"marginal@{DEPTH}": near.to_dict(),
            "users_per_second": len(self.holdout) / max(self.seconds[name], 1e-9),
            "fit_seconds": spent.get("seconds"),
            "fit_mb": spent.get("peak_mb"),
        }

    def _merged(self) -> dict[str, Any]:
        rule = self.cascade.merge
        return {
            "recall@limit": float(self.recall_without[MERGED].mean()),
            "limit": rule.limit,
            "candidates": self.candidates / len(self.holdout),
            "method": rule.method,
        }

    def _protocol(self, counts: NDArray[np.int64]) -> dict[str, Any]:
        """A description of the protocol, for the report."""
        targets = self.holdout.targets.values
        known = known_items(self.queries, self.holdout.known)
        masked = masking(known, self.queries.exclude, self.masked_by)
        if self.mask_seen is not None:
            what = "seen items" if self.mask_seen else "nothing"
            masked = {"masked": what, "seen_masked": self.mask_seen}
        valid = self.context.valid is not None
        return {
            "name": self.protocol,
            "words": self.holdout.protocol,
            "users": len(self.holdout),
            "trained_on": f"{len(self.holdout.train.events):,} events; every channel fitted anew, "
            "with the options of tamis.toml",
            "stopped_by": "the validation items, which are not trained on"
            if valid
            else "rows that each channel holds out of the training part",
            "candidates": f"full catalogue, {len(counts):,} items",
            **masked,
            "known_targets": known_share(known, self.holdout.targets),
            "targets": len(targets),
            "cold_targets": float((counts[targets] == 0).mean()),
            "cold": "targets without an event in the train part count as misses",
            "lists": f"evaluated at {' and '.join(map(str, KS))}; no filter and no ranker",
            "marginal": f"recall of the merged list (and of its first {DEPTH} items) with the "
            "channel minus that without it, 95 % interval over users",
            "speed": f"{BLOCK} users per batch, each channel's quota",
            "seed": self.config.seed,
            "tamis": __version__,
        }
