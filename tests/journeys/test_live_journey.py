"""A service through HTTP alone: a new user, what was shown, a new item, a hidden one, explanations
later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.service import LiveRecommender
from tamis.testing import redis_server


@pytest.fixture(scope="module", params=["embedded", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the journal."""
    if request.param == "embedded":
        yield ""
    else:
        with redis_server() as address:
            yield address


@pytest.fixture
def client(store: str, numbered: Path, tmp_path: Path) -> Iterator[TestClient]:
    yield from served(shutil.copytree(numbered, tmp_path / "films"), store)


@pytest.fixture
def shop(store: str, shown_once: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service of a project of impressions with the filter `exposed`."""
    yield from served(shutil.copytree(shown_once, tmp_path / "shown"), store)


def served(project: Path, store: str) -> Iterator[TestClient]:
    app = create_app(lambda: LiveRecommender.open(project, store))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def call(client: TestClient, method: str, path: str, **body: Any) -> Any:
    answer = client.request(method, path, json=body or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(client: TestClient, n: int = 20, **fields: Any) -> Any:
    return call(client, "POST", "/v1/recommend", user_id="visitor", n=n, **fields)


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def group(item: str) -> int:
    """Taste in the log goes by the number of the item modulo 3."""
    return int(item) % 1000 % 3


def test_a_journey_through_http(client: TestClient) -> None:
    first = ask(client)
    assert (first["known"], len(first["items"]), first["degraded"]) == (False, 20, [])

    clicked = [item for item in ids(first) if group(item) == 1][:3]
    events = [
        {"user_id": "visitor", "item_id": i, "behaviour": "like", "value": 5} for i in clicked
    ]
    taken = client.post("/v1/events", json=events).json()
    assert (taken["accepted"], taken["refused"]) == (3, 0)
    after = ask(client, recommendation_id="after", scene="home")
    assert after["known"]
    assert not set(ids(after)) & set(clicked)  # what was acted upon does not come back
    own = [sum(group(item) == 1 for item in ids(answer)) for answer in (first, after)]
    assert own[1] > own[0]

    call(client, "PUT", "/v1/items/1901", title="A new comedy", genres="Comedy|Romance")
    assert "1901" in ids(ask(client, n=60)), "a new item appears for a user near its content"
    ranked = call(client, "POST", "/v1/rank", user_id="visitor", item_ids=["1901", "nobody"])
    assert (ids(ranked), ranked["unknown"]) == (["1901"], ["nobody"])

    hidden = ids(after)[0]
    near = f"/v1/similar/{clicked[0]}?n=199"
    assert hidden in ids(call(client, "GET", near))
    call(client, "POST", f"/v1/items/{hidden}/hide")
    assert hidden not in ids(ask(client))
    ranked = call(client, "POST", "/v1/rank", user_id="visitor", item_ids=[hidden])
    assert (ids(ranked), ranked["removed"][0]["filters"]) == ([], ["hidden"])
    assert hidden not in ids(call(client, "GET", near))

    logged = call(client, "GET", "/v1/recommendations/after")
    assert ids(logged) == ids(after)
    assert all(item["reasons"]["text"] for item in logged["items"])
    why = call(client, "GET", f"/v1/recommendations/after/why-not/{clicked[0]}")
    assert (why["stage"], why["item_id"]) == ("filtered", clicked[0])

    alike = call(client, "POST", "/v1/lookalike", item_id=clicked[0], n=10)
    assert len({user["user_id"] for user in alike["users"]}) == 10


def test_what_was_shown_does_not_come_back(shop: TestClient) -> None:
    """Until it is reported as shown, what was recommended may come again."""
    seen: set[str] = set()
    for name in ("first", "second", "third"):
        tried = ids(ask(shop, 3, dry_run=True))
        slate = ids(ask(shop, 3, recommendation_id=name, scene="home"))
        assert slate == tried
        assert len(slate) == 3
        assert not seen & set(slate)
        seen |= set(slate)
        shown = [
            {
                "user_id": "visitor",
                "item_id": item,
                "behaviour": "show",
                "recommendation_id": name,
                "position": place,
            }
            for place, item in enumerate(slate, start=1)
        ]
        assert shop.post("/v1/events", json=shown).json()["accepted"] == 3
    assert len(seen) == 9
    earlier = ids(call(shop, "GET", "/v1/recommendations/first"))
    why = call(shop, "GET", f"/v1/recommendations/third/why-not/{earlier[0]}")
    assert why["stage"] == "filtered"
    assert "exposed" in why["detail"]
