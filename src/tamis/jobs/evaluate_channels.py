"""The recall channels judged one by one, together, and together without each, by a protocol."""

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
    FitContext,
    Queries,
    Recalled,
    Retrieval,
    Valid,
    holdout_queries,
    valid_of,
)
from tamis.data import Dataset, read_dataset
from tamis.evaluate import (
    event_counts,
    figures,
    overlap,
    paired_bootstrap,
    spread,
    write_channel_report,
)
from tamis.runtime import Meter, Progress, resident_mb
from tamis.schema import ConfigError, ProjectConfig
from tamis.service import ProjectFolder, registry
from tamis.splitting import Holdout, by_time, given, leave_one_out

PROTOCOLS = ("time", "leave-one-out", "leave-one-out-refit", "given")
KS = (10, 50)
"""List lengths that are judged."""
DEPTH = max(KS)
BLOCK = 1024
"""Queries asked at once."""
MOST_USERS = 50_000
"""Users asked; of more, as many are drawn at random."""
STOP_USERS = 10_000
"""Users whose validation items a fit may be stopped by."""
WARM = 32
"""Queries asked before the clock runs."""
MERGED = ""
"""The name of all channels together, which no channel has."""


@dataclass(frozen=True)
class ChannelEvaluation:
    """The result of `tamis evaluate --channels`."""

    result: dict[str, Any]
    """The JSON; docs/evaluation.md says what each key means."""
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
    mask_seen: bool = True,
    report: Path | str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> ChannelEvaluation:
    """Fits every channel of `tamis.toml` on a protocol's train part and judges its lists.

    protocol: time (the test cut of [split]), leave-one-out (strict: the validation item is not
    trained on), leave-one-out-refit (it is), or given (`train` and `test`: event files with the
    columns of [events], as text relative to the project). mask_seen: items that the user has seen
    may not be recalled. Nothing that was trained before is used, no filter and no ranker.

    Raises ConfigError for an unknown protocol or missing files, DataError where nothing is
    held out.
    """
    found = ProjectFolder(Path(project))
    with Progress("evaluate channels", progress) as steps:
        steps.begin("read the tables")
        holdout, valid = _questions(found, protocol, train, test, mask_seen)
        judge = _Judge(found.config, holdout, valid, steps, device)
        result = judge.run(protocol, mask_seen)
        steps.begin("write the report")
        path = Path(report) if report is not None else found.root / "channels.html"
        write_channel_report(result, path)
    return ChannelEvaluation(result, path)


