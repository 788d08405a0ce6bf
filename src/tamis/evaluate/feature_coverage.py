"""Which share of the training rows and of the test rows has a value of each feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from tamis.evaluate._summary import Cell, ReportColumn, ReportTable, Row, cells, number

DIFFERENT = 0.2
"""Difference of the two shares from which on a feature is marked."""


def compare_coverage(
    fitted: pl.DataFrame, train: Mapping[str, Any], test: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """{feature: kind, codes, train, test, unseen, differs}.

    Args:
        fitted: `FeatureSpace.coverage()`.
        train: {feature: {present, unseen}} of the training rows; {} where a version lacks it.
        test: the same of the test rows.
    """
    known = {row["feature"]: row for row in fitted.iter_rows(named=True)}
    found: dict[str, dict[str, Any]] = {}
    for name, shares in test.items():
        before, after = train.get(name, {}).get("present"), shares["present"]
        found[name] = {
            "kind": known.get(name, {}).get("kind"),
            "codes": known.get(name, {}).get("codes"),
            "train": before,
            "test": after,
            "unseen": shares["unseen"],
            "differs": before is not None and abs(after - before) > DIFFERENT,
        }
    return found


def coverage_notes(features: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """One sentence per feature whose share differs."""
    for name, one in features.items():
        if one["differs"]:
            yield (
                f"The feature {name} has a value in {one['train']:.0%} of the training rows but in "
                f"{one['test']:.0%} of the test rows: what the ranker learnt of it may not hold. "
                "Check where its values come from."
            )


def coverage_table(features: Mapping[str, Mapping[str, Any]]) -> ReportTable | None:
    """The table of the report; marked features first."""
    if not features:
        return None
    columns = ("present in training", "in test", "unseen in test", "known values")
    ordered = sorted(features.items(), key=lambda pair: not pair[1].get("differs"))
    rows = [
        Row(
            f"{name} (differs)" if one.get("differs") else name,
            (
                *cells((one.get("train"), one.get("test"), one.get("unseen")), (".1%",) * 3),
                Cell("" if number(one.get("codes")) is None else f"{one['codes']:,}"),
            ),
            highlight=bool(one.get("differs")),
        )
        for name, one in ordered
    ]
    headings = tuple(ReportColumn(heading) for heading in columns)
    return ReportTable("Features with a value", headings, tuple(rows), "feature")
