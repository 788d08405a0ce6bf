"""The HTTP service over a fake recommender: what goes in, what comes out, what fails how."""

import gzip
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_service import Fake
from litestar.testing import TestClient

from tamis.schema import ServeConfig, VersionError
from tamis.serve import create_app
from tamis.serve.access import LOCAL
from tamis.serve.errors import LESS
from tamis.serve.worker import Served
from tamis.service import Request


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
    answer = ask(client, user_id="ann", n=2).json()
    assert answer.pop("took_ms") >= 0
    assert answer == {
        "recommendation_id": "new",
        "version": "serving-7",
        "time": 1_700_000_000_000,
        "clock": "now",
        "user_id": "ann",
        "known": True,
        "items": [
            {"item_id": "1", "title": "Alien", "place": 1, "score": 1.0},
            {"item_id": "2", "title": "Brazil", "place": 2, "score": 0.5},
        ],
        "degraded": [],
        "broken_rules": [],
        "arms": {},
        "lag": 0,
    }


def test_every_field_reaches_the_recommender(client: TestClient, fake: Fake) -> None:
    place = {"latitude": 48.85, "longitude": 2.35, "city": "Paris"}
    fields = {"user_id": 7, "n": 1, "exclude_item_ids": [2, "3"], "time": 1_700_000_000_000}
    fields |= {
        "interests": ["Drama"],
        **place,
        "explain": True,
        "why_not": 1,
        "recommendation_id": "r",
    }
    fields |= {"context": {"device": "ios"}, "values": {"regions": ["FR"]}, "filter": "price < 3"}
    fields |= {"scene": "home", "session_id": "s", "dry_run": True, "diversity": 0.5}
    fields |= {"pins": {"3": 1}, "arms": {"less_alike": "diverse"}}
    fields |= {"boost": [{"category": "Drama", "factor": 2}, {"item_id": 3, "factor": 0.5}]}
    answer = ask(client, **fields).json()
    assert fake.request == Request.of(**fields)
    assert set(fields) == set(Request.__struct_fields__)
    assert answer["recommendation_id"] == "r"


def test_an_empty_request_is_legal(client: TestClient, fake: Fake) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    assert (answer.json()["user_id"], answer.json()["known"]) == (None, False)
    assert fake.request == Request()


def test_explain_adds_the_reasons(client: TestClient) -> None:
    plain, explained = ask(client, user_id="ann"), ask(client, user_id="ann", explain=True)
    assert "reasons" not in plain.json()["items"][0]
    reasons = explained.json()["items"][0]["reasons"]
    assert reasons["text"] == "like Alien (itemcf #1)"
    assert reasons["channels"][0]["because"] == "Alien"
    assert reasons["predictions"] == {"like": 0.7}


def test_why_not_names_the_stage(client: TestClient) -> None:
    lost = ask(client, user_id="ann", why_not="3").json()["why_not"]
    assert (lost["title"], lost["stage"]) == ("Cube", "rank_cut")


