"""A newcomer says interests, place or city and gets what fits: Python, command line and HTTP."""

import json
import shutil

import polars as pl
import pytest
from litestar.testing import TestClient

import tamis
from tamis.serve import create_app

CHANNELS = """
[cascade.channels.itemcf]
quota = 60
[cascade.channels.hot]
fallback = true
quota = 60
[cascade.channels.hot_here]
use = "hot"
by = "city"
quota = 20
[cascade.channels.declared_interests]
quota = 40
[cascade.channels.geohash]
quota = 40
[cascade.channels.city]
quota = 40
[cascade.channels.fresh]
max_age = 20
quota = 5
[cascade.channels.author]
quota = 20
[cascade.channels.demographic]
columns = ["gender"]
quota = 20
[cascade.channels.rules]
quota = 20
[[cascade.channels.rules.rule]]
name = "same author, new"
same = "author"
sort = "published desc"
limit = 5

[cascade.filters.seen]
[cascade.filters.out_of_stock]
[cascade.filters.hidden]
behaviours = ["rate"]
[cascade.filters.region]
user_column = "city"

[cascade.rank]
use = "gbdt"
"""
CITIES = ("Paris", "Tokyo", "Lima")
PLACES = ((48.8566, 2.3522), (35.6762, 139.6503), (-12.0464, -77.0428))
START = 1_600_000_000


@pytest.fixture(scope="module")
def shop(ratings_tables, tamis_cli, tmp_path_factory):
    """A trained project whose items have places, authors, births and stock; one clan per city."""
    folder = ratings_tables(tmp_path_factory.mktemp("context") / "shop", users=150, items=120)
    items = pl.read_csv(folder / "items.csv")
    clan = [row % 3 for row in range(items.height)]
    items.with_columns(
        author=pl.Series([f"a{row % 12}" for row in range(items.height)]),
        published=pl.Series([START - 86_400 * (row + 1) for row in range(items.height)]),
        latitude=pl.Series([PLACES[c][0] for c in clan]),
        longitude=pl.Series([PLACES[c][1] for c in clan]),
        city=pl.Series([CITIES[c] for c in clan]),
        stock=pl.Series([0 if row % 20 == 4 else 3 for row in range(items.height)]),
        regions=pl.Series(["Paris|Lima" if row == 0 else None for row in range(items.height)]),
    ).write_csv(folder / "items.csv")
    users = pl.read_csv(folder / "users.csv")
    city = pl.Series([CITIES[row % 3] for row in range(users.height)])
    users.with_columns(city=city).write_csv(folder / "users.csv")
    assert tamis_cli("init", folder).code == 0
    written = (folder / "tamis.toml").read_text("utf-8")
    head = written[: written.index("[cascade.channels")]
    for role in ("author", "published", "latitude", "longitude", "city"):
        if f"\n{role} = " not in head.split("[users]")[0].split("[items]")[1]:
            head = head.replace("[items]\n", f'[items]\n{role} = "{role}"\n', 1)
    head = head.replace("prerank_keep = 300\n", "")  # no pre-ranker here
    head = head.replace("[users]\n", '[users]\ncity = "city"\n', 1)
    (folder / "tamis.toml").write_text(head + CHANNELS, "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    return folder


def clans(answer) -> set[int]:
    return {int(place.item_id.removeprefix("m")) % 3 for place in answer.items}


def test_declared_interests_reach_a_newcomer(shop, tamis_cli):
    project = tamis.open(shop)
    answer = project.recommend("someone new", 8, interests=["horror"], explain=True)
    assert answer.degraded == ()
    assert clans(answer) == {2}
    assert not answer.known
    named = {c["channel"] for place in answer.items for c in place.reasons.channels}
    assert "declared_interests" in named
    words = ("recommend", shop, "--user-id", "someone new", "--n", 8, "--interests", "horror")
    printed = json.loads(tamis_cli(*words, "--json").out)
    assert [p["item_id"] for p in printed["items"]] == [p.item_id for p in answer.items]


def test_place_and_city_reach_the_channels(shop, tamis_cli):
    project = tamis.open(shop)
    near = project.recommend(None, 10, latitude=48.85, longitude=2.35)
    city = project.recommend(None, 10, city="tokyo")
    assert (near.degraded, city.degraded) == ((), ())
    assert clans(near) == {0}
    assert clans(city) == {1}
    words = ("recommend", shop, "--latitude", "48.85", "--n", 3)
    refused = tamis_cli(*words)
    assert refused.code == 1
    assert "latitude is given without longitude" in refused.err + refused.out


def test_over_http(shop):
    recommender = tamis.open(shop).recommender
    with TestClient(create_app(recommender)) as client:
        body = {"user_id": "nobody", "n": 6, "interests": ["Comedy", "no such thing"]}
        answer = client.post("/v1/recommend", json=body).json()
        assert answer["degraded"] == []
        assert {int(p["item_id"][1:]) % 3 for p in answer["items"]} == {1}
        half = client.post("/v1/recommend", json={"longitude": 3})
        assert half.status_code == 400
        assert "longitude is given without latitude" in half.json()["error"]["message"]


def test_filters_say_why(shop):
    project = tamis.open(shop)
    user = "u1"  # lives in Tokyo
    shown = {p.item_id for p in project.recommend(user, 50).items}
    assert not shown & {f"m{i}" for i in range(4, 120, 20)}
    lost = project.recommend("someone", 8, interests=["comedy"], why_not="m4").why_not
    assert lost.stage == "filtered"
    assert "out of stock" in lost.detail
    there = project.recommend(user, 5, latitude=48.85, longitude=2.35, why_not="m0").why_not
    assert there.stage == "filtered"
    assert "region" in there.detail


def test_what_a_version_does_not_read_it_says(shop, tamis_cli, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(shop, folder)
    shutil.rmtree(folder / "versions", ignore_errors=True)
    text = (folder / "tamis.toml").read_text("utf-8")
    head = text[: text.index("[cascade.channels")]
    plain = "[cascade.channels.hot]\n[cascade.rank]\nuse = 'gbdt'\n"
    (folder / "tamis.toml").write_text(head + plain, "utf-8")
    assert tamis_cli("train", folder, "--only", "serving", "--json").code == 0
    answer = tamis.open(folder).recommend(None, 3, interests=["Horror"], city="Lima")
    assert len(answer.items) == 3
    assert answer.degraded == (
        "interests: no channel of this version reads declared interests",
        "city: no channel or filter of this version reads the request's city",
    )
