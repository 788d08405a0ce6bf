"""The page and the terminal tables: complete, self-contained, honest, and whole without any key."""

import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from tamis.evaluate import STAGES, render, write_report
from tamis.evaluate import _reading as reading

EVALUATION = {
    "project": "shop & <friends>",
    "version": "e-1",
    "protocol": {"cut": "2000-12-02", "seen_masked": True, "candidates": "full catalogue, 9 items"},
    "users": {"evaluated": 1157, "without_history": 23},
    "without_history": {"ndcg@10": 0.11, "hit@10": 0.3, "recall@50": 0.2},
    "cascade": {"ndcg@10": 0.28, "hit@10": 0.68, "recall@50": 0.33},
    "channels": {
        "hot": {"ndcg@10": 0.2, "hit@10": 0.58, "recall@50": 0.24},
        "itemcf": {"ndcg@10": 0.25, "hit@10": 0.64, "recall@50": 0.31},
    },
    "intervals": {
        "hot": {"mean": 0.08, "low": 0.06, "high": 0.1},
        "itemcf": {"ndcg@10": {"mean": 0.03, "low": 0.01, "high": 0.05}},
    },
    "stage_loss": dict(zip(STAGES, (0.25, 0.0, 0.08, 0.56, 0.01, 0.1), strict=True)),
    "ranker": {"auc": 0.8123, "logloss": 0.1831, "rows": 1000},
    "ranker_tasks": {"like": {"auc": 0.8123, "ece": 0.0041, "pcoc": 1.02}},
    "calibration": [
        {"predicted": 0.1, "observed": 0.12, "count": 50},
        {"predicted": 0.4, "observed": 0.35, "count": 10},
    ],
    "curves": {
        "rank": [
            {"epoch": 1, "train_loss": 0.5, "valid_metric": 0.7},
            {"epoch": 2, "train_loss": 0.4, "valid_metric": 0.8},
        ],
        "two_tower": [{"epoch": 1, "train_loss": 3.0, "recall@50": 0.31}],
    },
    "latency_ms": {"p50": 3.5, "p99": 7.25, "threads": 1, "requests": 500, "stages": {"rank": 2.0}},
    "training": {
        "features": {"seconds": 3.2, "peak_mb": 612.4, "samples_per_second": None},
        "rank": {"seconds": 125.0, "peak_mb": 1210, "samples_per_second": 251000},
    },
    "coverage": {"coverage@10": 0.41},
    "diversity": {"cascade": 0.74, "hot": 0.71},
    "popularity": 0.93,
    "settings": {"rank": {"epochs": 3}},
    "notes": ["A remark <of> the maker."],
}

VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps text, ids and every attribute that could load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name.split(":")[-1] in ("src", "href", "srcset", "data", "action", "poster"):
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += " " + data


def written(evaluation, tmp_path) -> tuple[str, Page]:
    path = write_report(evaluation, tmp_path / "deep" / "report.html")
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    return html, page


