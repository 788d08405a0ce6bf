"""API keys: their file, their scopes on every route, and what the service refuses without them."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import Fake
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient

from tamis.schema import ConfigError
from tamis.serve import Keys, add_key, create_app, serve
from tamis.serve.access import scope_of
from tamis.serve.keys import ENVIRONMENT, keys_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_a_key_is_stored_as_its_hash(file: Path) -> None:
    key = add_key(file, "web", ["read", "write", "read"])
    assert key not in file.read_text("utf-8")
    assert hashlib.sha256(key.encode()).hexdigest() in file.read_text("utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = add_key(file, "ops", ["admin"])
    assert len(key) > 40
    assert key != other
    keys = Keys.read(file)
    web, ops = keys.find(key), keys.find(other)
    assert web is not None
    assert ops is not None
    assert (web.name, ops.name) == ("web", "ops")
    assert [web.allows(scope) for scope in ("read", "write", "admin")] == [True, True, False]
    assert all(ops.allows(scope) for scope in ("read", "write", "admin"))
    for wrong in ("", key[:-1], key + "x", key.swapcase(), "\ud800"):
        assert keys.find(wrong) is None


def test_a_key_is_added_after_a_last_line_without_its_end(file: Path) -> None:
    first = add_key(file, "web", ["read"])
    file.write_text(file.read_text("utf-8").rstrip("\n"), "utf-8")
    second = add_key(file, "ops", ["admin"])
    keys = Keys.read(file)
    assert [key.name for key in (keys.find(first), keys.find(second)) if key] == ["web", "ops"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("web read", "line 2: not a key: a line is NAME SCOPE,SCOPE SHA256"),
        ("web read abc", "line 2: not a key"),
        (f"web reed {'0' * 64}", "line 2: 'reed' is no scope: .*Did you mean `read`"),
        ("", "holds no key"),
        (f"web read {'0' * 64}\nweb read {'1' * 64}", "two keys of the name web"),
    ],
)
def test_a_wrong_file_names_the_line(file: Path, line: str, message: str) -> None:
    file.write_text(f"# keys\n{line}\n", "utf-8")
    with pytest.raises(ConfigError, match=message):
        Keys.read(file)


def test_keys_of_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add_key(file, "web", ["read"])
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert keys_of(None) is None
    monkeypatch.setenv(ENVIRONMENT, file.read_text("utf-8"))
    found = keys_of(None)
    assert found is not None
    assert found.find(key) == Keys.read(file).keys[0]
    with pytest.raises(ConfigError, match="cannot be read"):
        keys_of(file.with_name("nowhere"))


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [
        ("two words", ["read"], "name = 'two words'"),
        ("web", [], "a key needs a scope"),
        ("web", ["all"], "'all' is no scope"),
        ("taken", ["read"], "has a key taken already"),
    ],
)
def test_a_key_that_cannot_be_made(file: Path, name: str, scopes: list[str], message: str) -> None:
    add_key(file, "taken", ["read"])
    with pytest.raises(ConfigError, match=message):
        add_key(file, name, scopes)


def test_the_command_makes_a_key(tamis_cli, file: Path) -> None:
    said = tamis_cli("keys", file, "--name", "web", "--scopes", "read, write")
    assert said.code == 0
    made = Keys.read(file)
    assert made.find(said.out.strip()) == made.keys[0]
    assert made.keys[0].scopes == {"read", "write"}


class Guarded:
    """A service with a key of each scope."""

    def __init__(self, file: Path) -> None:
        self.keys = {scope: add_key(file, scope, [scope]) for scope in ("read", "write", "admin")}
        self.client = TestClient(create_app(Fake(), Keys.read(file)))

    def post(self, path: str, scope: str | None, **body: object):
        headers = {} if scope is None else {"authorization": f"Bearer {self.keys[scope]}"}
        return self.client.post(path, json=body, headers=headers)


@pytest.fixture
def guarded(file: Path) -> Iterator[Guarded]:
    guarded = Guarded(file)
    with guarded.client:
        yield guarded


def test_a_call_needs_a_key_with_the_scope(guarded: Guarded) -> None:
    missing = guarded.post("/v1/recommend", None)
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "unauthorized")
    assert missing.headers["www-authenticate"] == "Bearer"
    wrong = guarded.client.post("/v1/recommend", json={}, headers={"x-api-key": "tamis_wrong"})
    assert wrong.status_code == 401
    lacks = guarded.post("/v1/recommend", "write")
    assert (lacks.status_code, lacks.json()["error"]["code"]) == (403, "forbidden")
    assert "The key write has the scopes write, and this route needs read" in lacks.text
    for scope in ("read", "admin"):
        assert guarded.post("/v1/recommend", scope, n=1).status_code == 200
    assert guarded.post("/v1/events", "read", user_id=1, item_id=2).status_code == 403
    own = {"x-api-key": guarded.keys["read"]}
    assert guarded.client.get("/v1/similar/1", headers=own).status_code == 200
    assert guarded.client.get("/metrics").status_code == 401


def test_health_and_the_description_need_no_key(guarded: Guarded) -> None:
    for path in ("/health/live", "/health/ready", "/schema/openapi.json", "/schema"):
        assert guarded.client.get(path).status_code == 200


def test_a_key_is_checked_before_the_body(guarded: Guarded) -> None:
    answer = guarded.client.post("/v1/recommend", content=b"\xff" * 2_000_000)
    assert answer.status_code == 401


def test_every_route_has_a_scope_and_changes_need_more_than_read(guarded: Guarded) -> None:
    scopes: dict[str, str] = {}
    for route in guarded.client.app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler) and route.path.startswith("/v1"):
                for method in handler.http_methods - {"OPTIONS"}:
                    scopes[f"{method} {route.path_format}"] = scope_of(handler, method)
    asking = {"POST /v1/recommend", "POST /v1/rank", "POST /v1/lookalike"}
    asking |= {"POST /v1/experiments/plan"}
    for route, scope in scopes.items():
        assert (scope == "read") == (route in asking or route.startswith("GET")), route
    assert scopes["POST /v1/events"] == "write"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_let_in_without_keys(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(ConfigError, match=f"--host {host} lets other machines in, .*tamis keys"):
        serve(tmp_path, host=host, port=0)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://testserver.local", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_sites_cannot_call_a_service_without_keys(origin, status):
    headers = {} if origin is None else {"origin": origin}
    with TestClient(create_app(Fake())) as client:
        answer = client.post("/v1/recommend", json={"user_id": "u"}, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "forbidden"
