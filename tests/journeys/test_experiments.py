"""An experiment by the command line and by HTTP: declared, started, ramped, rolled out, closed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from tamis.serve import create_app
from tamis.serve.keys import Keys, add_key
from tamis.service import LiveRecommender, Serving

DECLARED = """
[metrics.likes]
value = "like / answers"

[experiments.shorter]
layer = "rerank"
control = "now"
goal = "likes"
min_days = 0
planned = 1000

[experiments.shorter.arms.now]

[experiments.shorter.arms.short.cascade]
slate = 5

[experiments.other]
layer = "rerank"
control = "a"
goal = "like"

[experiments.other.arms.a]
[experiments.other.arms.b.cascade]
prerank_keep = 30

[layers.all]
holdout = 0.1
"""


@pytest.fixture
def project(numbered: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "shop"
    shutil.copytree(numbered, copy)
    declared = (copy / "tamis.toml").read_text("utf-8")
    (copy / "tamis.toml").write_text(declared + DECLARED, "utf-8")
    return copy


@pytest.fixture
def client(project: Path) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(lambda: Serving.open(project))) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def test_one_experiment_from_its_draft_to_its_end(
    project: Path, client: TestClient[Any], tamis_cli: Callable[..., Any]
) -> None:
    listed = tamis_cli("experiment", "list", project, "--json").json["experiments"]
    assert [(one["name"], one["stage"]) for one in listed] == [
        ("shorter", "draft"),
        ("other", "draft"),
    ]
    started = tamis_cli(
        *("experiment", "start", project, "shorter", "--traffic", 0.4, "--by", "ada"),
        *("--note", "small first", "--json"),
    )
    assert started.code == 0, started.err
    assert started.json["steps"][0]["holdout"] == 0.0
    assert started.json["steps"][0]["outside"] == 0.1
    assert started.json["steps"][0]["metrics"]["likes"]["value"] == "like / answers"

    def arms() -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for user in range(200):
            answer = client.post("/v1/recommend", json={"user_id": user, "dry_run": True}).json()
            found[str(user)] = answer["arms"].get("shorter")
            assert len(answer["items"]) == (5 if found[str(user)] == "short" else 20)
        return found

    _wait_for(client, "shorter", "running")
    first = arms()
    taking = {user: arm for user, arm in first.items() if arm}
    assert 40 < len(taking) < 110
    assert set(taking.values()) == {"now", "short"}

    # what the layer still has is less than what another experiment asks for
    refused = client.post("/v1/experiments/other/start", json={"traffic": 0.8, "by": "bob"})
    assert refused.status_code == 409
    assert "60.00% is free" in refused.json()["error"]["message"]

    ramped = client.post("/v1/experiments/shorter/ramp", json={"traffic": 1.0, "by": "ada"})
    assert ramped.status_code == 200, ramped.text
    more = arms()  # this process takes its own step up at once
    assert sum(arm is not None for arm in more.values()) > 150  # all but the holdout of 10 %
    assert all(more[user] == arm for user, arm in taking.items())

    result = client.get("/v1/experiments/shorter/report").json()
    assert (result["state"], result["winner"]) == ("no data yet", None)
    assert client.get("/v1/experiments/none/report").status_code == 404

    status = tamis_cli("experiment", "status", project, "shorter")
    assert "ada: small first" in status.out
    assert "traffic 100.00%" in status.out

    client.post("/v1/recommend", json={"user_id": next(iter(taking))})
    time.sleep(1.2)  # metrics are summed up each second
    arm = taking[next(iter(taking))]
    counted = f'tamis_experiment_answers_total{{arm="{arm}",experiment="shorter"}}'
    assert counted in client.get("/metrics").text

    full = client.post(
        "/v1/experiments/shorter/full", json={"arm": "short", "reverse": 0.1, "by": "ada"}
    )
    assert full.json()["stage"] == "full"
    assert "of 1,000 planned users: its result is not known yet" in full.json()["warning"]
    rolled = list(arms().values())
    assert rolled.count("short") > 130
    assert 5 < rolled.count("now") < 40

    closed = tamis_cli(
        *("experiment", "close", project, "shorter", "--by", "ada", "--note", "kept", "--json")
    )
    assert closed.json["stage"] == "closed"
    _wait_for(client, "shorter", "closed")
    assert set(arms().values()) == {None}
    again = tamis_cli("experiment", "start", project, "shorter", "--traffic", 0.1)
    assert again.code == 1
    assert "was started before" in again.problems


def test_a_plan_by_http_is_that_of_the_command_line(
    client: TestClient[Any], project: Path, tamis_cli: Callable[..., Any]
) -> None:
    """From the project's log, and from known figures; nothing is written to the journal."""
    plan = ("experiment", "plan", project, "--json")
    log = client.post("/v1/experiments/plan", json={"metric": "like", "effect": 0.5})
    assert log.status_code == 200, log.text
    assert log.json()["plans"]
    assert log.json() == tamis_cli(*plan, "--metric", "like", "--effect", 0.5).json
    known = {"metric": "likes", "effect": 0.1, "value": 0.4, "variance": 0.5, "users_per_day": 90}
    found = client.post("/v1/experiments/plan", json=known).json()
    options = [w for k, v in known.items() for w in (f"--{k.replace('_', '-')}", v)]
    assert found == tamis_cli(*plan, *options).json
    assert [step for one in client.get("/v1/experiments").json()["experiments"]
            for step in one["steps"]] == []  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "field", "match"),
    [
        ({}, 400, "metric", "metric"),
        ({"metric": "laik"}, 400, "metric", "Did you mean `like`"),
        ({"metric": "likes"}, 400, "metric", "answers of a running service"),
        ({"metric": "like", "effect": 0}, 400, "effect", "effect"),
        ({"metric": "like", "alpha": 0.2, "power": 0.1}, 400, "power", "between 0.2 and 1"),
        ({"metric": "like", "variance": 2}, 400, "variance", "without `value`"),
        ({"metric": "like", "value": 0.2}, 400, "variance", "give `variance`"),
        ({"metric": "like", "value": 0.2, "variance": 0.5}, 400, "effect", "give `effect`"),
        ({"metric": "like", "share": 1e-5}, 409, None, "no window"),
        ({"metric": "like", "effect": 1e-200}, 400, "effect", "effect"),
        ({"metric": "like", "share": 1e-300}, 400, "share", "share"),
        ({"metric": "like", "alpha": 1e-320}, 400, "alpha", "alpha"),
        ({"metric": "like", "value": 1e-320, "variance": 1, "effect": 1}, 400, "value", "value"),
        ({"metric": "like", "value": 1, "variance": 1e300}, 400, "variance", "variance"),
        (
            {"metric": "like", "value": 1, "variance": 1e30, "effect": 0.1},
            *(400, "effect", "more than 1e+15 users"),
        ),
    ],
)
def test_plans_that_are_not_possible_say_why(
    client: TestClient[Any], body: dict[str, Any], status: int, field: str | None, match: str
) -> None:
    answer = client.post("/v1/experiments/plan", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["field"] == field
    assert match in answer.json()["error"]["message"]


def test_no_experiment_has_the_name_of_the_plan(project: Path, client: TestClient[Any]) -> None:
    design = {"control": "a", "arms": {"a": {}, "b": {}}, "goal": "like"}
    step = {"traffic": 0.1, "by": "ada", "design": design}
    answer = client.post("/v1/experiments/plan/start", json=step)
    assert answer.status_code == 400
    assert "may not be named 'plan'" in answer.json()["error"]["message"]


def test_steps_that_are_not_possible_say_why(
    project: Path, client: TestClient[Any], tamis_cli: Callable[..., Any]
) -> None:
    assert client.get("/v1/experiments/none").status_code == 404
    assert client.post("/v1/experiments/none/ramp", json={"traffic": 1}).status_code == 404
    missing = client.post("/v1/experiments/shorter/start", json={"traffic": 0.1})
    assert missing.status_code == 400
    assert missing.json()["error"]["field"] == "by"
    early = client.post("/v1/experiments/shorter/ramp", json={"traffic": 0.1, "by": "ada"})
    assert early.status_code == 409
    assert "was not started" in early.json()["error"]["message"]
    design = {"control": "a", "arms": {"a": {}, "b": {"cascade": {"fusion": "x"}}}, "goal": "like"}
    wrong = client.post(
        "/v1/experiments/mine/start", json={"traffic": 0.1, "by": "ada", "design": design}
    )
    assert wrong.status_code == 409
    assert "arms.b.cascade" in wrong.json()["error"]["message"]
    said = tamis_cli("experiment", "start", project, "shorterr", "--traffic", 0.1)
    assert said.code == 1
    assert "shorter" in said.problems


def test_an_experiment_is_closed_whatever_is_wrong_with_the_declaration(
    project: Path, client: TestClient[Any], tamis_cli: Callable[..., Any]
) -> None:
    for name in ("shorter", "other"):
        step = {"traffic": 0.2, "by": "ada"}
        assert client.post(f"/v1/experiments/{name}/start", json=step).status_code == 200
    (project / "tamis.toml").write_text("broken ==", "utf-8")
    assert client.post("/v1/experiments/shorter/close", json={"by": "ada"}).status_code == 200
    assert client.get("/v1/experiments/other").json()["stage"] == "running"
    assert tamis_cli("experiment", "close", project, "other", "--by", "ada").code == 0
    assert client.get("/v1/experiments/none").status_code == 409


def test_the_key_of_an_api_names_who_took_a_step(project: Path) -> None:
    secrets = {scope: add_key(project / "keys", scope, [scope]) for scope in ("read", "admin")}
    keys = Keys.read(project / "keys")
    live = LiveRecommender.open(project)
    with TestClient(create_app(live, keys)) as client:
        step = {"traffic": 0.1}
        path = "/v1/experiments/shorter/start"
        reader = {"authorization": f"Bearer {secrets['read']}"}
        assert client.post(path, json=step, headers=reader).status_code == 403
        admin = {"authorization": f"Bearer {secrets['admin']}"}
        assert client.post(path, json=step, headers=admin).status_code == 200
        steps = client.get("/v1/experiments/shorter", headers=reader).json()["steps"]
        assert steps[0]["by"] == "key admin"


def _wait_for(client: TestClient[Any], name: str, stage: str) -> None:
    """Until the service answers by the newest steps: it looks twice a second."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(1.2)
        if client.get(f"/v1/experiments/{name}").json()["stage"] == stage:
            return
    raise AssertionError(f"{name} is not {stage}")