def terminal(evaluation, width: int = 110) -> str:
    out = io.StringIO()
    render(evaluation, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_page_needs_nothing_from_elsewhere(tmp_path) -> None:
    html, page = written(EVALUATION, tmp_path)
    assert all(link.startswith("#") for link in page.links)
    assert all(link[1:] in page.ids for link in page.links)
    assert "//" not in html.replace("</", "")
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")
    assert not page.tags & {"script", "link", "iframe", "img", "object"}
    assert len(html) < 200_000


def test_page_tells_the_results(tmp_path) -> None:
    _, page = written(EVALUATION, tmp_path)
    text = " ".join(page.text.split())
    for told in (
        "shop & <friends>",
        "0.280",
        "1.40 × the most popular items",
        "The cascade reaches 0.280, its best channel itemcf 0.250 (+12%).",
        "all 95 % intervals are above 0",
        "+0.030 [+0.010, +0.050]",
        "+0.080 [+0.060, +0.100]",
        "Most is lost at rank: 56.0%",
        "−25.0%",
        "0.8123",
        "1.0200",
        "rank: validation metric",
        "two_tower: validation recall@50",
        "41%",
        "99 of 100 at most 7.25 ms, in process, on 1 thread, over 500 requests.",
        "251,000",
        "23 users had no history before the cut.",
        "NDCG@10 0.110",
        "epochs 3",
        "A remark <of> the maker.",
    ):
        assert told in text, told


def test_pictures_follow_the_theme(tmp_path) -> None:
    html, page = written(EVALUATION, tmp_path)
    assert html.count("<svg") == 4  # the mark, the funnel, the curves, the reliability plot
    assert "var(--accent)" in html.split("</style>")[1]
    assert "#01020" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert "metadata" not in page.tags


def test_same_evaluation_same_page(tmp_path) -> None:
    assert written(EVALUATION, tmp_path)[0] == written(EVALUATION, tmp_path)[0]


@pytest.mark.parametrize("missing", sorted(EVALUATION))
def test_every_key_may_be_missing(missing, tmp_path) -> None:
    rest = {key: value for key, value in EVALUATION.items() if key != missing}
    written(rest, tmp_path)
    assert terminal(rest)


def test_nothing_at_all_is_a_page_too(tmp_path) -> None:
    _, page = written({}, tmp_path)
    assert "How this was measured" in page.text
    assert terminal({}) == ""


def test_what_is_not_a_number_is_a_dash(tmp_path) -> None:
    nan = float("nan")
    evaluation = {
        **EVALUATION,
        "cascade": {"ndcg@10": nan, "hit@10": None, "recall@50": 0.3},
        "ranker": {"auc": nan},
        "stage_loss": dict.fromkeys(STAGES, nan),
        "calibration": [{"predicted": nan, "observed": nan, "count": 0}],
        "curves": {"rank": [{"epoch": 1, "train_loss": nan}], "itemcf": []},
    }
    _, page = written(evaluation, tmp_path)
    assert "nan" not in page.text.lower()
    assert "nan" not in terminal(evaluation).lower()
    assert "not recorded" in page.text


def test_json_round_trip_changes_nothing(tmp_path) -> None:
    again = json.loads(json.dumps(EVALUATION))
    assert written(again, tmp_path)[0] == written(EVALUATION, tmp_path)[0]


def test_terminal_tells_the_same() -> None:
    told = terminal(EVALUATION)
    lines = [line.split() for line in told.splitlines()]
    assert ["cascade", "0.280", "0.680", "0.330"] in lines
    assert ["itemcf", "0.250", "0.640", "0.310", "+0.030", "(+0.010", "…", "+0.050)"] in lines
    # Of 28 cells: 75 % are left after recall (21), 7 were lost.
    recalled = next(line for line in told.splitlines() if line.startswith("recalled"))
    assert recalled.count("█") == 21
    assert recalled.count("░") == 7
    assert "2 min 05 s" in told
    assert "p50 3.50 ms · p99 7.25 ms" in told
    assert "1,157 users asked at the cut; 23 without history apart." in told
    assert all(len(line) <= 80 for line in terminal(EVALUATION, 80).splitlines())


def test_verdict_is_honest() -> None:
    unsure = {**EVALUATION, "intervals": {**EVALUATION["intervals"]}}
    unsure["intervals"]["itemcf"] = {"mean": 0.03, "low": -0.01, "high": 0.05}
    assert "Against itemcf the 95 % interval reaches 0: it may be chance" in reading.verdict(unsure)
    assert "may be chance" in reading.verdict({**EVALUATION, "intervals": {}})
    worse = {**EVALUATION, "cascade": {"ndcg@10": 0.1}}
    assert "itemcf alone is better than the cascade (0.250 against 0.100)" in reading.verdict(worse)
    assert reading.verdict({"cascade": {"ndcg@10": 0.1}}) == ""


def test_survivors_follow_the_losses() -> None:
    left = [share for _, share, _ in reading.survivors(EVALUATION["stage_loss"])]
    np.testing.assert_allclose(left, [1, 0.75, 0.75, 0.67, 0.11, 0.1])


def test_best_epoch_of_a_loss_is_its_smallest() -> None:
    assert reading.smaller_is_better("valid_logloss")
    assert not reading.smaller_is_better("recall@50")
