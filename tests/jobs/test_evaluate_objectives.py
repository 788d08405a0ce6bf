"""`tamis evaluate objectives`: each term's weight moves its own measure, at a price."""

import json

import pytest

from tamis.jobs import evaluate_objectives
from tamis.rerank import Objectives
from tamis.schema import ConfigError


def test_each_term_moves_its_own_measure_and_the_report_says_the_price(
    simulated, tamis_cli, tmp_path
):
    figure = tmp_path / "objectives.svg"
    words = ("--weight", 0.5, "--weight", 3, "--requests", 60, "--figure", figure)
    said = tamis_cli("evaluate", "objectives", simulated, *words, "--json")
    assert said.code == 0, said.err
    found = said.json
    assert found["requests"] == 60
    assert found["declared"] == {"freshness": 0, "coverage": 0, "exposure": 0}
    assert "<svg" in figure.read_text("utf-8")
    for name, rows in found["terms"].items():
        assert [row["weight"] for row in rows] == [0, 0.5, 3]
        own = [row["measures"][name] for row in rows]
        assert own[0]["mean"] < own[1]["mean"] < own[2]["mean"]
        assert own[2]["change"]["low"] > 0
        assert all(one["low"] <= one["mean"] <= one["high"] for one in own)
        assert own[0]["change"] == {"mean": 0, "low": 0, "high": 0}
        measures = {"click", "purchase", "new_items", "diversity", "ndcg@10", "reward"}
        assert measures <= set(rows[0]["measures"])
    fresh, tail = found["terms"]["freshness"], found["terms"]["coverage"]
    assert fresh[2]["measures"]["new_items"]["change"]["mean"] > 0
    # Where the term outweighs the value, everybody gets the same items that nobody knows.
    assert tail[2]["catalogue_coverage"] < tail[0]["catalogue_coverage"]
    first = [rows[0]["measures"]["reward"] for rows in found["terms"].values()]
    assert all(one == first[0] for one in first)  # the same requests, arranged alike
    assert json.dumps(found, allow_nan=False)


def test_the_table_has_a_row_per_weight(simulated, tamis_cli, tmp_path):
    words = ("--weight", 1, "--requests", 20, "--figure", tmp_path / "o.png")
    said = tamis_cli("evaluate", "objectives", simulated, *words)
    assert said.code == 0, said.err
    assert "freshness: mean over slates" in said.out
    assert (tmp_path / "o.png").read_bytes()[:4] == b"\x89PNG"


def test_weights_that_are_negative_are_refused(simulated):
    with pytest.raises(ConfigError, match=r"weights = \[-1\].*give weights of at least 0"):
        evaluate_objectives(simulated, weights=[-1])


def test_a_rule_with_other_weights_is_another_rule():
    rule = Objectives(coverage=1.0, terms="2 * click")
    assert rule.terms == ("coverage", "terms")
    other = rule.with_weights({"coverage": 0.25, "terms": 3.0})
    assert (other.config.coverage, other.config.terms) == (0.25, "3.0 * (2 * click)")
    alone = rule.with_weights({"coverage": 0.5})
    assert (alone.config.coverage, alone.config.terms) == (0.5, "")
    assert rule.config.coverage == 1.0
