"""Hostile bodies on every route of a live service: no 5xx, no undocumented status, no traceback."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_bodies import IDS, RAW, bodies_with
from litestar.testing import TestClient

from tamis.serve import Keys, add_key, create_app
from tamis.service import EventRow, RankRequest, Request, Serving

JSON = {"content-type": "application/json"}
BODIES = {
    ("POST", "/v1/recommend"): Request.__struct_fields__,
    ("POST", "/v1/rank"): RankRequest.__struct_fields__,
    ("POST", "/v1/events"): EventRow.__struct_fields__,
    ("PUT", "/v1/users/{user_id}"): ("age", "gender", "user_id"),
    ("PATCH", "/v1/items/{item_id}"): ("title", "genres", "item_id"),
    ("PUT", "/v1/items"): ("item_id", "title", "genres"),
    ("PATCH", "/v1/users"): ("user_id", "age"),
    ("POST", "/v1/lookalike"): (),
}
"""Routes with a body, and the fields that get odd values."""


@pytest.fixture(scope="module")
def client(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    project = tmp_path_factory.mktemp("hostile") / "shop"
    shutil.copytree(numbered, project)
    app = create_app(lambda: Serving.open(project))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


@pytest.fixture(scope="module")
def documented(client: TestClient) -> dict[tuple[str, str], set[int]]:
    """(method, path) → the statuses that the OpenAPI document names."""
    paths: dict[str, Any] = client.get("/schema/openapi.json").json()["paths"]
    return {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def check(answer: Any, statuses: set[int], sent: object) -> None:
    assert answer.status_code < 500, (answer.text, sent)
    assert answer.status_code in statuses, (answer.status_code, sent)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert len(error["message"]) > 10, sent
        assert error["code"], sent
        assert error["cure"], sent


@pytest.mark.parametrize("route", BODIES, ids=lambda route: " ".join(route))
def test_hostile_bodies(
    client: TestClient,
    documented: dict[tuple[str, str], set[int]],
    caplog: pytest.LogCaptureFixture,
    route: tuple[str, str],
) -> None:
    method, path = route
    with caplog.at_level(logging.ERROR):
        for body in (*RAW, *bodies_with(BODIES[route])):
            address = path.format(user_id="7", item_id="1003")
            answer = client.request(method, address, content=body, headers=JSON)
            check(answer, documented[route], body[:100])
    assert "Traceback" not in caplog.text


def test_hostile_ids(
    client: TestClient,
    documented: dict[tuple[str, str], set[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        for (method, path), statuses in documented.items():
            if "{" in path and method == "GET":
                for one in IDS:
                    names = ("user_id", "item_id", "recommendation_id", "experiment")
                    answer = client.get(path.format(**dict.fromkeys(names, one)))
                    check(answer, statuses | {404}, (path, one))
    assert "Traceback" not in caplog.text


def test_no_body_gets_past_a_missing_key(tmp_path: Path, client: TestClient) -> None:
    add_key(tmp_path / "keys", "web", ["read"])
    app = create_app(client.app.state["service"].recommender, Keys.read(tmp_path / "keys"))
    with TestClient(app, raise_server_exceptions=False) as guarded:
        for method, path in BODIES:
            for body in RAW[:12]:
                address = path.format(user_id="7", item_id="1003")
                answer = guarded.request(method, address, content=body, headers=JSON)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        app.state["service"]._alone = None  # the other client closes it
