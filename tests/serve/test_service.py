"""The HTTP service over a fake recommender: what goes in, what comes out, what fails how."""

import logging
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
from litestar.testing import TestClient

from tamis.schema import RequestError, StageError, VersionError
from tamis.serve import create_app
from tamis.service import Answer, Place, Reason, Request, WhyNot

REASON = Reason(
    text="like Alien (itemcf #1)",
    channels=({"channel": "itemcf", "rank": 1, "score": 0.5, "because": "Alien"},),
    prerank={"score": 0.1, "place": 1},
    predictions={"like": 0.7},
    value=0.7,
    value_place=1,
    rerank={},
)


class Fake:
    """Answers from a list of three items; keeps the last request."""

    version = "serving-7"
    titles: ClassVar = {"1": "Alien", "2": "Brazil", "3": "Cube"}

    def __init__(self) -> None:
        self.request = Request()

    def recommend(self, request: Request) -> Answer:
        self.request = request
        user, why_not = request.user_id, request.why_not
        exclude = [str(item) for item in request.exclude]
        why_not = None if why_not is None else str(why_not)
        if why_not not in (None, *self.titles):
            raise RequestError(f"item {why_not!r} is not in the items' table: check the id")
        if user == "broken stage":
            raise StageError("rank added candidates")
        if user == "defect":
            raise ZeroDivisionError("secret detail")
        shown = [i for i in self.titles if i not in exclude][: request.n]
        return Answer(
            request_id=request.request_id or "new",
            time=1_700_000_000_000,
            clock="now",
            version=self.version,
            user=user,
            known=user == "ann",
            items=tuple(
                Place(i, self.titles[i], place, 1.0 / place, REASON if request.explain else None)
                for place, i in enumerate(shown, start=1)
            ),
            took_ms=1.0,
            degraded=("recall two_tower: ValueError",) if user == "half" else (),
            why_not=None
            if why_not is None
            else WhyNot(why_not, self.titles[why_not], "rank_cut", "ranked 9 by value"),
        )


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def client(fake: Fake) -> Iterator[TestClient]:
    with TestClient(create_app(fake)) as client:
        yield client


def ask(client: TestClient, **body: object):
    return client.post("/v1/recommend", json=body)


def test_a_known_user_gets_a_slate(client: TestClient) -> None:
    answer = ask(client, user="ann", n=2).json()
    assert answer.pop("took_ms") >= 0
    assert answer == {
        "request_id": "new",
        "version": "serving-7",
        "time": 1_700_000_000_000,
        "clock": "now",
        "user": "ann",
        "known": True,
        "items": [
            {"item": "1", "title": "Alien", "place": 1, "score": 1.0},
            {"item": "2", "title": "Brazil", "place": 2, "score": 0.5},
        ],
        "degraded": [],
    }


def test_every_field_reaches_the_recommender(client: TestClient, fake: Fake) -> None:
    place = {"latitude": 48.85, "longitude": 2.35, "city": "Paris"}
    fields = {"user": 7, "n": 1, "exclude": [2, "3"], "time": 1_700_000_000_000}
    fields |= {"interests": ["Drama"], **place, "explain": True, "why_not": 1, "request_id": "r"}
    answer = ask(client, **fields).json()
    assert fake.request == Request.of(**fields)
    assert set(fields) == set(Request.__struct_fields__)
    assert answer["request_id"] == "r"


def test_an_empty_request_is_legal(client: TestClient, fake: Fake) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    assert (answer.json()["user"], answer.json()["known"]) == (None, False)
    assert fake.request == Request()


def test_explain_adds_the_reasons(client: TestClient) -> None:
    plain, explained = ask(client, user="ann"), ask(client, user="ann", explain=True)
    assert "reasons" not in plain.json()["items"][0]
    reasons = explained.json()["items"][0]["reasons"]
    assert reasons["text"] == "like Alien (itemcf #1)"
    assert reasons["channels"][0]["because"] == "Alien"
    assert reasons["predictions"] == {"like": 0.7}


def test_why_not_names_the_stage(client: TestClient) -> None:
    lost = ask(client, user="ann", why_not="3").json()["why_not"]
    assert (lost["title"], lost["stage"]) == ("Cube", "rank_cut")


