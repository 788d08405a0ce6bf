"""The examples of the OpenAPI document: one per body and answer, accepted by the real service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.serve.examples import ADDRESS, EXAMPLES
from tamis.service import Serving

EXPERIMENT = """
[experiments.more_recent]
layer = "rerank"
control = "old"
goal = "like"
[experiments.more_recent.arms.old]
[experiments.more_recent.arms.new.cascade.rerank.mmr]
theta = 0.8
"""

LAST = ("DELETE /v1/items/{item_id}", "DELETE /v1/users/{user_id}")
"""What others need is deleted at the end."""


@pytest.fixture(scope="module")
def client(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    project = tmp_path_factory.mktemp("examples") / "shop"
    shutil.copytree(numbered, project)
    with (project / "tamis.toml").open("a") as file:
        file.write(EXPERIMENT)
    app = create_app(lambda: Serving.open(project))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


@pytest.fixture(scope="module")
def operations(client: TestClient) -> dict[str, dict[str, Any]]:
    """ "METHOD /path" → its description in the OpenAPI document."""
    paths: dict[str, Any] = client.get("/schema/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, found in paths.items()
        for method, operation in found.items()
    }


def example(media: dict[str, Any]) -> Any:
    (one,) = media.values()
    assert "examples" in one, "add an example of the route to tamis/serve/examples.py"
    return one["examples"]["example"]["value"]


def test_every_body_and_every_answer_has_an_example(operations: dict[str, dict[str, Any]]) -> None:
    assert set(EXAMPLES) <= set(operations)
    for route, operation in operations.items():
        if "requestBody" in operation:
            assert example(operation["requestBody"]["content"]) == EXAMPLES[route].body
        for status, response in operation["responses"].items():
            found = example(response["content"])
            if int(status) >= 400:
                assert set(found["error"]) >= {"code", "message", "cure"}, route
        for parameter in operation.get("parameters", []):
            assert parameter["in"] != "path" or parameter["example"], (route, parameter)


def test_examples_are_of_the_types_that_handlers_return(client: TestClient) -> None:
    for route in client.app.routes:
        for handler in getattr(route, "route_handlers", []):
            if not isinstance(handler, HTTPRouteHandler):
                continue
            for method in handler.http_methods:
                one = EXAMPLES.get(f"{method} {route.path_format}")
                if one is not None and not isinstance(one.answer, str):
                    returned = handler.parsed_fn_signature.return_type.annotation
                    assert type(one.answer) is returned, route.path_format


def test_the_service_accepts_every_example(
    client: TestClient, operations: dict[str, dict[str, Any]]
) -> None:
    """Each is answered with the fields of the example's answer."""
    client.post("/v1/recommend", json={"user_id": "42", "recommendation_id": "r1"})
    address = ADDRESS | {"name": client.get("/health/ready").json()["version"]}
    for route in (*(r for r in operations if r not in LAST), *LAST):
        method, path = route.split()
        operation = operations[route]
        body = None
        if "requestBody" in operation:
            body = example(operation["requestBody"]["content"])
        answer = client.request(method, path.format(**address), json=body)
        if route == "POST /v1/versions/rollback":
            assert answer.status_code == 409, "the project has one version"
            continue
        assert answer.status_code == 200, (route, answer.text)
        described = example(operation["responses"]["200"]["content"])
        if isinstance(described, str):
            continue
        found = answer.json()
        without_null = {name for name, value in found.items() if value is not None}
        assert without_null <= set(described) <= set(found), route
        assert not found.get("refused"), (route, found)
