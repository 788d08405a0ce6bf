"""What the evaluation of a cascade reports: the summary that the page and the terminal print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tamis.evaluate._latency_summary import latency_shares, latency_stages, latency_text
from tamis.evaluate._plots import Step
from tamis.evaluate._summary import (
    MISSING,
    Card,
    Cell,
    Facts,
    ReportColumn,
    ReportTable,
    Row,
    bar_cell,
    cells,
    duration,
    facts,
    interval_cells,
    number,
    shown,
)
from tamis.evaluate.feature_coverage import coverage_notes, coverage_table
from tamis.evaluate.prerank_survival import TOPS
from tamis.evaluate.stage_loss import STAGES

METRICS = {"ndcg@10": "NDCG@10", "hit@10": "Hit@10", "recall@50": "Recall@50"}
LEAD = "ndcg@10"
"""The metric that methods are compared by."""

_METRIC_NOTES = {
    "ndcg@10": "positives near the top of the first 10",
    "hit@10": "users with a positive among the first 10",
    "recall@50": "share of the positives among the first 50",
}
_LOSSES = {
    "not_recalled": ("recall", "no channel recalled them", "add a channel or raise quotas"),
    "filtered": (
        "filter",
        "a filter removed them",
        "find the filter that removes items that users go on to choose",
    ),
    "prerank_cut": (
        "pre-rank",
        "the pre-ranker scored other candidates higher",
        "keep more candidates (`prerank_keep`) or train the pre-ranker on the ranker's order",
    ),
    "rank_cut": (
        "rank",
        "the ranker scored other candidates higher",
        "add features or use a stronger ranker. A part of this loss is unavoidable, because a "
        "slate cannot hold every positive of an active user",
    ),
    "rerank_displaced": (
        "re-rank",
        "diversity or a rule moved them out of the slate",
        "weaken diversity (a higher `theta`) or the rules",
    ),
}
"""Stage, why items are lost there, how to reduce the loss."""
_STEPS = {
    "held out": None,
    "recalled": "not_recalled",
    "passed filters": "filtered",
    "passed pre-rank": "prerank_cut",
    "ranked into the slate": "rank_cut",
    "shown after re-rank": "rerank_displaced",
}
"""What the positives left after a stage are called, and the loss that leads to them."""
_RANKER_METRICS = {
    "auc": ("AUC", "probability that a positive scores above a negative"),
    "gauc": ("GAUC", "AUC within a user's candidates, averaged by their number"),
    "logloss": ("log loss", "mean cross-entropy; lower is better"),
    "ece": ("ECE", "mean absolute difference of predicted and observed rate"),
    "pcoc": ("PCOC", "predicted ÷ observed; 1 is best"),
}
_BEYOND_ACCURACY = {
    "coverage": ("Coverage", ".1%"),
    "diversity": ("Diversity", ".3f"),
    "popularity": ("Popularity", ".3f"),
}
_HEAD = ("cut", "items", "positives_held_out", "slate")
"""Keys of the protocol that stand at the top of the page."""


@dataclass(frozen=True)
class CascadeSummary:
    """What the page and the terminal output hold. Parts without data are "", (), or None."""

    project: str
    release: str
    tags: Facts
    verdict: str
    cards: tuple[Card, ...]
    comparison: ReportTable | None
    steps: tuple[Step, ...]
    largest_loss: str
    prerank: str
    rerank: str
    ranker: ReportTable | None
    beyond_accuracy: ReportTable | None
    truth: ReportTable | None
    other_metrics: Facts
    latency: str
    latency_stages: ReportTable | None
    training: ReportTable | None
    features: ReportTable | None
    users: str
    without_history: str
    masked: str
    protocol: Facts
    notes: tuple[str, ...]


def summarise(evaluation: Mapping[str, Any]) -> CascadeSummary:
    """Reads the JSON of `tamis evaluate --json` once; any key may be missing."""
    users, protocol = evaluation.get("users") or {}, evaluation.get("protocol") or {}
    settings = evaluation.get("settings") or {}
    ranker, variety = _ranker(evaluation), _beyond_accuracy(evaluation)
    features = evaluation.get("features") or {}
    head = {
        "version": evaluation.get("version"),
        "made": evaluation.get("created"),
        "users": users.get("evaluated"),
        **{key: protocol.get(key) for key in _HEAD},
    }
    return CascadeSummary(
        project=str(evaluation.get("project") or "Evaluation"),
        release=str(evaluation.get("tamis") or protocol.get("tamis") or ""),
        tags=facts(head),
        verdict=verdict(evaluation),
        cards=tuple(_cards(evaluation)),
        comparison=_comparison(evaluation),
        steps=stage_steps(evaluation),
        largest_loss=_largest_loss(_losses(evaluation)),
        prerank=_prerank(evaluation),
        rerank=_rerank(evaluation),
        ranker=ranker,
        beyond_accuracy=variety,
        truth=_truth(evaluation),
        other_metrics=tuple(_other_metrics(evaluation, ranker, variety)),
        latency=latency_text(evaluation),
        latency_stages=latency_stages(evaluation),
        training=_training(evaluation),
        features=coverage_table(features),
        users=_users(evaluation),
        without_history=_without_history(evaluation),
        masked=_masked(protocol),
        protocol=facts({**protocol, **{f"settings of {k}": v for k, v in settings.items()}}),
        notes=(*map(str, evaluation.get("notes") or []), *coverage_notes(features)),
    )


def methods(evaluation: Mapping[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    """(name, metrics) of the cascade, then of the channels by falling NDCG@10."""
    channels = dict(evaluation.get("channels") or {})
    ordered = sorted(channels, key=lambda name: -(number(channels[name].get(LEAD)) or 0.0))
    found = [("cascade", dict(evaluation.get("cascade") or {}))]
    found += [(name, channels[name]) for name in ordered]
    return [
        (name, {metric: number(values.get(metric)) for metric in METRICS})
        for name, values in found
        if values
    ]


def interval(evaluation: Mapping[str, Any], channel: str) -> Mapping[str, float] | None:
    """{`mean`, `low`, `high`} of the cascade's NDCG@10 minus the channel's, or None."""
    found = (evaluation.get("intervals") or {}).get(channel) or {}
    if "mean" not in found:  # intervals of several metrics
        found = found.get(LEAD) or {}
    ends = (number(found.get(key)) for key in ("mean", "low", "high"))
    return None if None in ends else found


def verdict(evaluation: Mapping[str, Any]) -> str:
    """Whether the cascade is better than each channel, and whether that may be chance.

    "" where the cascade or all channels lack an NDCG@10.
    """
    found = methods(evaluation)
    if len(found) < 2 or found[0][0] != "cascade":
        return ""
    ours, (best, metrics) = found[0][1][LEAD], found[1]
    theirs = metrics[LEAD]
    if ours is None or theirs is None:
        return ""
    if theirs > ours:
        return (
            f"The channel {best} alone is better than the cascade: NDCG@10 {theirs:.3f} against "
            f"{ours:.3f}. A stage after recall demotes or removes positives."
        )
    gain = f" ({ours / theirs - 1:+.0%})" if theirs > 0 else ""
    lead = f"The cascade reaches NDCG@10 {ours:.3f}, its best channel, {best}, {theirs:.3f}{gain}. "
    intervals = {name: interval(evaluation, name) for name, _ in found[1:]}
    if None in intervals.values():
        return lead + "Some channels have no confidence interval, so the gain may be due to chance."
    unsure = [name for name, one in intervals.items() if one and one["low"] <= 0]
    if unsure:
        names = ", ".join(unsure)
        return lead + (
            f"The 95% interval of the difference from {names} is not entirely above 0: this gain "
            "may be due to chance."
        )
    return lead + "The gain over every channel is significant: all 95% intervals are above 0."


def _cards(evaluation: Mapping[str, Any]) -> Iterator[Card]:
    cascade, latency = evaluation.get("cascade") or {}, evaluation.get("latency_ms") or {}
    ranker, training = evaluation.get("ranker") or {}, evaluation.get("training") or {}
    hot = (evaluation.get("channels") or {}).get("hot") or {}
    for key, label in METRICS.items():
        ours, base = number(cascade.get(key)), number(hot.get(key))
        note = f"{ours / base:.2f} × the most popular items" if ours and base else ""
        if ours is not None:
            yield Card(label, shown(ours), note or _METRIC_NOTES[key])
    if number(latency.get("p99")) is not None:
        note = f"99th percentile; median {shown(latency.get('p50'), '.2f')} ms"
        yield Card("Latency", f"{latency['p99']:.2f} ms", note)
    if number(ranker.get("auc")) is not None:
        note = f"log loss {shown(ranker.get('logloss'), '.4f')}"
        yield Card("Ranker AUC", shown(ranker["auc"], ".4f"), note)
    coverage = _by_method(evaluation, "coverage").get("cascade")
    if coverage is not None:
        yield Card("Coverage", f"{coverage:.1%}", "of the catalogue is in at least one slate")
    diversity = _by_method(evaluation, "diversity").get("cascade")
    if diversity is not None:
        yield Card("Diversity", shown(diversity), "in a slate; 1: no shared category")
    total = sum(number(stage.get("seconds")) or 0.0 for stage in training.values())
    if total:
        yield Card("Training", duration(total), "all stages together")


def _comparison(evaluation: Mapping[str, Any]) -> ReportTable | None:
    found = methods(evaluation)
    if not found:
        return None
    longest = {key: max(values[key] or 0.0 for _, values in found) for key in METRICS}
    intervals = [interval(evaluation, name) for name, _ in found]
    columns = [ReportColumn(heading) for heading in METRICS.values()]
    differences: tuple[Cell, ...] = ()
    if any(intervals):
        columns.append(ReportColumn("Difference [95% interval]"))
        differences = interval_cells(intervals)
    rows: list[Row] = []
    for k, (name, values) in enumerate(found):
        ours = name == "cascade"
        line = [bar_cell(values[key], longest[key], accent=ours) for key in METRICS]
        if differences:
            line.append(Cell("") if ours else differences[k])
        rows.append(Row(name, tuple(line), highlight=ours))
    return ReportTable("Cascade compared with its channels", tuple(columns), tuple(rows))


def _losses(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The stage-loss shares; {} where one is not a finite number."""
    shares = evaluation.get("stage_loss") or {}
    found = {name: number(shares.get(name)) for name in STAGES}
    known = {name: share for name, share in found.items() if share is not None}
    return known if len(known) == len(STAGES) else {}


