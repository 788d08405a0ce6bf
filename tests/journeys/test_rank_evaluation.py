"""`tamis evaluate rank`: the ranker on the test window, per task and per segment."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import tamis
from tamis.bundle import Kind, Versions
from tamis.cascade.replay import impression_window
from tamis.evaluate.scored_rows import scored_blocks
from tamis.features import Histories
from tamis.jobs._version_data import hydrate_of, in_rows_of
from tamis.jobs.evaluate_cascade import IMPRESSIONS
from tamis.service import Recommender

MEASURES = {"rows", "positives", "auc", "gauc", "ndcg@10", "logloss", "ne", "pcoc", "ece"}


@pytest.fixture(scope="module", params=["ratings", "simulated"])
def judged(request, tamis_cli, tmp_path_factory):
    """A project, the JSON of the command on it, and the page."""
    folder = request.getfixturevalue(request.param)
    page = tmp_path_factory.mktemp("rank") / "rank.html"
    said = tamis_cli("evaluate", "rank", folder, "--report", page, "--json")
    assert (said.code, said.problems) == (0, "")
    return folder, said.json, page


def test_every_task_and_segment_has_metrics(judged) -> None:
    folder, result, _ = judged
    tasks = list(tamis.open(folder).config.tasks) or ["positive"]
    assert set(tasks) <= set(result["kinds"])
    assert set(result["models"]) == {"rank", "prerank"}
    for told in result["models"].values():
        assert set(told) == set(result["kinds"])
        rates = [values for task, values in told.items() if result["kinds"][task] == "binary"]
        assert all(set(values) >= MEASURES for values in rates)
    whole = result["models"]["rank"][tasks[0]]
    assert whole["rows"] == result["protocol"]["rows"]
    assert 0 < whole["ece"] < 1
    assert {"known users", "known items"} <= set(result["segments"])
    for values in result["segments"].values():
        assert 0 < values[tasks[0]]["rows"] <= whole["rows"]
    for model, told in result["models"].items():
        for task, values in told.items():
            missing = {metric for metric, value in values.items() if value is None}
            assert set(result["undefined"][model].get(task, {})) == missing
    for segment, told in result["segments"].items():
        for task, values in told.items():
            missing = {metric for metric, value in values.items() if value is None}
            assert set(result["undefined"]["segments"][segment].get(task, {})) == missing
    halves = [values for name, values in result["segments"].items() if name.endswith("items")]
    assert sum(values[tasks[0]]["rows"] for values in halves) == whole["rows"]
    assert sum(b["count"] for b in result["calibration"][tasks[0]]["curve"]) == whole["rows"]
    for buckets in result["calibration"][tasks[0]]["buckets"].values():
        assert sum(b["rows"] for b in buckets) == whole["rows"]


def test_the_coverage_of_each_feature_is_reported(judged) -> None:
    folder, result, page = judged
    features = result["features"]
    parts = Recommender(Versions(folder).current(Kind.EVALUATION)).parts
    assert {f.name for f in parts.space.features} <= features.keys()
    for shares in features.values():
        assert 0 <= shares["unseen"] <= shares["test"] <= 1
    assert "Features with a value" in page.read_text("utf-8")


def test_the_page_is_self_contained_and_states_the_protocol(judged) -> None:
    _, result, page = judged
    html = page.read_text("utf-8")
    assert "<svg" in html
    assert not re.search(r'(src|href)="(?!#)', html)
    assert "<script" not in html
    assert result["protocol"]["rows_are"] in unescape(html)
    assert len(re.findall(r"Calibration by feature", html)) == 1
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_metrics_equal_scikit_learn_on_the_same_rows(simulated, tamis_cli) -> None:
    recommender = Recommender(Versions(simulated).current(Kind.EVALUATION))
    parts, cut = recommender.parts, recommender.manifest.data_until
    data = in_rows_of(parts, tamis.open(simulated).data)
    rows = impression_window(parts.config, data, Histories.of(data), (cut, data.end), IMPRESSIONS)
    blocks = list(scored_blocks(rows, hydrate_of(parts, data), {"rank": parts.rank}))
    labels = np.concatenate([b.labels for b in blocks])[:, 0]
    scores = np.concatenate([b.scores["rank"]["click"] for b in blocks])
    said = tamis_cli("evaluate", "rank", simulated, "--json").json
    found = said["models"]["rank"]["click"]
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert found["logloss"] == pytest.approx(log_loss(labels, scores.astype(float)), rel=1e-6)
    assert found["pcoc"] == pytest.approx(scores.sum() / labels.sum(), rel=1e-5)
    assert (simulated / "rank.html").is_file()


def test_the_terminal_output_has_tables(simulated, tamis_cli) -> None:
    said = tamis_cli("evaluate", "rank", simulated)
    assert said.code == 0
    for words in (
        "Protocol: impressions after the test cut",
        "click, by segment",
        "known users",
        "Features with a value",
    ):
        assert words in said.out
    assert "rank.html" in said.out


def test_options_of_other_sub_commands_are_usage_errors(ratings, tamis_cli) -> None:
    said = tamis_cli("evaluate", "rank", ratings, "--protocol", "time")
    assert said.code == 2
    assert "No such option: --protocol" in said.err
