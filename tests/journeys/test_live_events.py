"""The service over HTTP with its journal: events change the next answer, embedded and on Redis."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from tamis.journal.redis_connection import PAUSE
from tamis.serve import create_app
from tamis.service import LiveRecommender
from tamis.testing import redis_server


@pytest.fixture(scope="module", params=["embedded", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        yield ""
    else:
        with redis_server() as address:
            yield address


@pytest.fixture
def project(numbered: Path, tmp_path: Path) -> Path:
    shutil.copytree(numbered, tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def client(project: Path, store: str) -> Iterator[TestClient]:
    app = create_app(lambda: LiveRecommender.open(project, store))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def ask(client: TestClient, **fields: object) -> dict:
    answer = client.post("/v1/recommend", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def group(item: str) -> int:
    """The log has three groups of taste."""
    return int(item) % 1000 % 3


def test_a_visitor_from_the_first_click_on(client: TestClient) -> None:
    stranger = ask(client, user_id="visitor", n=20)
    assert (stranger["known"], len(stranger["items"])) == (False, 20)
    liked = [item for item in ids(stranger) if group(item) == 1][:3]
    sent = [
        {"user_id": "visitor", "item_id": item, "behaviour": "like", "value": 5} for item in liked
    ]
    taken = client.post("/v1/events", json=sent).json()
    assert (taken["accepted"], taken["duplicates"], taken["refused"]) == (3, 0, 0)
    metrics = client.get("/metrics").text
    assert 'tamis_accepted_events_total{behaviour="like"} 3.0' in metrics
    assert 'tamis_unknown_ids_total{table="user"} 3.0' in metrics
    assert 'tamis_unknown_ids_total{table="item"}' not in metrics

    after = ask(client, user_id="visitor", n=20, recommendation_id="second")
    assert after["known"]
    assert not set(liked) & set(ids(after)), "what was liked does not come back"
    share = [sum(group(item) == 1 for item in ids(a)) for a in (stranger, after)]
    assert share[1] > share[0]

    hidden = ids(after)[0]
    assert client.post(f"/v1/items/{hidden}/hide").json()["hidden"]
    assert hidden not in ids(ask(client, user_id="visitor", n=20))
    why = ask(client, user_id="visitor", n=20, why_not=hidden)["why_not"]
    assert (why["stage"], why["detail"][:6]) == ("filtered", "hidden")
    client.post(f"/v1/items/{hidden}/show")
    assert hidden in ids(ask(client, user_id="visitor", n=20))

    logged = client.get("/v1/recommendations/second").json()
    assert [item["item_id"] for item in logged["items"]] == ids(after)
    assert (logged["user_id"], logged["version"]) == ("visitor", after["version"])


def test_an_earlier_answer_explains_itself(client: TestClient) -> None:
    user, n = 7, 5
    now = ask(client, user_id=user, n=n, recommendation_id="asked", explain=True)
    assert ask(client, user_id=user, n=20)["items"]
    hidden = ids(now)[2]
    client.post("/v1/events", json={"user_id": user, "item_id": ids(now)[0], "behaviour": "like"})
    client.post(f"/v1/items/{hidden}/hide")
    more = ids(ask(client, user_id=user, n=50, recommendation_id="later"))
    # what came since changes later answers and not the explanation of this one
    logged = client.get("/v1/recommendations/asked").json()
    assert logged["items"] == now["items"]
    assert logged["notes"] == []

    cut = next(item for item in more if item not in ids(now))
    why = client.get(f"/v1/recommendations/asked/why-not/{cut}").json()
    assert why["stage"] in ("rank_cut", "rerank_displaced", "prerank_cut")
    assert why["reasons"]["channels"]
    for item, answer, stage, detail in [
        (hidden, "asked", None, "shown at place 3"),
        (hidden, "later", "filtered", "hidden or deleted"),
        (ids(now)[0], "later", "filtered", "filter seen: "),
    ]:
        why = client.get(f"/v1/recommendations/{answer}/why-not/{item}").json()
        assert (why["stage"], why["detail"][: len(detail)]) == (stage, detail)
    client.post(f"/v1/items/{hidden}/show")
    assert client.get("/v1/recommendations/nothing/why-not/1").status_code == 404
    unknown = client.get("/v1/recommendations/asked/why-not/nothing")
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (400, "item_id")


def test_events_are_answered_one_by_one(client: TestClient) -> None:
    good = {"user_id": 7, "item_id": 1001, "behaviour": "like", "event_id": "once"}
    taken = client.post("/v1/events", json=[good, good, {**good, "behaviour": "lik"}, 5]).json()
    assert [one["status"] for one in taken["events"]] == [
        "accepted", "duplicate", "refused", "refused",
    ]  # fmt: skip
    assert taken["events"][0]["sequence"] == taken["events"][1]["sequence"]
    assert taken["events"][2]["error"]["field"] == "behaviour"
    assert "Did you mean `like`" in taken["events"][2]["error"]["message"]
    assert taken["events"][2]["error"]["value"] == "lik"
    assert "/schema" in taken["events"][2]["error"]["cure"]
    assert taken["events"][3]["error"].get("value") is None
    again = client.post("/v1/events", json=good).json()
    assert (again["accepted"], again["duplicates"]) == (0, 1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the body is empty"),
        ("[" * 100_000, "nested too deeply"),
        ("[1, 2", "not JSON"),
        ("[" + "1," * 1_000 + "1]", "1,001 events: send at most 1,000"),
    ],
)
def test_bodies_that_cannot_be_read(body: str, words: str, client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]


def test_what_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/recommendations/nothing").status_code == 404
    for what in ("hide", "show"):
        answer = client.post(f"/v1/items/nothing/{what}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_single_event_that_is_refused_is_a_400(client: TestClient) -> None:
    answer = client.post("/v1/events", json={"user_id": 7, "item_id": 1001, "behaviour": "lik"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "behaviour")


def test_an_event_on_an_unknown_item_counts(client: TestClient) -> None:
    liked = {"user_id": 7, "item_id": "no such", "behaviour": "like"}
    (one,) = client.post("/v1/events", json=liked).json()["events"]
    assert one["status"] == "accepted"
    answer = ask(client, user_id=7, n=3, why_not="no such")
    assert answer["why_not"]["detail"] == "filter seen: seen"
    assert client.get("/health/ready").json()["journal"]["skipped"] == {}


def test_the_command_line_reads_the_journal(
    project: Path, store: str, tamis_cli: Callable[..., Any]
) -> None:
    live = LiveRecommender.open(project, store)
    live.take([{"user_id": "fresh", "item_id": "1001", "behaviour": "like"}])
    live.close()
    words = ["--store", store] if store else []
    said = tamis_cli("recommend", project, "--user-id", "fresh", "--json", *words)
    assert said.json["known"]
    assert "1001" not in [item["item_id"] for item in said.json["items"]]


def test_a_restart_forgets_nothing(project: Path, store: str) -> None:
    for start in range(2):
        app = create_app(lambda: LiveRecommender.open(project, store))
        with TestClient(app) as client:
            while client.get("/health/ready").status_code != 200:
                pass
            if start == 0:
                event = {"user_id": "phoenix", "item_id": "1002", "behaviour": "like"}
                assert client.post("/v1/events", json=event).json()["accepted"] == 1
            assert ask(client, user_id="phoenix", n=5)["known"]
            state = client.get("/health/ready").json()["journal"]
            assert state["position"] >= 1
            assert state["durability"]


def test_a_journal_that_goes_away(project: Path) -> None:
    """Answers go on by what is known; events are refused until the server is back."""
    with redis_server() as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
        app = create_app(lambda: LiveRecommender.open(project, address))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        while client.get("/health/ready").status_code != 200:
            pass
    event = {"user_id": "7", "item_id": "1001", "behaviour": "like"}
    try:
        answer = ask(client, user_id="7", n=5)
        assert len(answer["items"]) == 5
        assert "journal: " in answer["degraded"][0]
        ready = client.get("/health/ready")
        assert ready.status_code == 200, "answers go on"
        assert "answer" in ready.json()["journal"]["problem"]
        refused = client.post("/v1/events", json=[event])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "unavailable"
        with redis_server(port):
            assert client.post("/v1/events", json=event).json()["accepted"] == 1
            time.sleep(PAUSE)  # reads fail at once for so long after a failure
            assert ask(client, user_id="7", n=5)["degraded"] == []
    finally:
        client.__exit__(None, None, None)


def test_a_file_of_events_is_imported_once(
    project: Path, store: str, tamis_cli: Callable[..., Any]
) -> None:
    rows = ["user_id,item_id,rating,timestamp", "importer,1001,5,1609459200"]
    rows += ["7,1004,4,1609459300", "importer,1007,5,next week"]
    (project / "new.csv").write_text("\n".join(rows) + "\n", "utf-8")
    words = ["--store", store] if store else []
    said = tamis_cli("events", project, project / "new.csv", *words, "--json")
    assert said.code == 0, said
    assert (said.json["accepted"], said.json["duplicates"]) == (2, 0)
    (rejected,) = said.json["rejected"]
    assert "next week" in rejected["sample"]
    said = tamis_cli("events", project, project / "new.csv", *words)
    assert "0 events of" in said.out
    assert "2 were in it already" in said.out
    live = LiveRecommender.open(project, store)
    history = live.recommend("importer", n=3)
    assert history.known
    live.close()


def test_an_import_after_a_change_of_the_declaration_adds_what_was_missing(
    project: Path, tamis_cli: Callable[..., Any]
) -> None:
    """A row in the middle of the file, of a user without a row in the table, becomes usable."""
    rows = ["user_id,item_id,rating,timestamp", "7,1001,5,1609459200"]
    rows += ["importer,1004,5,1609459300", "7,1007,4,1609459400"]
    (project / "new.csv").write_text("\n".join(rows) + "\n", "utf-8")
    declared = (project / "tamis.toml").read_text("utf-8")
    strict = declared.replace("[users]\n", '[users]\nunknown = "drop"\n')
    assert strict != declared
    (project / "tamis.toml").write_text(strict, "utf-8")
    first = tamis_cli("events", project, project / "new.csv", "--json").json
    (project / "tamis.toml").write_text(declared, "utf-8")
    second = tamis_cli("events", project, project / "new.csv", "--json").json
    assert (first["accepted"], second["accepted"], second["duplicates"]) == (2, 1, 2)


def test_import_faults(project: Path, tamis_cli: Callable[..., Any]) -> None:
    assert "nothing.csv" in tamis_cli("events", project, project / "nothing.csv").err
    (project / "odd.csv").write_text("a,b\n1,2\n", "utf-8")
    said = tamis_cli("events", project, project / "odd.csv")
    assert said.code == 1
    assert "user_id" in said.err
