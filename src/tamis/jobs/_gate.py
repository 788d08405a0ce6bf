"""The gate before a publication: figures of a new version against thresholds of `tamis.toml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, sqrt
from typing import Any

from tamis.jobs._data_watch import DataWatch
from tamis.jobs._judge import SlateComparison, TaskComparison, VersionComparison
from tamis.jobs._trial_requests import TrialResult
from tamis.schema import GateConfig

QUALITY, DATA, SIZE, REQUESTS = "quality", "data", "size", "requests"


LEAST_GAIN = 0.1
"""Of an NDCG, the least share that counts as better than a random order."""
FEWEST = 10
"""Rows of the rarer class of a task below which its AUC, and the error of it, are chance; users
below which their NDCG is."""


@dataclass(frozen=True)
class GateCheck:
    """One figure of the gate, and whether it is within its threshold."""

    kind: str
    """quality, data, size or requests."""
    name: str
    figure: float
    """What was measured; NaN: it could not be."""
    key: str
    """The key of [gate] that holds the threshold."""
    limit: float
    passed: bool
    text: str
    """What the figure is, in words."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a figure that is not finite is None."""
        return {**vars(self), "figure": self.figure if isfinite(self.figure) else None}

    def __str__(self) -> str:
        return f"{self.text} ([gate] {self.key} = {self.limit:g})"


def is_judged(rarer: float | None) -> bool:
    """Whether an AUC of so many rows of the rarer class is more than chance; None: there are no
    classes."""
    return rarer is None or rarer >= FEWEST


def failed(checks: Iterable[GateCheck]) -> list[GateCheck]:
    """The checks that did not pass."""
    return [check for check in checks if not check.passed]


def data_checks(gate: GateConfig, watch: DataWatch) -> list[GateCheck]:
    """Checks of the new events, before anything is fitted."""
    ratio = watch.per_hour / watch.per_hour_before if watch.per_hour_before else float("nan")
    most = gate.events_ratio
    rate = GateCheck(
        DATA,
        "events per hour",
        ratio,
        "events_ratio",
        most,
        not isfinite(ratio) or 1 / most <= ratio <= most,
        f"{watch.per_hour:,.1f} events per hour, {watch.per_hour_before:,.1f} in an equally long "
        "time before" + (f": {ratio:,.3g} times as many" if isfinite(ratio) else ""),
    )
    unknown = [
        GateCheck(
            DATA,
            f"unknown {name}",
            share,
            f"unknown_{name}",
            limit,
            share <= limit,
            f"{share:.1%} of the new events are of {name} that the serving version does not know",
        )
        for name, share, limit in (
            ("users", watch.unknown_users, gate.unknown_users),
            ("items", watch.unknown_items, gate.unknown_items),
        )
    ]
    missing = [
        GateCheck(
            DATA,
            f"missing {name}",
            one.missing,
            "missing_rise",
            gate.missing_rise,
            one.missing - one.missing_before <= gate.missing_rise,
            f"{one.missing:.1%} of the new events have no value of {name}, {one.missing_before:.1%}"
            " of those before",
        )
        for name, one in watch.features.items()
    ]
    drift = [
        GateCheck(
            DATA,
            f"drift of {name}",
            one.psi,
            "psi",
            gate.psi,
            one.psi <= gate.psi,
            f"the population stability index of {name} is {one.psi:.3f}: {one.how}",
        )
        for name, one in watch.features.items()
        if one.psi is not None
    ]
    return [rate, *unknown, *missing, *drift]


def size_checks(
    gate: GateConfig, before: Mapping[str, int], now: Mapping[str, int]
) -> list[GateCheck]:
    """Checks of {"items" | "users" | "events": number} before and now."""
    found: list[GateCheck] = []
    for name, old in before.items():
        drop = 1 - now[name] / old if old else 0.0
        text = f"{now[name]:,} {name}, the serving version has {old:,}"
        ok = drop <= gate.size_drop
        found.append(GateCheck(SIZE, name, drop, "size_drop", gate.size_drop, ok, text))
    return found


def quality_checks(
    gate: GateConfig, compared: VersionComparison, recorded: Mapping[str, float]
) -> list[GateCheck]:
    """Checks of the new version's quality on what both versions have not learnt from.

    recorded: {task: AUC} when the task was last judged.
    """
    checks: list[GateCheck] = []
    checks += _slate_checks(gate, compared)
    for name, task in compared.tasks.items():
        checks += _auc_checks(gate, name, task, recorded.get(name))
        if task.calibration is not None and isfinite(task.calibration):
            # Of n positives, half fit the calibration and half judge it: the logarithm of the
            # ratio has a standard error of √(2 / n), or more where few queries have many of them.
            error = max(1 / sqrt(max(task.positives, 1.0)), task.calibration_error or 0.0)
            distance = _log_distance(task.calibration)
            limit = log(1 + gate.calibration) + 2 * sqrt(2) * error
            serving = task.serving_calibration
            worse = serving is None or distance > _log_distance(serving)
            text = f"predicted ÷ observed {name} is {task.calibration:.3f}"
            text += f" ({task.positives:,.0f} positives)"
            text += "" if serving is None else f", that of the serving version {serving:.3f}"
            if log(1 + gate.calibration) < distance <= limit:
                text += "; so few positives may be off by as much by chance"
            checks.append(
                GateCheck(
                    QUALITY,
                    f"calibration of {name}",
                    task.calibration,
                    "calibration",
                    gate.calibration,
                    distance <= limit or not worse,
                    text,
                )
            )
    return checks


