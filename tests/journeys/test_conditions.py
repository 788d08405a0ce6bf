"""Conditions in `tamis.toml` and in requests: Python, command line and HTTP."""

import json

import polars as pl
import pytest
from litestar.testing import TestClient

import tamis
from tamis.schema import RequestError
from tamis.serve import create_app

STAGES = """
[cascade.channels.hot]
quota = 60
[cascade.channels.rules]
[[cascade.channels.rules.rule]]
name = "cheap"
where = "price < 20 and not genres contains 'Horror'"
[cascade.filters.affordable]
use = "condition"
where = "missing(user.budget) or price <= user.budget"
[cascade.filters.delivered]
use = "condition"
where = "region in request.regions"
[cascade.rank]
use = "gbdt"
[cascade.rerank.few_dear_ones]
use = "at_most"
column = "region"
where = "price > 50"
"""


@pytest.fixture(scope="module")
def shop(ratings_tables, tamis_cli, tmp_path_factory):
    """A trained project whose items have a price and a region, and whose users have a budget."""
    folder = ratings_tables(tmp_path_factory.mktemp("conditions") / "shop", users=120, items=60)
    items = pl.read_csv(folder / "items.csv")
    items.with_columns(
        price=pl.Series([float(row) for row in range(items.height)]),
        region=pl.Series([("FR", "DE", "BE")[row % 3] for row in range(items.height)]),
    ).write_csv(folder / "items.csv")
    users = pl.read_csv(folder / "users.csv")
    budget = pl.Series([30.0 if row == 1 else None for row in range(users.height)])
    users.with_columns(budget=budget).write_csv(folder / "users.csv")
    assert tamis_cli("init", folder).code == 0
    written = (folder / "tamis.toml").read_text("utf-8")
    head = written[: written.index("[cascade.channels")].replace("prerank_keep = 300\n", "")
    (folder / "tamis.toml").write_text(head + STAGES, "utf-8")
    trained = tamis_cli("train", folder, "--only", "serving", "--json")
    assert trained.code == 0, trained
    return folder


def prices(answer) -> list[int]:
    """The price of an item is its number."""
    return [int(place.item_id.removeprefix("m")) for place in answer.items]


def test_conditions_of_the_configuration(shop):
    project = tamis.open(shop)
    assert max(prices(project.recommend("u1", 60))) <= 30
    assert max(prices(project.recommend("nobody", 60))) > 30
    here = project.recommend("nobody", 60, values={"regions": ["FR", "BE"]})
    assert here.degraded == ()
    assert {price % 3 for price in prices(here)} == {0, 2}
    lost = project.recommend("u1", 5, why_not="m40").why_not
    assert lost.stage == "filtered"
    assert "filter affordable: not missing(user.budget) or price <= user.budget" in lost.detail


def test_a_filter_of_the_request(shop, tamis_cli):
    project = tamis.open(shop)
    condition = "10 <= price < request.most and region != 'DE'"
    answer = project.recommend("nobody", 60, filter=condition, values={"most": 25}, why_not="m40")
    expected = [p for p in range(10, 25) if p % 3 != 1]
    assert sorted(prices(answer)) == expected
    assert answer.degraded == ()
    assert answer.why_not.detail == f"filter request.filter: not {condition}"
    assert len(project.recommend("nobody", 60).items) > len(expected)  # it was of one request
    words = ("recommend", shop, "--n", 60, "--filter", condition, "--value", "most=25", "--json")
    printed = json.loads(tamis_cli(*words).out)
    assert sorted(int(p["item_id"][1:]) for p in printed["items"]) == expected
    listed = ("recommend", shop, "--n", 60, "--value", 'regions=["DE"]', "--json")
    there = json.loads(tamis_cli(*listed).out)["items"]
    assert {int(p["item_id"][1:]) % 3 for p in there} == {1}


def test_channels_recall_items_that_meet_the_filter_of_a_request(shop, monkeypatch):
    few = {"filter": "price in [3, 40, 55]", "why_not": "m7"}
    recommender = tamis.open(shop).recommender
    for channel in recommender.parts.config.cascade.channels.values():
        monkeypatch.setitem(vars(channel), "quota", 3)
    answer = recommender.recommend("nobody", 3, **few)
    assert sorted(prices(answer)) == [3, 40, 55]
    assert answer.why_not.stage == "filtered"
    monkeypatch.setattr("tamis.service.request_filter.MOST_LISTED", 5)
    assert len(recommender.recommend("nobody", 3, **few).items) < 3


def test_over_http(shop):
    with TestClient(create_app(tamis.open(shop).recommender)) as client:
        body = {
            "user_id": "nobody",
            "n": 60,
            "filter": "price in [3, 6]",
            "values": {"regions": "x"},
        }
        answer = client.post("/v1/recommend", json=body)
        assert answer.status_code == 400  # region in "x": a text is no list
        assert answer.json()["error"]["field"] == "values"
        body["values"] = {"regions": ["FR"], "colour": "red"}
        found = client.post("/v1/recommend", json=body).json()
        assert sorted(p["item_id"] for p in found["items"]) == ["m3", "m6"]
        assert found["degraded"] == ["values: no filter of this version reads 'colour'"]
        wrong = client.post("/v1/recommend", json={"filter": "prise < 3"})
        assert wrong.status_code == 400
        error = wrong.json()["error"]
        assert error["field"] == "filter"
        assert (
            "column 1: `prise` is no column of the items. Did you mean `price`" in error["message"]
        )


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"filter": "price <"}, "filter", "condition `price <`, column 8: it ends where"),
        ({"filter": "price < request.most"}, "filter", "`request.most` is no value of the request"),
        ({"filter": "price == 'x'"}, "filter", '`price` is a number and "x" a text'),
        ({"values": {"city": "Paris"}}, "city", "city is a field of its own, not in values"),
        ({"values": {"sizes": [1, "x"]}}, "values", "give values of one type"),
        ({"values": {"most": float("inf")}}, "values", "give a finite number"),
    ],
)
def test_faults_of_a_request_name_the_field(shop, fields, field, message):
    with pytest.raises(RequestError) as fault:
        tamis.open(shop).recommend("nobody", 5, **fields)
    assert fault.value.field == field
    assert message in str(fault.value)
