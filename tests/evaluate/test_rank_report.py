"""The ranker's page and tables: every figure is there, what stands out is said, nothing leaks."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from tamis.evaluate import render_rank, write_rank_report
from tamis.evaluate.rank_report import _astray, _chance

RATE = {
    "rows": 9000, "positives": 900.0, "auc": 0.7123, "auc_error": 0.0, "gauc": 0.6543,
    "gauc_skipped": 3, "ndcg@10": 0.4321, "logloss": 0.2987, "ne": 0.9112, "pcoc": 1.004,
    "ece": 0.0123,
}  # fmt: skip
NUMBER = {"rows": 800, "xauc": 0.6111, "mae": 12.34, "rmse": 20.5, "bias": 0.98}


def bucket(name, rows, predicted, observed):
    pcoc = predicted / observed if observed else float("nan")
    told = {"bucket": name, "rows": rows, "count": rows, "predicted": predicted}
    return {**told, "observed": observed, "pcoc": pcoc}


RESULT = {
    "project": "a <shop>",
    "version": "v1",
    "protocol": {
        "rows_are": "impressions", "labels": "what followed", "trained_on": "the past",
        "cut": "2026-01-01", "until": "2026-01-08", "rows": 9000, "requests": 900, "users": 300,
        "left_out": 0, "segments": "by what was known",
        "calibration": {"click": "isotonic, 9 knots"},
        "tamis": "0.0",
    },
    "kinds": {"click": "binary", "watch": "number"},
    "models": {
        "rank": {"click": RATE, "watch": NUMBER},
        "prerank": {"click": {**RATE, "auc": 0.6001}, "watch": NUMBER},
    },
    "segments": {
        "new users": {
            "click": {**RATE, "rows": 40, "positives": 0.0, "auc": float("nan")},
            "watch": {**NUMBER, "rows": 0},
        },
        "known users": {"click": {**RATE, "auc": 0.72}, "watch": NUMBER},
    },
    "calibration": {
        "click": {
            "curve": [
                {"predicted": 0.05, "observed": 0.04, "count": 4500},
                {"predicted": 0.15, "observed": 0.16, "count": 4500},
            ],
            "buckets": {
                "city": [bucket("X", 4000, 0.1, 0.1), bucket("Y", 5000, 0.06, 0.1)],
                "age": [bucket("old", 10, 0.1, 0.3), bucket("young", 10, 0.1, 0.0)],
            },
        }
    },
    "notes": ["a note & more"],
}  # fmt: skip


def test_the_page_holds_every_figure_and_nothing_from_elsewhere(tmp_path) -> None:
    html = write_rank_report(RESULT, tmp_path / "deep" / "rank.html").read_text("utf-8")
    for figure in ("0.7123", "0.6001", "0.4321", "12.34", "isotonic, 9 knots", "a &lt;shop&gt;"):
        assert figure in html
    assert "a note &amp; more" in html
    assert html.count("<svg") >= 4  # logo, reliability, AUC and XAUC by segment
    assert not re.search(r'(src|href)="(?!#)', html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_a_terminal_of_80_columns_has_room_for_the_tables() -> None:
    out = io.StringIO()
    render_rank(RESULT, Console(file=out, width=80))
    said = out.getvalue()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    for figure in ("0.7123", "0.6001", "0.6543", "0.0123", "12.34", "a note & more", "new users"):
        assert figure in said


def test_only_what_is_off_beyond_chance_is_said() -> None:
    assert list(_astray(RESULT)) == [
        "click is furthest off where city is Y: predicted ÷ observed = 0.60 in 5,000 rows."
    ]
    rank = {**RESULT["models"]["rank"], "click": {**RATE, "pcoc": 1.3}}
    off = {**RESULT, "models": {"rank": rank}}
    assert next(iter(_astray(off))) == "click: predictions sum to 1.30 × what happened."
    few = {**RATE, "pcoc": 1.3, "positives": 20.0}
    few_positives = {**RESULT, "models": {"rank": {**rank, "click": few}}}
    assert "sum to" not in next(iter(_astray(few_positives)))


@pytest.mark.parametrize(("positives", "negatives"), [(5, 50), (400, 400)])
def test_the_standard_error_of_an_auc_of_one_half_is_the_rank_sums(positives, negatives) -> None:
    told = {"auc": 0.5, "rows": positives + negatives, "positives": positives}
    exact = np.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    assert _chance(told) == pytest.approx(exact)
    assert _chance({"auc": float("nan"), "rows": 5, "positives": 0}) == 0
