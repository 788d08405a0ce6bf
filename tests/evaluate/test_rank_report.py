"""The ranker's page and terminal output: every metric, and the significant deviations."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tamis.evaluate import render_rank, write_rank_report
from tamis.evaluate.rank_report import auc_error, deviations

RESULT = json.loads((Path(__file__).parent / "results" / "ranker.json").read_text("utf-8"))
RATE = RESULT["models"]["rank"]["click"]


def test_the_page_holds_every_metric(tmp_path) -> None:
    html = write_rank_report(RESULT, tmp_path / "deep" / "rank.html").read_text("utf-8")
    for figure in ("0.7123", "0.6001", "0.4321", "12.34", "isotonic, 9 knots", "a &lt;shop&gt;"):
        assert figure in html
    assert "a note &amp; more" in html
    assert html.count("<svg") >= 4  # logo, reliability, AUC and XAUC by segment


def test_the_tables_fit_into_a_terminal_of_80_columns() -> None:
    out = io.StringIO()
    render_rank(RESULT, Console(file=out, width=80))
    printed = out.getvalue()
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    for figure in ("0.7123", "0.6001", "0.6543", "0.0123", "12.34", "a note & more", "new users"):
        assert figure in printed


def test_long_names_of_segments_wrap_and_numbers_stay_whole() -> None:
    """At 80 columns, rich cut the numbers: "18,4…", "0.76…"."""
    name = "heavy users (over 1,900 events in the log)"
    figures = dict(zip(RATE, (1_234_567, 123_456), strict=False)) | {"auc": 0.7123}
    whole = RESULT["models"]["rank"]
    result = {**RESULT, "segments": {name: {**whole, "click": RATE | figures}}}
    out = io.StringIO()
    render_rank(result, Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "…" not in out.getvalue()
    assert "0.7123" in out.getvalue()


def test_only_significant_deviations_are_reported() -> None:
    assert list(deviations(RESULT)) == [
        "click: the most significant deviation is at city = Y, where predicted ÷ observed is 0.60 "
        "in 5,000 rows."
    ]
    rank = {**RESULT["models"]["rank"], "click": {**RATE, "pcoc": 1.3}}
    off = {**RESULT, "models": {"rank": rank}}
    assert next(iter(deviations(off))) == "click: predicted ÷ observed is 1.30 over all rows."
    few = {**RATE, "pcoc": 1.3, "positives": 20.0}
    few_positives = {**RESULT, "models": {"rank": {**rank, "click": few}}}
    assert "over all rows" not in next(iter(deviations(few_positives)))


@pytest.mark.parametrize(("positives", "negatives"), [(5, 50), (400, 400)])
def test_the_standard_error_of_an_auc_of_one_half_is_the_rank_sums(positives, negatives) -> None:
    values = {"auc": 0.5, "rows": positives + negatives, "positives": positives}
    exact = np.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    assert auc_error(values) == pytest.approx(exact)
    assert auc_error({"auc": float("nan"), "rows": 5, "positives": 0}) == 0