def test_a_degraded_answer_lists_what_failed(client: TestClient) -> None:
    assert ask(client, user="half").json()["degraded"] == ["recall two_tower: ValueError"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"n": 0}, "n", ">= 1"),
        ({"n": 10**6}, "n", "<= 1000"),
        ({"n": "ten"}, "n", "Expected `int | null`, got `str`"),
        ({"time": 1_700_000_000}, "time", "looks like seconds: send 1700000000000"),
        ({"latitude": 1}, "latitude", "latitude is given without longitude"),
        ({"latitude": 91, "longitude": 0}, "latitude", "<= 90"),
        ({"latitude": 0, "longitude": "east"}, "longitude", "Expected `float | null`"),
        ({"interests": "Comedy"}, "interests", "Expected `array`"),
        ({"user": ""}, "user", "length >= 1"),
        ({"exclude": "3"}, "exclude", "Expected `array`"),
        ({"usr": "ann"}, "usr", "unknown field `usr`"),
        ({"why_not": {"a": 1}}, "why_not", "got `object`"),
    ],
)
def test_bad_input_is_400_and_names_the_field(
    client: TestClient, body: dict[str, object], field: str, said: str
) -> None:
    answer = client.post("/v1/recommend", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["field"]) == ("bad_request", field)
    assert said in error["message"]
    if error["message"].startswith(f"{field}: "):  # of the wrong type: the message lists the fields
        assert "user, n, exclude, time" in error["message"]


@pytest.mark.parametrize("content", [b"{", b"", b"[1]", b"\xff\xfe"])
def test_a_body_that_is_no_object_is_400(client: TestClient, content: bytes) -> None:
    answer = client.post(
        "/v1/recommend", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


def test_errors_of_the_recommender(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    unknown = ask(client, why_not="99")
    assert unknown.status_code == 400
    assert "check the id" in unknown.json()["error"]["message"]
    broken = ask(client, user="broken stage")
    assert (broken.status_code, broken.json()["error"]["message"]) == (500, "rank added candidates")
    defect = ask(client, user="defect")
    assert defect.status_code == 500
    assert "secret detail" not in defect.text
    assert "ZeroDivisionError: secret detail" in caplog.text
    assert ask(client, user="ann").status_code == 200


def test_paths_and_methods(client: TestClient) -> None:
    missing, wrong = client.get("/v2/recommend"), client.get("/v1/recommend")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


def test_one_log_line_per_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tamis.serve"):
        ask(client, user="a\nforged line", n=2)
    lines = [r.getMessage() for r in caplog.records if r.name == "tamis.serve"]
    assert len(lines) == 1
    assert lines[0].startswith("POST /v1/recommend 200 ")
    assert lines[0].endswith(
        r"ms request_id='new' user='a\nforged line' known=False items=2 version=serving-7"
        " degraded=[]"
    )


def test_health(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready", "version": "serving-7"}


def test_not_ready_while_opening(fake: Fake) -> None:
    release, opened = threading.Event(), threading.Event()

    def opening() -> Fake:
        release.wait(10)
        opened.set()
        return fake

    with TestClient(create_app(opening)) as client:
        assert client.get("/health/live").status_code == 200
        waiting = client.get("/health/ready")
        assert (waiting.status_code, waiting.json()["error"]["code"]) == (503, "not_ready")
        assert waiting.headers["retry-after"] == "1"
        assert ask(client, user="ann").status_code == 503
        release.set()
        assert opened.wait(10)
        for _ in range(1000):
            if client.get("/health/ready").status_code == 200:
                break
        assert ask(client, user="ann").status_code == 200


def test_not_ready_gives_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> Fake:
        raise VersionError("no serving version in shop: run `tamis train shop`")

    with TestClient(create_app(failing)) as client:
        for _ in range(1000):
            answer = client.get("/health/ready")
            if "tamis train" in answer.text:
                break
        assert answer.status_code == 503
        assert "run `tamis train shop`" in answer.json()["error"]["message"]
        assert client.get("/health/live").status_code == 200
    assert "no serving version in shop" in caplog.text


def test_the_schema_describes_requests_and_answers(client: TestClient) -> None:
    schema = client.get("/schema/openapi.json").json()
    assert set(schema["paths"]) == {"/v1/recommend", "/health/live", "/health/ready"}
    answers = schema["paths"]["/v1/recommend"]["post"]["responses"]
    assert {"200", "400", "503"} <= set(answers)
    shapes = schema["components"]["schemas"]
    assert set(Request.__struct_fields__) == set(shapes["Request"]["properties"])
    assert "took_ms" in shapes["RecommendAnswer"]["required"]
    assert client.get("/schema").status_code == 200
