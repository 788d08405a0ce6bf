"""A column of the log that describes the request, such as the device, reaches the ranker online."""

import json

import numpy as np
import polars as pl
import pytest
from litestar.testing import TestClient

import tamis
from tamis.serve import create_app

CONFIG = """
name = "devices"
[events]
path = "events.csv"
behaviour = "behaviour"
request = "request"
context = ["device"]
[behaviours.show]
impression = true
weight = 0.0
[behaviours.click]
positive = true
[cascade.channels.hot]
fallback = true
quota = 20
[cascade.rank]
use = "fm"
"""
HOUR = 3_600_000
ITEMS = 20


@pytest.fixture(scope="module")
def project(tamis_cli, tmp_path_factory):
    """A trained project: on ios only items with even numbers are clicked, on android odd ones."""
    folder = tmp_path_factory.mktemp("devices")
    random = np.random.default_rng(0)
    rows = []
    for request in range(3_000):
        device = ("ios", "android")[request % 2]
        for item in random.choice(ITEMS, 4, replace=False):
            row = (f"u{random.integers(80)}", f"i{item}", request, device)
            liked = (item % 2 == 0) == (device == "ios") and random.random() < 0.8
            time = 1_600_000_000_000 + request * HOUR // 4
            rows.append((*row, "show", time))
            rows += [(*row, "click", time + 1000)] if liked else []
    names = ["user_id", "item_id", "request", "device", "behaviour", "time"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "events.csv")
    (folder / "tamis.toml").write_text(CONFIG, "utf-8")
    said = tamis_cli("train", folder, "--json")
    assert said.code == 0, said
    return folder


def best(items) -> set[int]:
    """Whether the numbers of the first five items are even or odd: {0}, {1} or {0, 1}."""
    return {int(name[1:]) % 2 for name in items[:5]}


def test_in_python(project):
    opened = tamis.open(project)
    ios, android = (
        opened.recommend("someone new", context={"device": device}) for device in ("ios", "android")
    )
    assert ios.degraded == android.degraded == ()
    assert best([p.item_id for p in ios.items]) == {0}
    assert best([p.item_id for p in android.items]) == {1}
    scores = {p.item_id: p.score for p in opened.recommend("someone new").items}
    unseen = opened.recommend("someone new", context={"device": "fridge"})
    assert len(scores) == len(unseen.items) == ITEMS


def test_on_the_command_line(project, tamis_cli):
    said = tamis_cli("recommend", project, "--context", "device=android", "--json")
    assert best([p["item_id"] for p in json.loads(said.out)["items"]]) == {1}
    for words, message in (
        ("devise=ios", "no column 'devise'; the project declares device"),
        ("ios", "--context ios: give COLUMN=VALUE"),
    ):
        refused = tamis_cli("recommend", project, "--context", words)
        assert refused.code == 1
        assert message in " ".join((refused.err + refused.out).split())


def test_over_http(project):
    with TestClient(create_app(tamis.open(project).recommender)) as client:
        body = {"context": {"device": "ios"}}
        answer = client.post("/v1/recommend", json=body).json()
        assert best([p["item_id"] for p in answer["items"]]) == {0}
        refused = client.post("/v1/recommend", json={"context": {"Device": "ios"}})
        assert refused.status_code == 400
        assert refused.json()["error"]["field"] == "context"
        assert "Did you mean `device`?" in refused.json()["error"]["message"]


def test_evaluation_uses_the_impressions_own_context(project, tamis_cli):
    said = tamis_cli("evaluate", project, "--json")
    assert said.code == 0, said
    result = json.loads(said.out)
    assert result["ranker"]["auc"] > 0.8
    device = result["features"]["device"]
    assert device == device | {"train": 1.0, "test": 1.0, "unseen": 0.0, "codes": 2}
    assert not any(feature["differs"] for feature in result["features"].values())
    shown = tamis_cli("evaluate", project)
    assert "Features with a value" in shown.out
    assert "Features with a value" in (project / "report.html").read_text("utf-8")


def test_scoring_a_table_reads_its_context(project, tamis_cli, tmp_path):
    table = pl.DataFrame(
        {
            "user_id": ["u1"] * 4,
            "item_id": ["i0", "i1", "i0", "i1"],
            "device": ["ios", "ios", "android", "android"],
        }
    )
    table.write_csv(tmp_path / "rows.csv")
    said = tamis_cli("score", project, tmp_path / "rows.csv", "--out", tmp_path / "scores.csv")
    assert said.code == 0, said
    scores = pl.read_csv(tmp_path / "scores.csv").to_series(-1).to_list()
    assert scores[0] > scores[1]
    assert scores[2] < scores[3]
