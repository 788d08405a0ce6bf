"""A project of `tamis init` chooses what orders its candidates, and says so everywhere."""

import shutil

import numpy as np
import pytest

import tamis
from tamis.bundle import Kind, Versions
from tamis.cascade import CandidateOrder
from tamis.service import ORDER, Parts


@pytest.fixture(scope="module")
def evaluated(ratings, tamis_cli, tmp_path_factory):
    """The JSON of the evaluation of the project that `init` wrote."""
    report = tmp_path_factory.mktemp("order") / "report.html"
    result = tamis_cli("evaluate", "cascade", ratings, "--report", report, "--json")
    assert result.code == 0, result.err
    return result.json


@pytest.fixture
def project(ratings, tmp_path):
    return shutil.copytree(ratings, tmp_path / "project")


def test_the_default_project_is_not_below_its_best_channel_beyond_noise(evaluated):
    for channel, difference in evaluated["intervals"].items():
        assert difference["high"] > 0, (channel, difference)


def test_the_choice_is_stored_in_both_versions_and_not_in_their_configuration(ratings):
    orders = set()
    for kind in Kind:
        version = Versions(ratings).current(kind)
        parts = Parts.open(version)
        assert parts.config.cascade.order == "auto"
        assert parts.order == CandidateOrder.load(version.path / ORDER) == parts.cascade().order
        assert version.manifest.settings["order"]["by"] == parts.order.text
        tried = version.manifest.metrics["validation"]["order"]
        assert {"the ranker", "the channel hot", "the channel itemcf"} < set(tried)
        assert max(tried, key=tried.get) == parts.order.text
        orders.add(parts.order)
    assert len(orders) == 1


def test_the_report_says_what_orders_the_candidates_and_why(evaluated, ratings):
    why = Versions(ratings).current(Kind.EVALUATION).manifest.settings["order"]["why"]
    assert f"{why[0].upper()}{why[1:]}." in evaluated["notes"]
    assert "validation windows" in evaluated["settings"]["order"]["protocol"]


def test_a_channels_order_is_served(project):
    """With the order of `hot` the slate is hot's list, without re-rank rules."""
    version = Versions(project).current(Kind.SERVING)
    parts = Parts.open(version)
    parts.order, parts.rerank = CandidateOrder(0.0, (("hot", 1.0),)), {}
    cascade = parts.cascade()
    time = np.array([version.manifest.data_until], np.int64)
    outcome = cascade.run(parts.queries(parts.users.rows(["u1"]), time), 10)
    hot = parts.channels["hot"].recall(outcome.queries, 10).item[0]
    assert outcome.slate.item.tolist() == hot.tolist()


def test_the_reasons_name_the_order(ratings):
    answer = tamis.open(ratings).recommend("u1", n=3, explain=True)
    order = Parts.open(Versions(ratings).current(Kind.SERVING)).order
    for place in answer.items:
        assert place.reasons.order == order.text
        assert (place.reasons.fused == place.reasons.value) == (not order.channels)


def test_the_ranker_alone_is_refitted_with_its_order(project, tamis_cli):
    declared = project / "tamis.toml"
    text = declared.read_text("utf-8")
    assert 'order = "auto"' in text
    result = tamis_cli("train", project, "--ranker-only", "--only", "serving", "--json")
    assert result.code == 0, result.err
    assert result.json["settings"]["order"]["by"] in result.json["validation"]["order"]
    declared.write_text(text.replace('order = "auto"', 'order = "rank"'), "utf-8")
    result = tamis_cli("train", project, "--ranker-only", "--only", "serving")
    assert result.code == 0, result.err
    version = Versions(project).current(Kind.SERVING)
    assert not (version.path / ORDER).exists()
    assert Parts.open(version).order == CandidateOrder()
    assert "order" not in version.manifest.settings


def test_with_impressions_queries_are_replayed_at_the_validation_window(simulated):
    assert 'order = "auto"' in (simulated / "tamis.toml").read_text("utf-8")
    version = Versions(simulated).current(Kind.EVALUATION)
    found = version.manifest.settings["order"]
    assert "queries of 1 validation windows" in found["protocol"]
    assert found["by"] in version.manifest.metrics["validation"]["order"]
    assert CandidateOrder.load(version.path / ORDER).text == found["by"]