def stage_steps(evaluation: Mapping[str, Any]) -> tuple[Step, ...]:
    """The share of the held-out positives left after each stage; () without stage losses."""
    shares = _losses(evaluation)
    if not shares:
        return ()
    left, steps = 1.0, []
    for label, loss in _STEPS.items():
        lost = shares[loss] if loss else 0.0
        left -= lost
        steps.append(Step(label, max(left, 0.0), lost))
    return tuple(steps)


def _largest_loss(shares: Mapping[str, float]) -> str:
    if not shares:
        return ""
    loss = max(_LOSSES, key=lambda name: shares[name])
    stage, reason, remedy = _LOSSES[loss]
    return (
        f"Largest loss: {stage}, {shares[loss]:.1%} of the held-out positives ({reason}). "
        f"To reduce it: {remedy}."
    )


def _prerank(evaluation: Mapping[str, Any]) -> str:
    found = evaluation.get("prerank") or {}
    tops = {k: number(found.get(f"survive@{k}")) for k in TOPS}
    parts = [f"{share:.1%} of its top {k}" for k, share in tops.items() if share is not None]
    keep, candidates = number(found.get("keep")), number(found.get("candidates"))
    if not parts or keep is None or candidates is None:
        return ""
    cut = number(found.get("cut"))
    if cut == 0:
        return (
            f"Pre-rank removes nothing: a request has {candidates:,.0f} candidates on average and "
            f"none more than the {keep:,.0f} that it keeps."
        )
    often = "" if cut is None or keep < candidates else f", fewer in {cut:.0%} of the requests"
    return (
        f"Pre-rank keeps {min(keep, candidates):,.0f} of {candidates:,.0f} candidates per request"
        f"{often}. Compared with the ranker scoring all candidates, it keeps "
        f"{' and '.join(parts)}."
    )