def test_rank_orders_given_items(client: TestClient) -> None:
    answer = client.post("/v1/rank", json={"user_id": 7, "item_ids": [1, "2", "x"]}).json()
    assert answer.pop("took_ms") >= 0
    assert answer == {
        "version": "serving-7",
        "user_id": "7",
        "known": True,
        "time": 1_700_000_000_000,
        "clock": "now",
        "items": [
            {"item_id": "1", "title": "Alien", "place": 1, "score": None}
            | {"predictions": {"like": 0.5}}
        ],
        "removed": [
            {"item_id": "2", "title": "Brazil", "filters": ["seen"], "reasons": ["bought"]}
        ],
        "unknown": ["x"],
        "lag": 0,
        "degraded": [],
    }
    for body in ({"user_id": 7}, {"item_ids": []}, {"item_ids": [1], "n": 2}):
        refused = client.post("/v1/rank", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")


def test_similar_items_by_the_address(client: TestClient) -> None:
    answer = client.get("/v1/similar/1?n=5&by=mf").json()
    assert answer == {
        "version": "serving-7",
        "by": "mf",
        "item_id": "1",
        "title": "Alien",
        "items": [{"item_id": "2", "title": "Brazil", "place": 1, "score": 0.5}],
    }
    for wrong in ("n=0", "n=ten", "n=1001", "n=1&n=2"):
        refused = client.get(f"/v1/similar/1?{wrong}")
        assert refused.status_code == 400
        assert refused.json()["error"]["field"] == "n"


def test_a_degraded_answer_lists_what_failed(client: TestClient) -> None:
    assert ask(client, user_id="half").json()["degraded"] == ["recall two_tower: ValueError"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"n": 0}, "n", ">= 1"),
        ({"n": 10**6}, "n", "<= 1000"),
        ({"n": "ten"}, "n", "n = 'ten': expected `int | null`, got `str`"),
        ({"time": 1_700_000_000}, "time", "looks like seconds: send 1700000000000"),
        ({"latitude": 1}, "latitude", "latitude is given without longitude"),
        ({"latitude": 91, "longitude": 0}, "latitude", "<= 90"),
        ({"latitude": 0, "longitude": "east"}, "longitude", "expected `float | null`"),
        ({"interests": "Comedy"}, "interests", "is the text 'Comedy': give a list of texts"),
        ({"user_id": ""}, "user_id", "length >= 1"),
        ({"exclude_item_ids": "3"}, "exclude_item_ids", "is the text '3': give a list of texts"),
        (
            {"exclude_item_ids": ["3", None]},
            "exclude_item_ids",
            "exclude_item_ids[1] = None: expected `int | str`",
        ),
        (
            {"exclude_item_ids": ["3", " "]},
            "exclude_item_ids",
            "exclude_item_ids[1] = ' ': an id is not blank",
        ),
        ({"user_id": "  "}, "user_id", "user_id = '  ': an id is not blank; leave it out"),
        ({"user_id": "a" * 1025}, "user_id", "length <= 1024"),
        ({"user_id": 10**1024}, "user_id", "an id has at most 1,024 characters"),
        ({"user_id": True}, "user_id", "expected `int | str | null`, got `bool`"),
        ({"time": 10**400}, "time", "is not within the years 2000 to 2100 in ms"),
        ({"time": 1_700_000_000.5}, "time", "looks like seconds: send 1700000000500"),
        ({"time": 1_700_000_000_000_000}, "time", "looks like microseconds: send 1700000000000"),
        (
            {"time": "2024-05-01T00:00:00Z"},
            "time",
            "as a whole number: 1714521600000",
        ),
        ({"time": "yesterday"}, "time", "times are sent in ms since 1970 UTC"),
        ({"explain": None}, "explain", "expected `bool`, got `null`"),
        ({"usr": "ann"}, "usr", "no such field. Did you mean `user_id`"),
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
    assert error["cure"].startswith("correct the request")
    value = body.get(field)
    small = isinstance(value, int) and abs(value) < 2**53
    if value is None or isinstance(value, float) or small:
        assert error["value"] == value
    else:
        assert str(error["value"])[:5] == str(value)[:5]


