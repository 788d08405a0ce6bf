"""What an evaluation says, read once for the page and for the terminal.

The input is the JSON of `tamis evaluate --json` (docs/evaluation.md); any key may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tamis.evaluate.prerank_survival import TOPS
from tamis.evaluate.stage_loss import STAGES

METRICS = ("ndcg@10", "hit@10", "recall@50")
LEAD = "ndcg@10"

METRIC_WORDS = {
    "ndcg@10": "how much of the wanted stands high among the first 10",
    "hit@10": "users with something wanted among the first 10",
    "recall@50": "share of the wanted among the first 50",
}

LOSS_WORDS = {
    "not_recalled": ("recall", "no channel proposed it"),
    "filtered": ("filter", "a filter removed it"),
    "prerank_cut": ("pre-rank", "pre-rank let better-looking candidates through"),
    "rank_cut": ("rank", "the ranker valued other items more"),
    "rerank_displaced": ("re-rank", "diversity or a rule moved it out of the slate"),
}

LOSS_CURES = {
    "not_recalled": "add a channel or raise quotas",
    "filtered": "look at which filter removes what people then choose",
    "prerank_cut": "let more through pre-rank (`prerank_keep`) or train it on the ranker's order",
    "rank_cut": "better features and a stronger ranker; a part is bound to be lost, for a slate "
    "cannot hold all that an eager user goes on to choose",
    "rerank_displaced": "loosen diversity (a higher `theta`) or the rules",
}

SURVIVORS = (
    ("held out", None),
    ("recalled", "not_recalled"),
    ("passed filters", "filtered"),
    ("passed pre-rank", "prerank_cut"),
    ("ranked into the slate", "rank_cut"),
    ("shown after re-rank", "rerank_displaced"),
)


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def rows(evaluation: Mapping[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    """(name, metrics) of the cascade, then of the channels, the best first."""
    channels = dict(evaluation.get("channels") or {})
    ordered = sorted(channels, key=lambda name: -(number(channels[name].get(LEAD)) or 0.0))
    methods = [("cascade", dict(evaluation.get("cascade") or {}))]
    methods += [(name, channels[name]) for name in ordered]
    return [
        (name, {metric: number(values.get(metric)) for metric in METRICS})
        for name, values in methods
        if values
    ]


def interval(evaluation: Mapping[str, Any], channel: str, metric: str = LEAD) -> Any:
    """{"mean", "low", "high"} of the cascade minus the channel, or None."""
    found = (evaluation.get("intervals") or {}).get(channel) or {}
    if "mean" not in found:  # by metric; else of NDCG@10
        found = found.get(metric)
    elif metric != LEAD:
        return None
    if found and all(number(found.get(key)) is not None for key in ("mean", "low", "high")):
        return found
    return None


def verdict(evaluation: Mapping[str, Any]) -> str:
    """One sentence: is the cascade better than each of its channels, and is that certain?"""
    methods = rows(evaluation)
    channels = [name for name, _ in methods if name != "cascade"]
    if len(channels) == len(methods) or not channels:
        return ""
    ours, theirs = methods[0][1][LEAD], methods[1][1][LEAD]
    if ours is None or theirs is None:
        return ""
    best, found = channels[0], [interval(evaluation, name) for name in channels]
    if theirs > ours:
        lead = f"{best} alone is better than the cascade ({theirs:.3f} against {ours:.3f}). "
        return lead + "Something behind recall costs more than it brings."
    gain = f"The cascade reaches {ours:.3f}, its best channel {best} {theirs:.3f}"
    gain += f" ({ours / theirs - 1:+.0%}). " if theirs > 0 else ". "
    if any(i is None for i in found):
        return gain + "Without intervals for every channel this may be chance."
    if all(i["low"] > 0 for i in found):
        return (
            gain + "The gain over every channel is beyond chance: all 95 % intervals are above 0."
        )
    unsure = [name for name, i in zip(channels, found, strict=True) if i["low"] <= 0]
    return gain + f"Against {', '.join(unsure)} the 95 % interval reaches 0: it may be chance."


def losses(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The stage-loss shares, complete and finite, or {}."""
    shares = evaluation.get("stage_loss") or {}
    found = {name: number(shares.get(name)) for name in STAGES}
    return {k: v for k, v in found.items() if v is not None} if None not in found.values() else {}


