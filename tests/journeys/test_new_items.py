"""New items and new users of a running service, over HTTP."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.service import LiveRecommender

GENRES = ("Drama", "Comedy|Romance", "Horror|Thriller")
MOODS = ("sad", "gay", "grim")


@pytest.fixture(scope="module")
def client(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("new") / "shop"
    shutil.copytree(numbered, folder)
    app = create_app(lambda: LiveRecommender.open(folder))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def slate(client: TestClient, user: str, n: int = 60) -> list[str]:
    answer = client.post("/v1/recommend", json={"user_id": user, "n": n, "dry_run": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["degraded"] == []
    return [item["item_id"] for item in answer.json()["items"]]


def put(client: TestClient, item: str, group: int) -> None:
    title = f"Film {item}, the {MOODS[group]} one (1995)"
    answer = client.put(f"/v1/items/{item}", json={"title": title, "genres": GENRES[group]})
    assert answer.status_code == 200, answer.text


def test_a_new_item_appears_for_users_near_its_content_within_one_request(client: TestClient):
    """The log has three groups of taste, by the numbers of users and items modulo 3."""
    users = {group: [str(3 * k + group) for k in range(5, 15)] for group in range(3)}
    for group in range(3):
        put(client, f"900{group}", group)
        assert f"900{group}" in slate(client, users[group][0]), "in the very next answer"
    for group, members in users.items():
        found = [slate(client, user) for user in members]
        counts = [sum(f"900{g}" in items for items in found) for g in range(3)]
        others = [count for g, count in enumerate(counts) if g != group]
        assert counts[group] >= 9
        assert max(others) <= 5, f"group {group} gets the items of others: {counts}"


def test_an_item_whose_columns_change_moves_to_other_users(client: TestClient):
    put(client, "9010", 0)
    assert "9010" in slate(client, "30")
    assert "9010" not in slate(client, "31")
    patched = client.patch("/v1/items/9010", json={"genres": GENRES[1]})
    assert patched.status_code == 200, patched.text
    assert "9010" in slate(client, "31")
    assert "9010" not in slate(client, "30")


@pytest.mark.parametrize("group", range(3))
def test_three_clicks_of_an_unknown_user_turn_the_next_slate(client: TestClient, group: int):
    user = f"visitor {group}"
    before = slate(client, user, 20)
    clicked = [item for item in slate(client, user) if own(item) == group][:3]
    events = [
        {"user_id": user, "item_id": item, "behaviour": "like", "value": 5} for item in clicked
    ]
    assert client.post("/v1/events", json=events).json()["accepted"] == 3
    after = slate(client, user, 20)
    share = [sum(own(item) == group for item in items) / 20 for items in (before, after)]
    assert share[1] > share[0] + 0.3
    assert not set(clicked) & set(after)


def test_clicks_on_new_items_count_for_a_new_user(client: TestClient):
    """What he clicked did not exist when the version was made, and neither did he."""
    for k in range(3):
        put(client, f"902{k}", 2)
    before = slate(client, "newcomer", 20)
    events = [
        {"user_id": "newcomer", "item_id": f"902{k}", "behaviour": "like", "value": 5}
        for k in range(3)
    ]
    assert client.post("/v1/events", json=events).json()["accepted"] == 3
    after = slate(client, "newcomer", 20)
    assert not {"9020", "9021", "9022"} & set(after), "what was liked does not come back"
    share = [sum(own(item) == 2 for item in items) / 20 for items in (before, after)]
    assert share[1] > share[0], share


def own(item: str) -> int:
    """The group of taste of an item."""
    known = {"900": int(item) % 10, "901": 1, "902": 2}  # 9010 has changed its group
    return known.get(item[:3], int(item) % 1000 % 3)