JSON = {"content-type": "application/json"}
BAD_BODIES = {
    "empty": (b"", "the body is empty; send a JSON object"),
    "blank": (b" \n", "the body is empty"),
    "cut off": (b'{"user_id": "an', "the body is not JSON: Unterminated string"),
    "two objects": (b'{"n": 1}{"n": 2}', "Extra data at character 8"),
    "single quotes": (b"{'user_id': 'ann'}", "in double quotes at character 1"),
    "array": (b'["ann"]', "the body is an array; send one JSON object"),
    "text": (b'"ann"', "the body is a text"),
    "null": (b"null", "the body is null"),
    "latin-1": ('{"user_id": "Zoë"}'.encode("latin-1"), "byte 15 is 0xeb; send JSON in UTF-8"),
    "utf-16": ('{"user_id": "ann"}'.encode("utf-16"), "looks like UTF-16; send JSON in UTF-8"),
    "not a number": (b'{"latitude": NaN, "longitude": 0}', "holds NaN, which is no JSON number"),
    "infinite": (b'{"latitude": -Infinity, "longitude": 0}', "holds -Infinity"),
    "overflow": (b'{"latitude": 1e999, "longitude": 0}', "the number 1e999 is out of range"),
    "digits": (b'{"user_id": ' + b"9" * 5000 + b"}", "send ids of that length as texts"),
    "deep array": (b"[" * 100_000, "nested too deeply; a request is one flat object"),
    "deep object": (b'{"user_id":' * 50_000, "nested too deeply"),
    "twice": (b'{"user_id": "bob", "user_id": "ann"}', "'user_id' is given twice in one object"),
    "half a pair": (b'{"user_id": "\\ud800"}', "character 0 is half of a surrogate pair"),
    "half a pair in the id": (b'{"recommendation_id": "\\ud800"}', "half of a surrogate pair"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_cannot_be_read_is_400_and_says_where(client: TestClient, name: str) -> None:
    content, said = BAD_BODIES[name]
    answer = client.post("/v1/recommend", content=content, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, "send JSON, with the header"),
        ({"content-type": "multipart/form-data; boundary=x"}, "send JSON, with the header"),
        ({"content-type": "application/json; charset=latin-1"}, "JSON is sent in UTF-8"),
        ({**JSON, "content-encoding": "gzip"}, "send the JSON as it is"),
    ],
)
def test_other_bodies_than_plain_json_are_415(
    client: TestClient, headers: dict[str, str], said: str
) -> None:
    body = gzip.compress(b"{}") if "content-encoding" in headers else b"{}"
    answer = client.post("/v1/recommend", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (415, "unsupported_media_type")
    assert said in error["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        JSON,
        {"content-type": "text/plain"},
        {"content-type": "application/x+json; charset=UTF-8"},
    ],
)
def test_json_is_read_whatever_its_usual_name(client: TestClient, headers: dict[str, str]) -> None:
    body = b'\xef\xbb\xbf{"user_id": "ann"}'  # with a byte-order mark
    assert client.post("/v1/recommend", content=body, headers=headers).json()["known"]


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("/v1/recommend", "send fewer ids in `exclude_item_ids`"),
        ("/v1/rank", "send fewer ids in `item_ids`"),
        ("/v1/lookalike", "send fewer ids in `user_ids`"),
        ("/v1/events", "send fewer events in one call"),
    ],
)
def test_a_large_body_is_413_and_the_message_says_what_to_shorten(
    client: TestClient, path: str, cure: str
) -> None:
    body = b'{"exclude_item_ids": [' + b'"0123456789",' * 100_000 + b'""]}'
    answer = client.post(path, content=body, headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (413, "too_large")
    assert f"larger than 1,000,000 bytes; {cure}" in error["message"]


def test_each_route_with_a_body_has_its_cure_of_a_large_one(client: TestClient) -> None:
    paths = client.get("/schema/openapi.json").json()["paths"]
    with_body = {
        path for path, found in paths.items() if any("requestBody" in one for one in found.values())
    }
    assert with_body == set(LESS)


def test_fields_in_the_address_are_refused(client: TestClient) -> None:
    """They were ignored: a known user got the items of nobody."""
    answer = client.post("/v1/recommend?user_id=ann", json={})
    assert answer.status_code == 400
    assert "user_id: fields belong into the JSON body" in answer.json()["error"]["message"]
    for path, name in (("similar/1?m=3", "m"), ("similar/1?N=3", "N"), ("versions?page=1", "page")):
        error = client.get(f"/v1/{path}").json()["error"]
        assert (error["code"], error["field"]) == ("bad_request", name)
        assert f"{name}: this address has no such field" in error["message"]
    assert "Fields: n, by" in client.get("/v1/similar/1?m=3").json()["error"]["message"]
    assert client.get("/health/live?probe=1").status_code == 200


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ((), "evil.example", 200),
        (("*",), "evil.example", 200),
        (LOCAL, "localhost:8000", 200),
        (LOCAL, "Tamis.LocalHost", 200),
        (LOCAL, "127.0.0.1", 200),
        (LOCAL, "[::1]:8000", 200),
        (LOCAL, "evil.example:8000", 403),
        (LOCAL, "127.0.0.1.evil.example", 403),
        (LOCAL, "localhost.evil.example", 403),
        (("shop.example", "*.shop.example"), "eu.shop.example.", 200),
        (("*.shop.example",), "eviltheshop.example", 403),
    ],
)
def test_requests_by_a_name_of_another_site_are_refused(
    fake: Fake, hosts: tuple[str, ...], host: str, status: int
) -> None:
    with TestClient(create_app(fake, config=ServeConfig(hosts=hosts))) as client:
        answer = client.post("/v1/recommend", json={}, headers={"host": host})
        assert answer.status_code == status
        if status == 403:
            assert "name it in `hosts` of [serve]" in answer.json()["error"]["message"]
        assert client.get("/health/live", headers={"host": host}).status_code == 200


def test_a_service_without_keys_has_the_names_of_this_machine_alone(tmp_path: Path) -> None:
    served = Served(str(tmp_path), "", None, None)
    assert served.options().hosts == LOCAL
    (tmp_path / "keys").write_text(f"web read {'0' * 64}\n")
    assert replace(served, key_file=str(tmp_path / "keys")).options().hosts == ()