def survivors(shares: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(label, share still there, share lost on the way to it) from the held-out positives on."""
    left, result = 1.0, []
    for label, stage in SURVIVORS:
        lost = shares[stage] if stage else 0.0
        left -= lost
        result.append((label, max(left, 0.0), lost))
    return result


def biggest_loss(shares: Mapping[str, float]) -> str:
    """One sentence about the stage where most is lost, and what helps."""
    if not shares:
        return ""
    stage = max(LOSS_WORDS, key=lambda name: shares[name])
    where, why = LOSS_WORDS[stage]
    return (
        f"Most is lost at {where}: {shares[stage]:.1%} of what people went on to choose ({why}). "
        f"What helps: {LOSS_CURES[stage]}."
    )


def per_method(evaluation: Mapping[str, Any], key: str) -> dict[str, float]:
    """`coverage` and its kind: one number (the cascade's) or {method: number}.

    A name like `coverage@10` says at which k, and means the cascade.
    """
    found = evaluation.get(key)
    found = found if isinstance(found, Mapping) else {"cascade": found}
    values = {
        "cascade" if "@" in str(name) else str(name): number(value) for name, value in found.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def seconds(value: float | None) -> str:
    """A duration a person reads: 3.2 s, 2 min 05 s."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"


def shown(value: float | None, form: str = ".3f") -> str:
    """The number in the given form, a dash where there is none."""
    return "–" if value is None else format(value, form)


def valid_metric(epochs: Any) -> str | None:
    """The name under which a curve keeps its validation metric: `valid_metric` or its own."""
    for epoch in epochs:
        for key, value in epoch.items():
            if key not in ("epoch", "train_loss", "seconds") and number(value) is not None:
                return str(key)
    return None


def smaller_is_better(metric: str) -> bool:
    return any(word in metric.lower() for word in ("loss", "mse", "mae", "error"))


def ranker_tasks(evaluation: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{task: {measure: number}}; a ranker that is not told by task counts as one task."""
    tasks = {str(k): dict(v) for k, v in (evaluation.get("ranker_tasks") or {}).items()}
    overall = dict(evaluation.get("ranker") or {})
    if len(tasks) <= 1:
        name = next(iter(tasks), "ranker")
        tasks = {name: {**tasks.get(name, {}), **overall}}
    measures = ("auc", "gauc", "logloss", "ece", "pcoc")
    told = {
        task: {m: v for m in measures if (v := number(values.get(m))) is not None}
        for task, values in tasks.items()
    }
    return {task: values for task, values in told.items() if values}


def latency(evaluation: Mapping[str, Any]) -> str:
    """One sentence about the time of a request."""
    found = evaluation.get("latency_ms") or {}
    p50, p99 = number(found.get("p50")), number(found.get("p99"))
    if p50 is None and p99 is None:
        return ""
    say = f"Half the requests take at most {shown(p50, '.2f')} ms, 99 of 100 at most "
    say += f"{shown(p99, '.2f')} ms, in process"
    threads, requests = number(found.get("threads")), number(found.get("requests"))
    if threads is not None:
        say += f", on {threads:.0f} thread{'' if threads == 1 else 's'}"
    return say + (f", over {requests:,.0f} requests." if requests is not None else ".")


def agreement(evaluation: Mapping[str, Any]) -> str:
    """One sentence about what pre-rank's cut leaves of the ranker's best."""
    found = evaluation.get("prerank") or {}
    tops = {k: number(found.get(f"survive@{k}")) for k in TOPS}
    parts = [f"{share:.1%} of its top {k}" for k, share in tops.items() if share is not None]
    keep, candidates = number(found.get("keep")), number(found.get("candidates"))
    if not parts or keep is None or candidates is None:
        return ""
    say = f"Of {candidates:,.0f} candidates pre-rank lets {keep:,.0f} through. Had the ranker seen "
    return say + f"all of them: {' and '.join(parts)} survive the cut."


def shares(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Share of a request's time per stage, the recall channels as one."""
    told = (evaluation.get("latency_ms") or {}).get("shares") or {}
    found: dict[str, float] = {}
    for name, value in told.items():
        share, stage = number(value), str(name).partition(":")[0]
        if share is not None:
            found[stage] = found.get(stage, 0.0) + share
    return found
