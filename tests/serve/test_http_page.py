"""The examples of docs/http.md: each curl line and each Python block is sent to a real service."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.service import Serving

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
EXPERIMENT = """
[experiments.less_alike]
layer = "rerank"
control = "now"
goal = "like"
[experiments.less_alike.arms.now]
[experiments.less_alike.arms.diverse.cascade.rerank.mmr]
theta = 0.8
"""
ADDRESS = re.compile(r"(?:http://)?(?:localhost|127\.0\.0\.1):8000")


@pytest.fixture(scope="module")
def client(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    project = tmp_path_factory.mktemp("page") / "shop"
    shutil.copytree(numbered, project)
    with (project / "tamis.toml").open("a") as file:
        file.write(EXPERIMENT)
    app = create_app(lambda: Serving.open(project))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


class Recorded:
    """Sends requests and keeps (method, path, status)."""

    def __init__(self, client: TestClient) -> None:
        self.sent: list[tuple[str, str, int]] = []
        client.event_hooks["response"] = [self._note]

    def _note(self, answer: object) -> None:
        request = answer.request  # pyright: ignore[reportAttributeAccessIssue]
        status = answer.status_code  # pyright: ignore[reportAttributeAccessIssue]
        self.sent.append((request.method, request.url.path, status))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def curl(line: str) -> tuple[str, str, str | None]:
    """(method, path, body) of a line `curl -s -X METHOD ADDRESS -H HEADER -d BODY`."""
    words = shlex.split(line)
    options = {words[k]: words[k + 1] for k in range(1, len(words) - 1) if words[k] in ("-X", "-d")}
    (path,) = [ADDRESS.sub("", word) for word in words if ADDRESS.match(word)]
    body = options.get("-d")
    return options.get("-X", "GET" if body is None else "POST"), path, body


def routes(client: TestClient) -> set[tuple[str, re.Pattern[str]]]:
    paths = client.get("/schema/openapi.json").json()["paths"]
    return {
        (method.upper(), re.compile(re.sub(r"{\w+}", "[^/]+", path) + "$"))
        for path, found in paths.items()
        for method in found
    }


def check(sent: list[tuple[str, str, int]], client: TestClient) -> None:
    """Every request was answered, and every route of the service was one of them."""
    refused = [one for one in sent if one[2] != 200]
    assert refused == [("POST", "/v1/versions/rollback", 409)]  # the project has one version
    asked = [one[:2] for one in sent]
    for method, path in routes(client):
        assert any(m == method and path.match(p) for m, p in asked), (
            f"{method} {path.pattern}: docs/http.md has no example of it"
        )


def test_python_blocks(client: TestClient) -> None:
    recorded = Recorded(client)
    names: dict[str, object] = {"client": client, "print": lambda *_: None}
    for block in blocks("python"):
        if "httpx.Client(" not in block:
            exec(block, names)
    check(recorded.sent, client)


def test_curl_lines(client: TestClient) -> None:
    client.post("/v1/recommend", json={"user_id": "42", "recommendation_id": "r1"})
    version = client.get("/health/ready").json()["version"]
    sent: list[tuple[str, str, int]] = []
    for block in blocks("sh"):
        block = block.replace("/NAME/", f"/{version}/")
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("curl"):
                method, path, body = curl(line)
                answer = client.request(
                    method, path, content=body, headers={"content-type": "application/json"}
                )
                sent.append((method, path.partition("?")[0], answer.status_code))
    check(sent, client)