def _rerank(evaluation: Mapping[str, Any]) -> str:
    """What re-rank changes, and the broken rules."""
    found = evaluation.get("rerank") or {}
    before, after = found.get("before") or {}, found.get("after") or {}
    changes = [
        f"{name} {shown(old, '.4f')} → {shown(after.get(name), '.4f')}"
        for name, old in before.items()
        if number(old) is not None and number(after.get(name)) is not None
    ]
    if not changes:
        return ""
    ways = {str(name): number(share) for name, share in (found.get("broken_rules") or {}).items()}
    broken = [f"{name} in {share:.1%}" for name, share in ways.items() if share]
    rules = f"Broken rules: {', '.join(broken)} of the slates." if broken else ""
    hold = "All rules hold in every slate." if ways and not broken else rules
    return f"Re-rank changes {', '.join(changes)}. {hold}".strip()


def _ranker(evaluation: Mapping[str, Any]) -> ReportTable | None:
    """A row per metric, a column per task; metrics without a task count for the only task."""
    tasks = {str(k): dict(v) for k, v in (evaluation.get("ranker_tasks") or {}).items()}
    if len(tasks) <= 1:
        name = next(iter(tasks), "ranker")
        tasks = {name: {**tasks.get(name, {}), **(evaluation.get("ranker") or {})}}

    def known(values: Mapping[str, Any]) -> bool:
        return any(number(values.get(key)) is not None for key in _RANKER_METRICS)

    tasks = {name: values for name, values in tasks.items() if known(values)}
    rows = tuple(
        Row(label, (*(Cell(shown(v.get(key), ".4f")) for v in tasks.values()), Cell(words)))
        for key, (label, words) in _RANKER_METRICS.items()
        if any(number(values.get(key)) is not None for values in tasks.values())
    )
    columns = (*map(ReportColumn, tasks), ReportColumn("", prose=True))
    return ReportTable("Ranker", columns, rows) if rows else None


