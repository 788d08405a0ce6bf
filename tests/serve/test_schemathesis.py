"""Requests that schemathesis makes of the OpenAPI document: of an open service, and of one with API
keys, with such a key and without."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from schemathesis.core.result import Ok

from tamis.serve import Keys, add_key, create_app
from tamis.service import Serving

KEPT = ("method", "url", "params", "headers", "json", "data", "content")
"""Arguments of a request that the test client takes, too."""
EXAMPLES = 120
"""Requests over all routes, for each of the two services."""
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module", params=["open", "keys"])
def client(
    request: pytest.FixtureRequest, numbered: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A live service: open to everybody, or with a key that may do everything."""
    folder = tmp_path_factory.mktemp("schema")
    shutil.copytree(numbered, folder / "shop")
    keys, headers = None, {}
    if request.param == "keys":
        headers = {"authorization": f"Bearer {add_key(folder / 'keys', 'all', ['admin'])}"}
        keys = Keys.read(folder / "keys")
    app = create_app(lambda: Serving.open(folder / "shop"), keys)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers.update(headers)
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/schema/openapi.json").json()


def cases_of(document: dict[str, Any]) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """(label → operation, cases of all of them)."""
    every = list(schemathesis.openapi.from_dict(document).get_all_operations())
    operations = {found.ok().label: found.ok() for found in every if isinstance(found, Ok)}
    assert len(operations) == len(every)
    cases = st.sampled_from([*operations.values()]).flatmap(lambda one: one.as_strategy())
    return operations, cases


def sent_of(case: Any) -> dict[str, Any]:
    """A case as the arguments of a request."""
    sent = case.as_transport_kwargs(base_url="http://testserver")
    return {name: value for name, value in sent.items() if name in KEPT}


def test_no_request_of_the_document_fails(
    client: TestClient, document: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Every status is documented and below 500, answers have the documented schema, some requests
    are answered and some refused."""
    operations, cases = cases_of(document)
    seen: set[str] = set()
    statuses: set[int] = set()

    @SETTINGS
    @given(cases)
    def holds(case: Any) -> None:
        sent = sent_of(case)
        answer = client.request(**sent)
        documented = document["paths"][case.path][case.method.lower()]["responses"]
        assert answer.status_code < 500, (answer.text, sent)
        assert str(answer.status_code) in documented, (answer.status_code, answer.text, sent)
        operations[case.operation.label].validate_response(answer)
        seen.add(case.path)
        statuses.add(answer.status_code)

    with caplog.at_level(logging.ERROR):
        holds()
    assert "Traceback" not in caplog.text
    assert len(seen) > len(document["paths"]) / 2
    assert {200, 400} <= statuses


def test_without_a_key_every_protected_route_is_401(
    client: TestClient, document: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever is sent, and nothing is changed by it."""
    add_key(tmp_path / "keys", "all", ["admin"])
    live = client.app.state["service"].recommender
    app = create_app(live, Keys.read(tmp_path / "keys"))
    head = live.journal.head
    _, cases = cases_of(document)
    seen: set[str] = set()
    with TestClient(app, raise_server_exceptions=False) as stranger:

        @SETTINGS
        @given(cases)
        def holds(case: Any) -> None:
            answer = stranger.request(**sent_of(case))
            if case.path.startswith("/health/"):
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, (case.path, answer.text)
                seen.add(case.path)

        holds()
        app.state["service"]._alone = None  # the other client closes it
    assert len(seen) > len(document["paths"]) / 2
    assert live.journal.head == head