def _slate_checks(gate: GateConfig, compared: VersionComparison) -> list[GateCheck]:
    """The slates, and of a log with impressions the order of what was shown.

    There, the serving version chose what users could choose: its slates are judged better than they
    are, so that only a collapse of the others counts. The order of the shown items is compared by
    what it is better than a random one, which may have a high NDCG, too.
    """
    slates, shown = compared.ndcg, compared.shown
    if slates is None:
        return []
    if shown is None:
        return [_slate_check("ndcg_drop", gate.ndcg_drop, slates, "the slates")]
    order = "the items that users were shown, in the order of the ranked candidates,"
    return [
        _slate_check("slates_drop", gate.slates_drop, slates, "the slates"),
        _slate_check("shown_drop", gate.shown_drop, shown, order),
    ]


def gain(found: SlateComparison) -> float:
    """What the NDCG of the serving version is better than a random order, or a tenth of it: a drop
    is a share of this."""
    return max(found.serving - found.random, LEAST_GAIN * found.serving)


def _slate_check(key: str, limit: float, found: SlateComparison, what: str) -> GateCheck:
    """NDCG@10 against that of the serving version."""
    drop = -found.difference.mean / gain(found) if found.serving else 0.0
    beyond = found.difference.high < 0 and found.users >= FEWEST
    lower = f"{drop:.0%} of that"
    if found.random:
        lower = f"{drop:.0%} of what that is better than a random order ({found.random:.4f})"
    by = f", lower by {lower}" if drop > 0 else ""
    return GateCheck(
        QUALITY,
        "NDCG@10 of what was shown" if found.random else "NDCG@10 of the slates",
        drop,
        key,
        limit,
        not (beyond and drop > limit),
        f"NDCG@10 of {what} is {found.new:.4f}, that of the serving version {found.serving:.4f}"
        f"{by} (95% interval of the difference {found.difference.low:+.4f} to "
        f"{found.difference.high:+.4f}, {found.users:,} users)",
    )


def _auc_checks(
    gate: GateConfig, name: str, task: TaskComparison, recorded: float | None
) -> list[GateCheck]:
    """The AUC of a task against that of the serving version, and against the recorded one."""
    if not is_judged(task.rarer):
        text = (
            f"AUC of {name} is not judged: {task.rarer or 0:,.0f} of {task.rows:,} rows are of the "
            f"rarer class, and it takes {FEWEST}"
        )
        return [
            GateCheck(
                QUALITY, f"AUC of {name}", float("nan"), "auc_drop", gate.auc_drop, True, text
            )
        ]
    if not isfinite(task.auc):
        return []
    allowed, checks = 2 * task.auc_error, list[GateCheck]()
    if isfinite(task.serving_auc):
        drop = task.serving_auc - task.auc
        checks.append(
            GateCheck(
                QUALITY,
                f"AUC of {name}",
                drop,
                "auc_drop",
                gate.auc_drop,
                drop <= gate.auc_drop + allowed,
                f"AUC of {name} is {task.auc:.4f}, that of the serving version on the same "
                f"{task.rows:,} rows {task.serving_auc:.4f} (standard error {task.auc_error:.4f})",
            )
        )
    if recorded is not None:
        drop = recorded - task.auc
        checks.append(
            GateCheck(
                QUALITY,
                f"AUC of {name} since",
                drop,
                "auc_since",
                gate.auc_since,
                drop <= gate.auc_since + allowed,
                f"AUC of {name} is {task.auc:.4f}, {recorded:.4f} when it was last judged",
            )
        )
    return checks


def _log_distance(ratio: float) -> float:
    """|ln(ratio)|; infinite for a ratio of 0."""
    return abs(log(ratio)) if ratio > 0 else float("inf")


def request_checks(gate: GateConfig, trial: TrialResult) -> list[GateCheck]:
    """Checks of the answers to trial requests."""
    wrong = len(trial.faults)
    shown = "; ".join(trial.faults[:3])
    answers = GateCheck(
        REQUESTS,
        "trial requests",
        float(wrong),
        "requests",
        float(gate.requests),
        not wrong,
        f"{trial.requests - wrong} of {trial.requests} trial requests were answered"
        + (f": {shown}" if wrong else " with items and finite scores"),
    )
    if trial.ratio is None:
        return [answers]
    latency = GateCheck(
        REQUESTS,
        "latency",
        trial.ratio,
        "latency_ratio",
        gate.latency_ratio,
        trial.ratio <= gate.latency_ratio,
        f"a trial request takes {trial.milliseconds:.1f} ms (median), {trial.ratio:.2f} times as "
        "long as to the serving version",
    )
    return [answers, latency]


def worst_first(checks: Sequence[GateCheck]) -> tuple[GateCheck, ...]:
    """Failed checks first, otherwise in their order."""
    return tuple(sorted(checks, key=lambda check: check.passed))