def _by_method(evaluation: Mapping[str, Any], key: str) -> dict[str, float]:
    """{method: value} of `coverage`, `diversity` or `popularity`.

    The JSON holds one number or {`coverage@10`: number}, which are the cascade's, or {method:
    number}.
    """
    found = evaluation.get(key)
    found = found if isinstance(found, Mapping) else {"cascade": found}
    values = {
        "cascade" if "@" in str(name) else str(name): number(value) for name, value in found.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _beyond_accuracy(evaluation: Mapping[str, Any]) -> ReportTable | None:
    values = {key: _by_method(evaluation, key) for key in _BEYOND_ACCURACY}
    keys = [key for key in _BEYOND_ACCURACY if values[key]]
    names = dict.fromkeys(name for key in keys for name in values[key])
    forms = [_BEYOND_ACCURACY[key][1] for key in keys]
    rows = tuple(
        Row(name, cells((values[key].get(name) for key in keys), forms), name == "cascade")
        for name in names
    )
    columns = tuple(ReportColumn(_BEYOND_ACCURACY[key][0]) for key in keys)
    return ReportTable("Coverage, diversity and popularity", columns, rows) if rows else None


def _truth(evaluation: Mapping[str, Any]) -> ReportTable | None:
    """What re-rank changes in the true worth of the slates, of a simulated project."""
    found = evaluation.get("truth") or {}
    ends = found.get("difference") or {}
    if not found or any(number(ends.get(key)) is None for key in ("mean", "low", "high")):
        return None
    (change,) = interval_cells([ends])
    nothing = Cell("")
    rows = [
        Row(label, (*cells((found[key]["reward"], found[key]["new_items"]), (".4f", ".1%")), cell))
        for key, label, cell in (
            ("ranked", "by the ranker's value", nothing),
            ("slate", "after re-rank", change),
        )
    ]
    for name, values in (found.get("channels") or {}).items():
        parts = cells((values["reward"], values["new_items"]), (".4f", ".1%"))
        rows.append(Row(f"{name} alone", (*parts, nothing)))
    best = number((found.get("best") or {}).get("reward"))
    if best is not None:
        rows.append(Row("best slates there are", (Cell(shown(best, ".4f")), nothing, nothing)))
    columns = ("Reward", "New items", "Difference [95% interval]")
    title = "True worth of the slates (simulation)"
    return ReportTable(title, tuple(map(ReportColumn, columns)), tuple(rows))


def _other_metrics(
    evaluation: Mapping[str, Any], ranker: ReportTable | None, variety: ReportTable | None
) -> Iterator[tuple[str, str]]:
    """Ranker, variety and latency in one line each, with the texts of the page's tables."""
    if ranker is not None:
        for k, column in enumerate(ranker.columns[:-1]):
            of_task = [
                ("predicted ÷ observed" if row.label == "PCOC" else row.label, row.cells[k].text)
                for row in ranker.rows
            ]
            yield column.heading, " · ".join(f"{a} {b}" for a, b in of_task if b != MISSING)
    if variety is not None:
        for k, column in enumerate(variety.columns):
            parts = [
                row.cells[k].text if row.highlight else f"{row.label} {row.cells[k].text}"
                for row in variety.rows
                if row.cells[k].text != MISSING
            ]
            yield column.heading.lower(), " · ".join(parts)
    found = evaluation.get("latency_ms") or {}
    p50, p99 = (shown(found.get(key), ".2f") for key in ("p50", "p99"))
    if (p50, p99) != (MISSING, MISSING):
        yield "latency", f"p50 {p50} ms · p99 {p99} ms"
    shares = latency_shares(evaluation)
    if shares:
        yield "time by stage", " · ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if prerank := _prerank(evaluation):
        yield "pre-rank", prerank
    if rerank := _rerank(evaluation):
        yield "re-rank", rerank


def _training(evaluation: Mapping[str, Any]) -> ReportTable | None:
    stages = evaluation.get("training") or {}
    if not stages:
        return None
    longest = max(number(stage.get("seconds")) or 0.0 for stage in stages.values())
    rows: list[Row] = []
    for name, stage in stages.items():
        seconds = number(stage.get("seconds"))
        time = bar_cell(seconds, longest, accent=True)
        memory, speed = (stage.get(key) for key in ("peak_mb", "samples_per_second"))
        line = (
            Cell(duration(seconds), bar=time.bar, accent=True),
            *cells((memory, speed), (",.0f", ",.0f")),
        )
        rows.append(Row(str(name), line))
    columns = (ReportColumn("time"), ReportColumn("peak MB"), ReportColumn("samples/s"))
    return ReportTable("Training", columns, tuple(rows), "stage")


def _users(evaluation: Mapping[str, Any]) -> str:
    users = evaluation.get("users") or {}
    known, new = number(users.get("evaluated")), number(users.get("without_history"))
    if known is None:
        return ""
    text = f"{known:,.0f} users evaluated at the cut"
    if not new:
        return f"{text}."
    return f"{text}; {new:,.0f} users without history are reported separately."


def _masked(protocol: Mapping[str, Any]) -> str:
    """Which items are masked, by the filters in use; "" where the protocol does not say it."""
    seen, masked = protocol.get("seen_masked"), protocol.get("masked")
    if seen is None:
        return ""
    if seen:
        by = f" ({masked})" if masked else ""
        return f"Items that a user interacted with before the cut are masked for every method{by}."
    if masked in (None, "nothing"):
        return "No items are masked: items that a user knows are ranked like all others."
    return (
        f"Masked for every method: {masked}. Other items that a user interacted with before the "
        "cut are ranked like all others."
    )


def _without_history(evaluation: Mapping[str, Any]) -> str:
    """The cascade's metrics for users without history; "" where there are none."""
    metrics = evaluation.get("without_history") or {}
    parts = [
        f"{label} {shown(metrics[key])}"
        for key, label in METRICS.items()
        if number(metrics.get(key)) is not None
    ]
    return f"The cascade for users without history: {', '.join(parts)}." if parts else ""
