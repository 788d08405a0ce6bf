"""Lookalike of a simulated shop: the command, its file, and the service."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar.testing import TestClient

import tamis
from tamis.bundle import Kind, Versions
from tamis.schema import RequestError
from tamis.serve import create_app
from tamis.service import LiveRecommender, LookalikeSearch


@pytest.fixture(scope="module")
def found(simulated: Path) -> LookalikeSearch:
    return LookalikeSearch(Versions(simulated))


def liked_most(found: LookalikeSearch) -> str:
    serving = found.serving
    return str(serving.parts.items.ids[int(serving.likes.per_item().argmax())])


def test_lookalike_users_like_items_more_often_than_random_ones(found: LookalikeSearch):
    """The figure: held-out likes of the users found, against users drawn at random."""
    users = found.to_item(liked_most(found), 40)
    assert users.channel == "two_tower"
    lift = users.expected_lift
    assert lift is not None
    assert lift.items >= 50
    assert lift.low > 1.5
    assert lift.rate > lift.random_rate


def test_seeds_and_users_who_liked_the_item_are_left_out(found: LookalikeSearch):
    serving, item = found.serving, liked_most(found)
    liked = set(serving.likes.users_of(serving.parts.items.row(item)).tolist())
    users = serving.parts.users.rows(
        [u.user_id for u in found.to_item(item, 400, lift=False).users]
    )
    assert not liked & set(users.tolist())
    ids = serving.parts.users.ids[:3].to_list()
    near = found.to_users([*ids, "nobody"], 50, lift=False)
    assert near.unknown_user_ids == ("nobody",)
    assert not set(ids) & {user.user_id for user in near.users}
    scores = [user.score for user in near.users]
    assert scores == sorted(scores, reverse=True)
    assert [user.rank for user in near.users] == list(range(1, 51))
    twin = found.to_users(ids[:1], 1, lift=False).users[0].user_id  # nearest to one is near to both
    assert twin in {user.user_id for user in found.to_users(ids[:1], 5, lift=False).users}


def test_what_cannot_be_asked_is_explained(found: LookalikeSearch):
    with pytest.raises(RequestError, match="knows nothing of the 1 given users, such as nobody"):
        found.to_users(["nobody"])
    with pytest.raises(RequestError, match="n = 0: give at least 1"):
        found.to_item(liked_most(found), 0)
    with pytest.raises(RequestError, match="nosuch"):
        found.to_item("nosuch")
    with pytest.raises(RequestError, match="this channel has no vectors; name one that has"):
        LookalikeSearch(found.versions, "hot").to_item(liked_most(found))


def test_the_command_writes_the_users(
    simulated: Path, found: LookalikeSearch, tmp_path: Path, tamis_cli: Callable[..., Any]
):
    out, item = tmp_path / "users.parquet", liked_most(found)
    said = tamis_cli("lookalike", simulated, "--item", item, "-n", 30, "--out", out)
    assert said.code == 0, said
    assert "Expected lift" in said.out
    frame = pl.read_parquet(out)
    assert frame.columns == ["user_id", "score", "rank"]
    assert frame["user_id"].to_list() == [u.user_id for u in found.to_item(item, 30).users]
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("\n".join(frame["user_id"].head(10)), "utf-8")
    said = tamis_cli("lookalike", simulated, "--seeds", seeds, "-n", 20, "--json")
    assert (said.code, len(said.json["users"]), said.json["seeds"]) == (0, 20, 10)
    table = tmp_path / "seeds.csv"
    frame.head(10).write_csv(table)
    again = tamis.open(simulated).lookalike(seeds=table, n=20).found
    assert [u["user_id"] for u in said.json["users"]] == [u.user_id for u in again.users]
    said = tamis_cli("lookalike", simulated)
    assert said.code == 1
    assert "item_id, user_ids, seeds: 0 of them are given; give one" in said.problems


@pytest.fixture
def client(simulated: Path, tmp_path: Path) -> Iterator[TestClient]:
    shutil.copytree(simulated, tmp_path / "shop")
    app = create_app(lambda: LiveRecommender.open(tmp_path / "shop"))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def test_the_service_answers_with_the_expected_lift(client: TestClient, found: LookalikeSearch):
    item = liked_most(found)
    answer = client.post("/v1/lookalike", json={"item_id": item, "n": 25})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [u["user_id"] for u in said["users"]] == [
        u.user_id for u in found.to_item(item, 25).users
    ]
    assert said["expected_lift"]["low"] > 1
    near = client.post("/v1/lookalike", json={"user_ids": [said["users"][0]["user_id"]], "n": 3})
    assert (near.status_code, len(near.json()["users"])) == (200, 3)
    for body in ({}, {"item_id": item, "user_ids": ["1"]}, {"item_id": "nosuch"}, {"n": 0}):
        refused = client.post("/v1/lookalike", json=body)
        assert refused.status_code == 400, json.dumps(body)


def test_deleted_users_are_not_found_and_the_version_that_answers_is_compared(
    client: TestClient, found: LookalikeSearch, tmp_path: Path, tamis_cli: Callable[..., Any]
):
    versions, item = Versions(tmp_path / "shop"), liked_most(found)
    published = versions.pointer(Kind.SERVING).read_bytes()
    versions.pointer(Kind.SERVING).unlink()  # the service answers from the version that it opened
    first = client.post("/v1/lookalike", json={"item_id": item, "n": 3}).json()["users"]
    gone = first[0]["user_id"]
    likes = found.serving.likes.users_of(found.serving.parts.items.row(item))
    seed = str(found.serving.parts.users.ids[int(likes[-1])])
    for user in (gone, seed):
        assert client.delete(f"/v1/users/{user}").status_code == 200
    back = [{"user_id": gone, "item_id": item, "behaviour": "click"}]
    assert client.post("/v1/events", json=back).status_code == 200
    later = client.post("/v1/lookalike", json={"item_id": item, "n": 400}).json()
    assert not {gone, seed} & {user["user_id"] for user in later["users"]}
    assert len(later["users"]) > 100
    given = {"user_ids": [gone, first[1]["user_id"]], "n": 400}
    near = client.post("/v1/lookalike", json=given).json()
    assert (near["seeds"], near["unknown_user_ids"]) == (1, [gone])
    assert not {gone, seed} & {user["user_id"] for user in near["users"]}
    versions.pointer(Kind.SERVING).write_bytes(published)
    said = tamis_cli("lookalike", tmp_path / "shop", "--item", item, "-n", 400, "--json").json
    assert [user["user_id"] for user in said["users"]] == [u["user_id"] for u in later["users"]]
