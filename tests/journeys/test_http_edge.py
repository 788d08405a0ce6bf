"""A real version behind HTTP: no answer is a 500, and a known user stays known."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from tamis.data import one_id
from tamis.serve import create_app
from tamis.service import Recommender, Request

JSON = {"content-type": "application/json"}
ODD = [
    None, True, 0, -1, 1.5, 2**31, 2**63, 2**64 + 1, -(2**65), 1e300, "", " ", "NaN", "\x00", "é",
    "\U0001f600", "a" * 1025, [], {}, [[]], {"a": [1]}, 1_700_000_000, 1_700_000_000_000,
    "2024-05-01", 4_102_444_799_999,
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=5)), max_size=4),
)
FIELDS = st.dictionaries(
    st.one_of(st.sampled_from(Request.__struct_fields__), st.text(max_size=8)), VALUES, max_size=6
)


@pytest.fixture(scope="module")
def client(numbered):
    """A service whose ids are numbers; in the file of events they are a column of integers."""
    app = create_app(Recommender.open(numbered))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def users_of_the_table(numbered):
    lines = (numbered / "users.csv").read_text("utf-8").splitlines()[1:]
    return {line.split(",")[0] for line in lines}


def refused_or_answered(answer):
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code == 200:
        items = [item["item_id"] for item in answer.json()["items"]]
        assert len(set(items)) == len(items) > 0
    else:
        assert len(answer.json()["error"]["message"]) > 10


@settings(max_examples=120)
@given(FIELDS)
def test_no_field_is_answered_by_a_500(client, fields):
    refused_or_answered(client.post("/v1/recommend", content=json.dumps(fields), headers=JSON))


@settings(max_examples=60)
@given(FIELDS, st.integers(0, 200), st.binary(max_size=6), st.integers(0, 200))
def test_no_damaged_body_is_answered_by_a_500(client, fields, at, inserted, dropped):
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    body = body[:at] + inserted + body[at + dropped % 7 :]
    refused_or_answered(client.post("/v1/recommend", content=body, headers=JSON))


@pytest.mark.parametrize("spelling", ["{}", '"{}"', "{}.0", '"{}.0"', '" {} "', "{}e0", "{}00e-2"])
def test_a_known_user_is_known_in_every_spelling(client, spelling):
    expected = client.post("/v1/recommend", json={"user_id": "12"}).json()
    assert expected["known"]
    body = '{"user_id": ' + spelling.format(12) + "}"
    answer = client.post("/v1/recommend", content=body, headers=JSON).json()
    assert (answer["user_id"], answer["known"]) == ("12", True)
    assert answer["items"] == expected["items"]
    items = [item["item_id"] for item in expected["items"][:2]]
    spelt = ", ".join(spelling.format(item) for item in items)
    body = '{"user_id": 12, "exclude_item_ids": [' + spelt + "]}"
    left = client.post("/v1/recommend", content=body, headers=JSON).json()["items"]
    assert not {item["item_id"] for item in left} & set(items)


@settings(max_examples=60)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    st.one_of(
        st.sampled_from(
            [
                "/",
                "/v1",
                "/v1/recommend",
                "/v1/recommend/",
                "/health/live",
                "/health/ready",
                "/schema",
            ]
        ),
        st.text("abc/%.?&=é 0", max_size=12).map("/{}".format),
    ),
    st.binary(max_size=20),
)
def test_no_path_and_method_is_answered_by_a_500(client, method, path, body):
    url = f"http://testserver{path}"  # a path that begins with // would be read as a host
    answer = client.request(method, url, content=body, headers=JSON)
    assert answer.status_code < 500, (method, path, answer.text)


@settings(max_examples=80)
@given(st.one_of(VALUES, st.integers(0, 400).map(str), st.integers(0, 400), st.floats(0, 400)))
def test_a_user_is_known_only_if_the_table_has_him(client, users_of_the_table, user):
    answer = client.post("/v1/recommend", content=json.dumps({"user_id": user}), headers=JSON)
    refused_or_answered(answer)
    if answer.status_code == 200:
        found = answer.json()
        assert found["known"] == (one_id(user) in users_of_the_table)
        assert found["user_id"] == one_id(user)
