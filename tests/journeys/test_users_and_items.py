"""Users and items by HTTP: they are answered at once, change, and are gone after a deletion."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.service import LiveRecommender


@pytest.fixture(scope="module")
def project(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("rows") / "numbered"
    shutil.copytree(numbered, copy)
    return copy


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[TestClient[Any]]:
    live = LiveRecommender.open(project)
    with TestClient(create_app(live)) as client:
        yield client


def ask(client: TestClient[Any], **fields: object) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json=fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["degraded"] == []
    return answer.json()


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_a_new_item_has_its_title_and_is_read_back(client: TestClient[Any]) -> None:
    put = client.put("/v1/items/fresh", json={"title": "Fresh, the sad one", "genres": "Drama"})
    assert put.json() == {"status": "accepted", "id": "fresh", "sequence": put.json()["sequence"]}
    patched = client.patch("/v1/items/fresh", json={"title": "Fresh again"})
    assert patched.status_code == 200
    assert client.get("/v1/items/fresh").json() == {
        "item_id": "fresh",
        "columns": {"title": "Fresh again", "genres": "Drama"},
        "hidden": False,
    }
    hidden = client.post("/v1/items/fresh/hide").json()
    assert (hidden["status"], hidden["id"], hidden["hidden"]) == ("accepted", "fresh", True)
    assert client.get("/v1/items/fresh").json()["hidden"]
    client.post("/v1/items/fresh/show")
    answer = ask(client, user_id="3", n=5, why_not="fresh")
    assert answer["why_not"]["title"] == "Fresh again"
    ranked = client.post("/v1/rank", json={"user_id": "3", "item_ids": ["fresh", "1001"]})
    assert {line["item_id"] for line in ranked.json()["items"]} <= {"fresh", "1001"}


def test_a_deleted_item_is_gone_until_it_is_put(client: TestClient[Any]) -> None:
    first = ask(client, user_id="9", n=1)["items"][0]["item_id"]
    before = client.get(f"/v1/items/{first}").json()["columns"]
    gone = client.delete(f"/v1/items/{first}").json()
    assert gone == {"status": "accepted", "id": first, "sequence": gone["sequence"]}
    assert first not in [i["item_id"] for i in ask(client, user_id="9", n=50)["items"]]
    assert error_of(client.get(f"/v1/items/{first}"), 404)["code"] == "not_found"
    assert error_of(client.delete(f"/v1/items/{first}"), 404)["code"] == "not_found"
    for what in ("show", "hide"):
        assert "put the item" in error_of(client.post(f"/v1/items/{first}/{what}"), 404)["message"]
    assert client.put(f"/v1/items/{first}", json=before).status_code == 200
    assert ask(client, user_id="9", n=1)["items"][0]["item_id"] == first


def test_a_profile_alone_makes_a_user_known(client: TestClient[Any]) -> None:
    assert not ask(client, user_id="profile", n=3)["known"]
    client.put("/v1/users/profile", json={"gender": "F", "age": 33})
    assert ask(client, user_id="profile", n=3)["known"]
    client.patch("/v1/users/profile", json={"age": 34})
    read = client.get("/v1/users/profile").json()
    assert read == {"user_id": "profile", "columns": {"gender": "F", "age": 34}}
    client.put("/v1/users/profile", json={"user_id": "profile", "age": 35})
    assert client.get("/v1/users/profile").json()["columns"] == {"age": 35}


def test_a_deleted_user_is_a_stranger_and_the_versions_are_named(client: TestClient[Any]) -> None:
    asked = ask(client, user_id="12", n=3)
    stranger = ask(client, n=10)
    gone = client.delete("/v1/users/12").json()
    assert (gone["status"], gone["id"], gone["answers"]) == ("accepted", "12", 1)
    assert len(gone["versions"]) == 1
    assert error_of(client.get("/v1/users/12"), 404)["code"] == "not_found"
    earlier = client.get(f"/v1/recommendations/{asked['recommendation_id']}")
    assert earlier.status_code == 404
    after = ask(client, user_id="12", n=10)
    assert not after["known"]
    assert [i["item_id"] for i in after["items"]] == [i["item_id"] for i in stranger["items"]]
    client.post("/v1/events", json={"user_id": "12", "item_id": "1003", "behaviour": "like"})
    assert ask(client, user_id="12", n=3)["known"]
    assert client.get("/v1/users/12").json()["columns"] == {}


def test_ids_may_hold_slashes(client: TestClient[Any]) -> None:
    """`a/b` and `a%2Fb` are two ids, and `a/b/hide` is no other route."""
    for sent, item in (("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("a%2fb%2Fhide", "a/b/hide")):
        put = client.put(f"/v1/items/{sent}", json={"title": item})
        assert put.json()["id"] == item
        assert client.get(f"/v1/items/{sent}").json()["columns"] == {"title": item}
        assert client.post(f"/v1/items/{sent}/hide").json()["id"] == item
        assert client.delete(f"/v1/items/{sent}").json()["id"] == item
        user = client.put(f"/v1/users/{sent}", json={"age": 40}).json()
        assert user["id"] == client.get(f"/v1/users/{sent}").json()["user_id"] == item
    assert "/v1/nothing/a%2Fb" in error_of(client.get("/v1/nothing/a%2Fb"), 404)["message"]


def test_rows_of_a_call_are_answered_one_by_one(client: TestClient[Any]) -> None:
    rows = [{"item_id": "b1", "title": "B1"}, {"item_id": "b2", "titel": "B2"}, {"title": "B3"}]
    answer = client.put("/v1/items", json=rows).json()
    assert (answer["accepted"], answer["refused"]) == (1, 2)
    assert [row.get("id") for row in answer["rows"]] == ["b1", None, None]
    wrong = answer["rows"][1]["error"]
    assert "Did you mean `title`" in wrong["message"]
    assert (wrong["field"], wrong["value"]) == ("titel", "B2")
    assert "/schema" in wrong["cure"]
    people = [{"user_id": 3, "age": 50}, {"user_id": "3", "age": "old"}]
    answer = client.patch("/v1/users", json=people).json()
    assert [row["status"] for row in answer["rows"]] == ["accepted", "refused"]
    assert client.get("/v1/users/3").json()["columns"]["age"] == 50


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("put", "/v1/items/x", {"price": 3}, "price"),
        ("put", "/v1/items/x", {"item_id": "y"}, "item_id"),
        ("put", "/v1/items/7", {"item_id": 8}, "item_id"),
        ("patch", "/v1/users/x", {"age": [1]}, "age"),
        ("put", "/v1/items/x", [], None),
        ("put", "/v1/items", {"item_id": "x"}, None),
        ("patch", "/v1/users/%20", {}, "user_id"),
    ],
)
def test_a_wrong_call_is_a_400(
    client: TestClient[Any], method: str, path: str, body: object, field: str | None
) -> None:
    error = error_of(client.request(method.upper(), path, json=body), 400)
    assert (error["code"], error.get("field")) == ("bad_request", field)


def test_unknown_users_and_items_are_a_404(client: TestClient[Any]) -> None:
    for path in ("/v1/users/nobody", "/v1/items/nothing"):
        assert error_of(client.get(path), 404)["code"] == "not_found"
    assert error_of(client.delete("/v1/items/nothing"), 404)["code"] == "not_found"
    assert client.delete("/v1/users/nobody").json()["versions"] == []


def test_the_document_describes_the_routes(client: TestClient[Any]) -> None:
    paths = client.get("/schema/openapi.json").json()["paths"]
    for what in ("users/{user_id}", "items/{item_id}"):
        assert {"get", "put", "patch", "delete"} <= set(paths[f"/v1/{what}"])
    assert {"put", "patch"} <= set(paths["/v1/items"])
