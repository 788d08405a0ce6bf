"""Requests that schemathesis makes of the OpenAPI document, with keys and without."""

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
from tamis.service import LiveRecommender

KEPT = ("method", "url", "params", "headers", "json", "data", "content")
"""Arguments of a request that the test client takes, too."""
EXAMPLES = 120
"""Requests over all routes, for each of the two services."""


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
    app = create_app(lambda: LiveRecommender.open(folder / "shop"), keys)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers.update(headers)
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def test_no_request_of_the_document_fails(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Every status is documented and below 500, some requests are answered and some refused."""
    document: dict[str, Any] = client.get("/schema/openapi.json").json()
    every = list(schemathesis.openapi.from_dict(document).get_all_operations())
    operations = [found.ok() for found in every if isinstance(found, Ok)]
    assert len(operations) == len(every)
    cases = st.sampled_from(operations).flatmap(lambda operation: operation.as_strategy())
    seen: set[str] = set()
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(cases)
    def holds(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver")
        sent.pop("cookies", None)
        answer = client.request(**{k: v for k, v in sent.items() if k in KEPT})
        documented = document["paths"][case.path][case.method.lower()]["responses"]
        assert answer.status_code < 500, (answer.text, sent)
        assert str(answer.status_code) in documented, (answer.status_code, answer.text, sent)
        seen.add(case.path)
        statuses.add(answer.status_code)

    with caplog.at_level(logging.ERROR):
        holds()
    assert "Traceback" not in caplog.text
    assert len(seen) > len(document["paths"]) / 2
    assert {200, 400} <= statuses
