"""The cascade's page and terminal output: complete, and without gaps where keys are missing."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tamis.evaluate import STAGES, render, write_report
from tamis.evaluate._cascade_summary import stage_steps, verdict
from tamis.evaluate._plots import smaller_is_better

EVALUATION = json.loads((Path(__file__).parent / "results" / "cascade.json").read_text("utf-8"))


class Page(HTMLParser):
    """The text of a page, without its style sheet."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)

    def handle_data(self, data) -> None:
        if self.tags[-1:] != ["style"]:
            self.text += " " + data


def written(evaluation, tmp_path) -> tuple[str, Page]:
    path = write_report(evaluation, tmp_path / "deep" / "report.html")
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def terminal(evaluation, width: int = 110) -> str:
    out = io.StringIO()
    render(evaluation, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_the_page_holds_the_results(tmp_path) -> None:
    _, page = written(EVALUATION, tmp_path)
    text = " ".join(page.text.split())
    for expected in (
        "shop & <friends>",
        "0.280",
        "1.40 × the most popular items",
        "The cascade reaches NDCG@10 0.280, its best channel, itemcf, 0.250 (+12%).",
        "The gain over every channel is significant: all 95% intervals are above 0.",
        "+0.030 [+0.010, +0.050]",
        "+0.080 [+0.060, +0.100]",
        "Largest loss: rank, 56.0% of the held-out positives",
        "−25.0%",
        "0.8123",
        "1.0200",
        "rank: validation metric",
        "two_tower: validation recall@50",
        "41.0%",
        "median 3.50 ms, 99th percentile 7.25 ms, measured in process on 1 thread over 500"
        " requests.",
        "251,000",
        "1,157 users evaluated at the cut; 23 users without history are reported separately.",
        "The cascade for users without history: NDCG@10 0.110, Hit@10 0.300, Recall@50 0.200.",
        "epochs 3",
        "A remark <of> the maker.",
    ):
        assert expected in text, expected


def test_pictures_follow_the_theme(tmp_path) -> None:
    html, page = written(EVALUATION, tmp_path)
    assert html.count("<svg") == 4  # the mark, the funnel, the curves, the reliability plot
    assert "var(--accent)" in html.split("</style>")[1]
    assert "#0e7c66" not in html.split("</style>")[1]
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


def test_an_empty_evaluation_has_a_page(tmp_path) -> None:
    _, page = written({}, tmp_path)
    assert "Hyper-parameters were chosen on windows before the cut." in page.text
    assert terminal({}) == ""


def test_nan_is_shown_as_a_dash(tmp_path) -> None:
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


def test_the_terminal_holds_the_same_results() -> None:
    printed = terminal(EVALUATION)
    lines = [line.split() for line in printed.splitlines()]
    assert ["cascade", "0.280", "0.680", "0.330"] in lines
    assert ["itemcf", "0.250", "0.640", "0.310", "+0.030", "[+0.010,", "+0.050]"] in lines
    # Of 28 cells: 75 % are left after recall (21), 7 were lost.
    recalled = next(line for line in printed.splitlines() if line.startswith("recalled"))
    assert recalled.count("█") == 21
    assert recalled.count("░") == 7
    assert "2 min 05 s" in printed
    assert "p50 3.50 ms · p99 7.25 ms" in printed
    assert (
        "1,157 users evaluated at the cut; 23 users without history are reported separately."
        in printed
    )
    assert all(len(line) <= 80 for line in terminal(EVALUATION, 80).splitlines())


def test_the_verdict_names_what_is_not_significant() -> None:
    unsure = {**EVALUATION, "intervals": {**EVALUATION["intervals"]}}
    unsure["intervals"]["itemcf"] = {"mean": 0.03, "low": -0.01, "high": 0.05}
    assert verdict(unsure).endswith(
        "The 95% interval of the difference from itemcf is not entirely above 0: this gain may be "
        "due to chance."
    )
    none = verdict({**EVALUATION, "intervals": {}})
    assert "no confidence interval, so the gain may be due to chance" in none
    worse = {**EVALUATION, "cascade": {"ndcg@10": 0.1}}
    assert verdict(worse).startswith(
        "The channel itemcf alone is better than the cascade: NDCG@10 0.250 against 0.100."
    )
    assert verdict({"cascade": {"ndcg@10": 0.1}}) == ""


def test_survivors_follow_the_losses() -> None:
    left = [step.left for step in stage_steps(EVALUATION)]
    np.testing.assert_allclose(left, [1, 0.75, 0.75, 0.67, 0.11, 0.1])


def test_best_epoch_of_a_loss_is_its_smallest() -> None:
    assert smaller_is_better("valid_logloss")
    assert not smaller_is_better("recall@50")


def test_the_page_and_the_terminal_print_the_same_cells(tmp_path) -> None:
    _, page = written(EVALUATION, tmp_path)
    on_page, printed = " ".join(page.text.split()), " ".join(terminal(EVALUATION, 400).split())
    for shared in (
        "Cascade compared with its channels",
        "+0.030 [+0.010, +0.050]",
        "Largest loss: rank, 56.0% of the held-out positives",
        "2 min 05 s",
        "0.8123",
        "1,157 users evaluated at the cut; 23 users without history are reported separately.",
        "A remark <of> the maker.",
        verdict(EVALUATION),
    ):
        assert shared in on_page, shared
        assert shared in printed, shared


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        (
            {"seen_masked": True, "masked": "what the filter seen removes"},
            "Items that a user interacted with before the cut are masked for every method (what "
            "the filter seen removes).",
        ),
        (
            {"seen_masked": False, "masked": "what the filter bought removes"},
            "Masked for every method: what the filter bought removes. Other items",
        ),
        ({"seen_masked": False, "masked": "nothing"}, "No items are masked"),
    ],
)
def test_the_page_says_which_items_are_masked(protocol, sentence, tmp_path) -> None:
    _, page = written({**EVALUATION, "protocol": protocol}, tmp_path)
    text = " ".join(page.text.split())
    assert sentence in text
    assert ("interacted with before the cut are masked" in text) == protocol["seen_masked"]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"candidates": 524.2, "cut": 1.0}, "Pre-rank keeps 300 of 524 candidates per request. "),
        (
            {"candidates": 298.6, "cut": 0.25},
            "keeps 299 of 299 candidates per request, fewer in 25% of the requests. Compared",
        ),
        ({"candidates": 298.6}, "Pre-rank keeps 299 of 299 candidates per request. "),
        (
            {"candidates": 220.4, "cut": 0.0},
            "Pre-rank removes nothing: a request has 220 candidates on average and none more than "
            "the 300 that it keeps.",
        ),
    ],
)
def test_what_prerank_keeps_is_never_more_than_there_is(found, sentence) -> None:
    prerank = {"survive@20": 1.0, "survive@50": 1.0, "keep": 300, **found}
    text = " ".join(terminal({**EVALUATION, "prerank": prerank}).split())
    assert sentence in text


@pytest.mark.parametrize(
    ("ways", "sentence"),
    [
        ({"few": 0.0}, "All rules hold in every slate."),
        ({"few": 0.125, "ads": 0.0}, "Broken rules: few in 12.5% of the slates."),
    ],
)
def test_what_rerank_changes(ways, sentence) -> None:
    found = {"before": {"ndcg@10": 0.25}, "after": {"ndcg@10": 0.24}, "broken_rules": ways}
    text = " ".join(terminal({**EVALUATION, "rerank": found}).split())
    assert f"Re-rank changes ndcg@10 0.2500 → 0.2400. {sentence}" in text
