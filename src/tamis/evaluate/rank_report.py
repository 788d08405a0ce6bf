"""The evaluation of the ranker as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tamis.evaluate._page import write_page
from tamis.evaluate._plots import Point, calibration_plot, segments_plot
from tamis.evaluate._summary import (
    Card,
    Cell,
    Facts,
    ReportColumn,
    ReportTable,
    Row,
    bar_cell,
    cells,
    facts,
    number,
    shown,
)
from tamis.evaluate._terminal import print_table, print_text
from tamis.evaluate.feature_coverage import coverage_notes, coverage_table

_RATES = {
    "rows": ("rows", ",.0f"),
    "positives": ("positives", ",.0f"),
    "auc": ("AUC", ".4f"),
    "xauc": ("XAUC", ".4f"),
    "gauc": ("GAUC", ".4f"),
    "ndcg@10": ("NDCG@10", ".4f"),
    "logloss": ("log loss", ".4f"),
    "ne": ("NE", ".4f"),
    "pcoc": ("PCOC", ".3f"),
    "ece": ("ECE", ".4f"),
}
_NUMBERS = {
    "rows": ("rows", ",.0f"),
    "xauc": ("XAUC", ".4f"),
    "mae": ("MAE", ".4g"),
    "rmse": ("RMSE", ".4g"),
    "bias": ("predicted ÷ observed", ".3f"),
}
_GROUPS = (
    (
        "Probabilities and shares",
        _RATES,
        "AUC: probability that a positive scores above a negative. GAUC: AUC within each user, "
        "averaged by rows. XAUC: probability that the larger of two labels has the larger "
        "prediction. NE: log loss divided by that of predicting the mean rate; below 1 is better "
        "than the mean. PCOC: predicted ÷ observed; 1 is best. ECE: mean absolute difference of "
        "predicted and observed rate, over 10 bins of predictions.",
    ),
    (
        "Numeric predictions",
        _NUMBERS,
        "XAUC: probability that the larger of two labels has the larger prediction. MAE and RMSE: "
        "mean absolute error and root mean squared error, in the unit of the label.",
    ),
)
"""Title, metrics and explanation of each table of quality."""
_PAGE_ONLY = ("positives", "ne", "rmse")
"""Metrics that a terminal of 80 characters cannot hold."""
_PRERANK = ", pre-ranker"
_TOLERANCE = 0.1
"""A PCOC further from 1 than this is reported, where it is also significant."""
_SIGNIFICANT = 3
"""Standard errors from which on a deviation is reported."""

Result = Mapping[str, Any]
"""The JSON of `tamis evaluate rank --json`."""


@dataclass(frozen=True)
class RankSummary:
    """What the page and the terminal output hold."""

    project: str
    release: str
    tags: Facts
    lead: str
    setting: str
    """The protocol in three sentences."""
    cards: tuple[Card, ...]
    quality: tuple[ReportTable, ...]
    """A row per task and model; probabilities and numbers apart."""
    segments: tuple[ReportTable, ...]
    """Per task, a row per segment."""
    segment_note: str
    buckets: tuple[ReportTable, ...]
    """Per task, a row per bucket of a feature."""
    features: ReportTable | None
    """Shares of rows with a value of each feature."""
    deviations: tuple[str, ...]
    protocol: Facts
    notes: tuple[str, ...]


def write_rank_report(result: Result, path: Path) -> Path:
    """Writes the evaluation of the ranker as one HTML page without scripts or external files.

    Args:
        result: the JSON of `tamis evaluate rank --json`, with all keys that
            docs/evaluation.md describes. What is not a finite number becomes a dash.
        path: the HTML file; missing folders are created.

    Returns `path`. Raises KeyError for a missing key, OSError where the file cannot be written.
    """
    summary = summarise(result)
    plots = zip(summary.segments, _segment_plots(result), strict=True)
    return write_page(
        path,
        "ranker.html",
        kind="ranker",
        project=summary.project,
        release=summary.release,
        lead=summary.lead,
        tags=summary.tags,
        cards=summary.cards,
        summary=summary,
        explanations={title: words for title, _, words in _GROUPS},
        calibration=list(_calibration_plots(result)),
        segments=[(table, svg, caption) for table, (svg, caption) in plots],
    )


def render_rank(result: Result, console: Console) -> None:
    """Prints the same summary as `write_rank_report`. Raises KeyError for a missing key."""
    summary = summarise(result)
    print_text(console, summary.setting)
    for table in (*summary.quality, *summary.segments):
        print_table(console, table)
    print_table(console, summary.features)
    print_text(console, *summary.deviations, *summary.notes)


def summarise(result: Result) -> RankSummary:
    """Reads the JSON of `tamis evaluate rank --json` once."""
    protocol, found = result["protocol"], tuple(deviations(result))
    features = result.get("features", {})  # results of earlier releases lack it
    head = {"version": result["version"]} | {k: protocol[k] for k in ("cut", "rows", "users")}
    return RankSummary(
        project=str(result["project"]),
        release=str(protocol["tamis"]),
        tags=facts(head),
        lead=" ".join((*_lead(result), *found)),
        setting=_setting(protocol),
        cards=tuple(_cards(result)),
        quality=tuple(_quality(result)),
        segments=tuple(_segments(result)),
        segment_note=f"Segments: {protocol['segments']}.",
        buckets=tuple(_buckets(result)),
        features=coverage_table(features),
        deviations=found,
        protocol=facts({key: value for key, value in protocol.items() if key != "tamis"}),
        notes=(*map(str, result["notes"]), *coverage_notes(features)),
    )


def _setting(protocol: Mapping[str, Any]) -> str:
    return (
        f"Protocol: {protocol['rows_are']}; {protocol['rows']:,} rows of "
        f"{protocol['requests']:,} requests of {protocol['users']:,} users, {protocol['cut']} to "
        f"{protocol['until']}. Labels: {protocol['labels']}. Trained on {protocol['trained_on']}."
    )


def _lead(result: Result) -> Iterator[str]:
    task = next(iter(result["kinds"]))
    values = {model: number(found[task].get("auc")) for model, found in result["models"].items()}
    rank, prerank = values.get("rank"), values.get("prerank")
    if rank is not None:
        other = "" if prerank is None else f", the pre-ranker in {prerank:.1%}"
        yield (
            f"For {task}, the ranker scores a positive above a negative in {rank:.1%} of the "
            f"pairs{other}."
        )


def _metrics(result: Result, task: str) -> Mapping[str, tuple[str, str]]:
    return _NUMBERS if result["kinds"][task] == "number" else _RATES


def _cards(result: Result) -> Iterator[Card]:
    task = next(iter(result["kinds"]))
    values = result["models"]["rank"][task]
    for key, (label, form) in _metrics(result, task).items():
        if key not in ("rows", "positives") and number(values.get(key)) is not None:
            yield Card(label, shown(values[key], form), task)


def _table(
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    keys: Sequence[str],
    metrics: Mapping[str, tuple[str, str]],
) -> ReportTable:
    forms = [metrics[key][1] for key in keys]
    return ReportTable(
        title,
        tuple(ReportColumn(metrics[key][0], page_only=key in _PAGE_ONLY) for key in keys),
        tuple(Row(k, cells((v.get(key) for key in keys), forms)) for k, v in rows.items()),
    )


def _quality(result: Result) -> Iterator[ReportTable]:
    for title, metrics, _ in _GROUPS:
        rows = {
            task if model == "rank" else task + _PRERANK: found[task]
            for task in result["kinds"]
            for model, found in result["models"].items()
            if _metrics(result, task) is metrics and task in found
        }
        keys = [key for key in metrics if any(key in values for values in rows.values())]
        if rows:
            yield _table(title, rows, keys, metrics)


def _by_segment(result: Result, task: str) -> dict[str, Mapping[str, Any]]:
    """All rows, then the segments that have rows."""
    segments = {name: found[task] for name, found in result["segments"].items()}
    known = {name: values for name, values in segments.items() if values.get("rows")}
    return {"all rows": result["models"]["rank"][task], **known}


def _segments(result: Result) -> Iterator[ReportTable]:
    for task in result["kinds"]:
        rows, metrics = _by_segment(result, task), _metrics(result, task)
        keys = [k for k in metrics if any(number(v.get(k)) is not None for v in rows.values())]
        yield _table(f"{task}, by segment", rows, keys, metrics)


def _segment_plots(result: Result) -> Iterator[tuple[str, str]]:
    """(svg, caption) per task."""
    for k, (task, kind) in enumerate(result["kinds"].items()):
        key, label = ("auc", "AUC") if kind == "binary" else ("xauc", "XAUC")
        points = [
            Point(segment, value, auc_error(values) if key == "auc" else 0.0)
            for segment, values in _by_segment(result, task).items()
            if (value := number(values.get(key))) is not None
        ]
        band = "; the band is two standard errors to each side" if key == "auc" else ""
        svg = segments_plot(points, label, f"segments-{k}")
        yield svg, f"{label} of {task} by segment{band}."


def auc_error(values: Mapping[str, Any]) -> float:
    """The standard error of an AUC (Hanley & McNeil 1982); 0 where there is no AUC.

    Args:
        values: `auc`, and the numbers of `rows` and `positives` that it was computed from.
    """
    auc, positives = number(values.get("auc")), values["positives"]
    if auc is None:
        return 0.0
    negatives = values["rows"] - positives
    above, below = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    spread = auc * (1 - auc)
    spread += (positives - 1) * (above - auc**2) + (negatives - 1) * (below - auc**2)
    return float((max(spread, 0.0) / (positives * negatives)) ** 0.5)


def _calibration_plots(result: Result) -> Iterator[tuple[str, str]]:
    """(svg, caption) of each rate with a reliability curve."""
    maps = result["protocol"]["calibration"]
    for k, (task, found) in enumerate(result["calibration"].items()):
        svg = calibration_plot(found["curve"], f"calibration-{k}")
        used = maps.get(task, "that of each rate it is a product of")
        if svg:
            yield (
                svg,
                f"{task}: each dot is a bin of predictions; larger dots hold more rows. On the "
                f"dashed line predictions equal observed rates. Calibration map: {used}.",
            )


def deviations(result: Result) -> Iterator[str]:
    """A sentence per rate whose predictions are significantly off, over all rows or in a bucket."""
    for task, found in result["calibration"].items():
        values = result["models"]["rank"][task]
        pcoc, positives = number(values.get("pcoc")), values["positives"]
        if pcoc is not None and abs(pcoc - 1) > max(_TOLERANCE, _SIGNIFICANT / positives**0.5):
            yield f"{task}: predicted ÷ observed is {pcoc:.2f} over all rows."
        worst = max(_deviating(found["buckets"]), key=lambda one: one[0], default=None)
        if worst is not None:
            _, feature, bucket = worst
            yield (
                f"{task}: the most significant deviation is at {feature} = {bucket['bucket']}, "
                f"where predicted ÷ observed is {bucket['pcoc']:.2f} in {bucket['rows']:,} rows."
            )


def _deviating(
    buckets: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[float, str, Mapping[str, Any]]]:
    """(standard errors between predicted and observed, feature, bucket) where it is significant."""
    for feature, its in buckets.items():
        for bucket in its:
            pcoc, rate = number(bucket["pcoc"]), bucket["observed"]
            if pcoc is None or abs(pcoc - 1) <= _TOLERANCE:
                continue
            error = (max(rate * (1 - rate), 1e-12) / bucket["rows"]) ** 0.5
            distance = abs(bucket["predicted"] - rate) / error
            if distance > _SIGNIFICANT:
                yield distance, feature, bucket


def _buckets(result: Result) -> Iterator[ReportTable]:
    headings = ("value", "rows", "predicted", "observed", "PCOC")
    for task, found in result["calibration"].items():
        off = {(feature, bucket["bucket"]) for _, feature, bucket in _deviating(found["buckets"])}
        rows = tuple(
            _bucket(feature if k == 0 else "", bucket, longest, (feature, bucket["bucket"]) in off)
            for feature, its in found["buckets"].items()
            for longest in [max((number(b["observed"]) or 0.0 for b in its), default=0.0)]
            for k, bucket in enumerate(its)
        )
        if rows:
            yield ReportTable(task, tuple(map(ReportColumn, headings)), rows, "feature")


def _bucket(label: str, bucket: Mapping[str, Any], longest: float, off: bool) -> Row:
    """A row of predicted and observed rate; `longest` is the rate of the longest bar."""
    rates = (bar_cell(bucket[k], longest, ".4f", accent=off) for k in ("predicted", "observed"))
    return Row(
        label,
        (
            Cell(str(bucket["bucket"])),
            Cell(f"{bucket['rows']:,}"),
            *rates,
            Cell(shown(bucket["pcoc"])),
        ),
        highlight=off,
    )