@pytest.mark.parametrize(
    ("user", "text"),
    [
        (12, "12"),
        (12.0, "12"),
        ("12.0", "12"),
        (" 12 ", "12"),
        (2**65 + 1, str(2**65 + 1)),  # the float next to it is another user
        (12.5, "12.5"),
    ],
)
def test_a_user_id_is_one_id_however_it_is_written(
    client: TestClient, user: object, text: str
) -> None:
    assert ask(client, user_id=user).json()["user_id"] == text


def test_errors_of_the_recommender(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    unknown = ask(client, why_not="99")
    assert unknown.status_code == 400
    assert "check the id" in unknown.json()["error"]["message"]
    broken = ask(client, user_id="broken stage")
    assert (broken.status_code, broken.json()["error"]["message"]) == (500, "rank added candidates")
    defect = ask(client, user_id="defect")
    assert defect.status_code == 500
    assert "secret detail" not in defect.text
    assert "ZeroDivisionError: secret detail" in caplog.text
    assert ask(client, user_id="ann").status_code == 200


def test_paths_and_methods(client: TestClient) -> None:
    missing, wrong = client.get("/v2/recommend"), client.get("/v1/recommend")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert "POST" in wrong.headers["allow"]
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


def test_what_matches_no_route_is_logged_and_counted(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tamis.serve"):
        client.get("/v2/recommend%0AGET /forged")
        client.get("/v1/user/ann")
        client.get("/v1/recommend")
        client.request("SPELL", "/v1/recommend")
    lines = [r.getMessage().rpartition(" ")[0] for r in caplog.records if r.name == "tamis.serve"]
    assert lines == [
        r"GET '/v2/recommend\nGET /forged' 404",
        "GET other 404",  # may hold the id of a user
        "GET /v1/recommend 405",
        "other /v1/recommend 405",
    ]
    text = client.get("/metrics").text
    counted = 'tamis_requests_total{method="%s",route="other",status="%d"} %d.0'
    for method, status, n in (("GET", 404, 2), ("GET", 405, 1), ("other", 405, 1)):
        assert counted % (method, status, n) in text


def test_one_log_line_per_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tamis.serve"):
        ask(client, user_id="a\nforged line", n=2)
    lines = [r.getMessage() for r in caplog.records if r.name == "tamis.serve"]
    assert len(lines) == 1
    assert lines[0].startswith("POST /v1/recommend 200 ")
    assert lines[0].endswith(
        "ms recommendation_id='new' known=False items=2 version=serving-7 degraded=[]"
    )
    assert "forged" not in lines[0]


def test_the_log_names_users_where_it_is_asked_to(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        TestClient(create_app(fake, config=ServeConfig(log_user_ids=True))) as client,
        caplog.at_level(logging.INFO, logger="tamis.serve"),
    ):
        ask(client, user_id="a\nforged line", n=2)
    line = caplog.records[-1].getMessage()
    assert r"recommendation_id='new' user_id='a\nforged line' known=False" in line


def test_health(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {
        "status": "ready",
        "version": "serving-7",
        "worker": 0,
        "open_versions": ["serving-7"],
        "problem": None,
    }


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
        assert ask(client, user_id="ann").status_code == 503
        release.set()
        assert opened.wait(10)
        for _ in range(1000):
            if client.get("/health/ready").status_code == 200:
                break
        assert ask(client, user_id="ann").status_code == 200


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
    assert set(schema["paths"]) == {
        "/v1/recommend",
        "/v1/rank",
        "/v1/similar/{item_id}",
        "/v1/events",
        "/v1/lookalike",
        "/v1/users",
        "/v1/users/{user_id}",
        "/v1/items",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/hide",
        "/v1/items/{item_id}/show",
        "/v1/versions",
        "/v1/versions/{name}/activate",
        "/v1/versions/rollback",
        "/v1/experiments",
        "/v1/experiments/plan",
        "/v1/experiments/{experiment}",
        "/v1/experiments/{experiment}/report",
        *(f"/v1/experiments/{{experiment}}/{step}" for step in ("start", "ramp", "full", "close")),
        "/v1/recommendations/{recommendation_id}",
        "/v1/recommendations/{recommendation_id}/why-not/{item_id}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    answers = schema["paths"]["/v1/recommend"]["post"]["responses"]
    assert {"200", "400", "503"} <= set(answers)
    shapes = schema["components"]["schemas"]
    assert set(Request.__struct_fields__) == set(shapes["Request"]["properties"])
    assert "took_ms" in shapes["RecommendAnswer"]["required"]
    assert client.get("/schema").status_code == 200