def _questions(
    found: ProjectFolder,
    protocol: str,
    train: Path | str | None,
    test: Path | str | None,
    mask_seen: bool,
) -> tuple[Holdout, Valid | None]:
    """The protocol's questions; and those that fits stop by, where they are not trained on."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol = {protocol!r}: it is one of {', '.join(PROTOCOLS)}")
    if (protocol == "given") != (train is not None and test is not None):
        raise ConfigError(
            'protocol = "given" takes two event files, train and test; the others take none: '
            "tamis evaluate DIR --channels --protocol given --train train.csv --test test.csv"
        )
    valid: Valid | None = None
    if protocol == "time":
        holdout = by_time(found.data, found.config.split.test_from, repeats=not mask_seen)
    elif protocol == "given":
        holdout = given(*_two_logs(found, str(train), str(test)))
    else:
        holdout = leave_one_out(found.data, refit=protocol == "leave-one-out-refit")
        if protocol == "leave-one-out":
            stops = leave_one_out(found.data, "valid").sample(STOP_USERS, found.config.seed)
            valid = valid_of(stops, mask_seen)
    return holdout.sample(MOST_USERS, found.config.seed), valid


def _two_logs(found: ProjectFolder, train: str, test: str) -> tuple[Dataset, Dataset]:
    """Both files in the same rows; users that only one of them knows are in both tables."""

    def read(path: str, former: Dataset | None = None) -> Dataset:
        events = found.config.events.model_copy(update={"path": path})
        config = found.config.model_copy(update={"events": events})
        return read_dataset(config, found.root, former=former)[0]

    first = read(train)
    second = read(test, first)
    return replace(first, users=second.users, items=second.items), second


class _Judge:
    """Fits the channels, then asks them block by block, alone and merged."""

    def __init__(
        self,
        config: ProjectConfig,
        holdout: Holdout,
        valid: Valid | None,
        steps: Progress,
        device: str,
    ) -> None:
        self.config, self.cascade, self.holdout, self.steps = config, config.cascade, holdout, steps
        self.context = FitContext(
            seed=config.seed,
            device=device,
            features=config.features,
            items=config.items,
            users=config.users,
            valid=valid,
        )
        self.names = list(self.cascade.channels)
        self.meter = Meter()
        self.seconds = dict.fromkeys(self.names, 0.0)
        n = len(holdout)
        self.lists = {name: np.full((n, DEPTH), -1, np.int32) for name in [*self.names, MERGED]}
        """Each query's first DEPTH items, by channel and of all merged."""
        self.share = {name: np.zeros(n) for name in [*self.names, MERGED]}
        """The share of the query's targets in the merge without the channel, and in the whole."""
        self.near = {name: np.zeros(n) for name in self.share}
        """The same of its first DEPTH items."""
        self.candidates = 0

    def run(self, protocol: str, mask_seen: bool) -> dict[str, Any]:
        channels = {name: self._fitted(name) for name in self.names}
        queries = holdout_queries(self.holdout, mask_seen)
        self._ask(channels, queries)
        self.steps.begin("judge the lists")
        counts = event_counts(self.holdout.train)
        figured = {
            name: figures(lists, self.holdout.targets, KS) | spread(lists, counts, KS)
            for name, lists in self.lists.items()
        }
        alone = {name: self.lists[name] for name in self.names}
        return {
            "project": self.config.name,
            "protocol": self._protocol(protocol, mask_seen, counts),
            "channels": {name: figured[name] | self._cost(name) for name in self.names},
            "merged": figured[MERGED] | self._merged(),
            "overlap": {
                "at": DEPTH,
                "names": self.names,
                "matrix": overlap(alone, len(counts)).tolist(),
            },
        }

    def _fitted(self, name: str) -> Channel:
        """A new channel on the train part, its time and memory noted."""
        channel: Channel = registry.build("recall", name, self.cascade.channels[name])
        before = resident_mb()
        with self.meter.stage(name) as noted:
            self.steps.begin(f"fit recall channel {name}")
            channel.fit(self.holdout.train, self.context)
            noted["samples"] = int(self.holdout.train.positive.sum())
        self.meter.stages[name]["peak_mb"] -= min(before, self.meter.stages[name]["peak_mb"])
        return channel

    def _ask(self, channels: Mapping[str, Channel], queries: Queries) -> None:
        """Fills lists, shares and seconds."""
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
        """All together, and all but each."""
        for name in self.share:
            others = {n: lists for n, lists in found.items() if n != name}
            if not others:  # without the only channel there is nothing, and nothing is found
                continue
            declared = {n: c for n, c in self.cascade.channels.items() if n != name}
            cascade = self.cascade.model_copy(update={"channels": declared})
            merged = Retrieval(cascade, {}, {}).merge(others)
            self.share[name][begin:end], self.near[name][begin:end] = self._found(
                merged, begin, end
            )
            if name == MERGED:
                self.lists[name][begin:end] = merged.matrix(DEPTH)
                self.candidates += len(merged)

    def _found(
        self, merged: Candidates, begin: int, end: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(queries,) the share of each one's targets among its candidates, and its first DEPTH."""
        targets = self.holdout.targets
        query, sizes = merged.query, np.diff(targets.indptr[begin : end + 1])
        hit = targets.contains(query + begin, merged.item)
        first = np.arange(len(merged)) - merged.indptr[query] < DEPTH
        found = np.bincount(query[hit], minlength=end - begin) / sizes
        return found, np.bincount(query[hit & first], minlength=end - begin) / sizes

    def _cost(self, name: str) -> dict[str, Any]:
        """What a channel brings to the merge, and what it costs."""
        declared, spent = self.cascade.channels[name], self.meter.report().get(name, {})
        seed = self.config.seed
        lost = paired_bootstrap(self.share[MERGED], self.share[name], seed=seed)
        near = paired_bootstrap(self.near[MERGED], self.near[name], seed=seed)
        return {
            "quota": declared.quota,
            "marginal": lost.to_dict(),
            f"marginal@{DEPTH}": near.to_dict(),
            "users_per_second": len(self.holdout) / max(self.seconds[name], 1e-9),
            "fit_seconds": spent.get("seconds"),
            "fit_mb": spent.get("peak_mb"),
        }

    def _merged(self) -> dict[str, Any]:
        rule = self.cascade.merge
        return {
            "recall@limit": float(self.share[MERGED].mean()),
            "limit": rule.limit,
            "candidates": self.candidates / len(self.holdout),
            "method": rule.method,
        }

    def _protocol(
        self, protocol: str, mask_seen: bool, counts: NDArray[np.int64]
    ) -> dict[str, Any]:
        """What was done, in words and numbers."""
        targets = self.holdout.targets.values
        valid = self.context.valid is not None
        return {
            "name": protocol,
            "words": self.holdout.protocol,
            "users": len(self.holdout),
            "trained_on": f"{len(self.holdout.train.events):,} events; every channel fitted anew, "
            "with the options of tamis.toml",
            "stopped_by": "the validation items, which are not trained on"
            if valid
            else "what each channel holds out of the train part by itself",
            "candidates": f"full catalogue, {len(counts):,} items",
            "seen_masked": mask_seen,
            "targets": len(targets),
            "cold_targets": float((counts[targets] == 0).mean()),
            "cold": "targets without an event in the train part count as misses",
            "lists": f"judged at {' and '.join(map(str, KS))}; no filter and no ranker",
            "marginal": f"recall of the merge's whole list (and of its first {DEPTH}) with the "
            "channel less that without it, 95 % interval over users",
            "speed": f"{BLOCK} users at once, each channel's quota",
            "seed": self.config.seed,
            "tamis": __version__,
        }
