"""Recall offline into Redis, sort online: through the command line and HTTP, on a real server."""

import ast
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import redis
from litestar.testing import TestClient

import tamis
from tamis.bundle import Kind, Versions
from tamis.serve import create_app
from tamis.service import Parts, Recommender
from tamis.stores import EntityKind, open_recall
from tamis.stores.redis import PAUSE
from tamis.testing import redis_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "offline-recall-redis"


@pytest.fixture(scope="module")
def server():
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with redis_server() as address:
        yield address


@pytest.fixture(scope="module")
def trained(tamis_cli, ratings_tables, tmp_path_factory):
    """The example's own declaration, on tables of its format; quotas for 90 films."""
    folder = ratings_tables(tmp_path_factory.mktemp("offline") / "films", users=120, items=90)
    declared = (EXAMPLE / "tamis.toml").read_text("utf-8").replace("quota = 300", "quota = 40")
    (folder / "tamis.toml").write_text(declared, "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    return folder


@pytest.fixture
def films(trained, server, monkeypatch):
    """The trained project, its store empty."""
    monkeypatch.setenv("TAMIS_STORE", server)
    with redis.Redis.from_url(server) as client:
        client.flushall()
    return trained


def opened(address, project):
    """The store of the serving version, and the version's parts."""
    parts = Parts.open(Versions(project).current(Kind.SERVING))
    return open_recall(address, project, parts.config.name, parts.users, parts.items), parts


def test_the_examples_commands_run(films, tamis_cli):
    """Every line of its README but the download, the training (done), and the service (below)."""
    (block, _) = re.findall(r"^```sh\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.M | re.S)
    lines = [line.split("#")[0].split() for line in block.splitlines() if line.startswith("tamis")]
    assert [line[1] for line in lines] == ["fetch", "train", "recall", "recommend", "serve"]
    for line in lines[2:4]:
        words = [films if word == "films" else word.replace("42", "u42") for word in line[1:]]
        said = tamis_cli(*words)
        assert said.code == 0, said
    assert "degraded" not in said.out
    assert "because of Film" in said.out


def test_without_stored_lists_the_answer_is_degraded(films, tamis_cli):
    said = tamis_cli("recommend", films, "--user-id", "u3", "--json")
    assert [why.split(":")[1] for why in said.json["degraded"]] == ["two_tower", "itemcf"]
    for why in said.json["degraded"]:
        assert "StoreError: nothing is recalled for version" in why
        assert "tamis recall" in why
    assert len(said.json["items"]) == 20


def test_stored_lists_equal_those_of_a_request(films, tamis_cli):
    """Slates and candidates, for every user: the law of the two ways, end to end."""
    said = tamis_cli("recall", films, "--json")
    assert said.code == 0, said
    version = Versions(films).current(Kind.SERVING)
    serving, parts = Recommender(version), Parts.open(version)
    online = parts.cascade()  # not bound: its channels compute
    rows = np.arange(len(parts.users), dtype=np.int32)
    queries = parts.queries(rows, np.full(len(rows), version.manifest.data_until))
    ours, theirs = serving.cascade.run(queries, 10), online.run(queries, 10)
    assert ours.degraded == theirs.degraded == []
    assert (theirs.recalled.columns["rank:two_tower"] > 0).sum() > 1000
    for name in ("item", "indptr"):
        np.testing.assert_array_equal(getattr(ours.slate, name), getattr(theirs.slate, name))
    for name, column in theirs.recalled.columns.items():
        np.testing.assert_allclose(ours.recalled.columns[name], column, rtol=1e-5)


def test_recall_reports_what_it_wrote(films, tamis_cli, server):
    said = tamis_cli("recall", films, "--k", "25", "--json")
    report = said.json
    assert list(report["channels"]) == ["two_tower", "itemcf", "merged"]
    lists = report["channels"]["two_tower"]
    assert (lists["k"], lists["users"], lists["items"]) == (25, 120, 25 * 120)
    assert lists["vectors"] == 32
    assert report["channels"]["itemcf"]["vectors"] == 0
    assert report["store"] == server
    assert report["users_per_second"] > 0
    assert report["notes"] == [
        f"{name} has quota = 40, but its lists hold only 25 items"
        for name in ("two_tower", "itemcf")
    ]
    store, parts = opened(server, films)
    rows = np.array([5, 0], np.int32)
    users = store.vectors(report["version"], "two_tower", EntityKind.USERS, rows)
    items = store.vectors(
        report["version"], "two_tower", EntityKind.ITEMS, np.arange(90, dtype=np.int32)
    )
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, rtol=1e-5)
    item, score = store.lists(report["version"], "two_tower", rows)
    np.testing.assert_allclose((users[:, None] * items[item]).sum(axis=2), score, rtol=1e-4)
    assert len(parts.items) == 90
    root = f"tamis:{parts.config.name}:recall:{report['version']}:two_tower"
    with redis.Redis.from_url(server) as client:  # as a service in another language reads it
        user = parts.users.ids[5]
        listed = json.loads(client.hget(f"{root}:lists", user))
        assert listed["items"] == parts.items.ids.gather(item[0]).to_list()
        assert set(listed["items"]) <= {f"m{i}" for i in range(90)}
        np.testing.assert_array_equal(np.float32(listed["scores"]), score[0])
        np.testing.assert_array_equal(
            np.frombuffer(client.hget(f"{root}:users", user), "<f4"), users[0]
        )
        assert client.hlen(f"{root}:items") == 90


def test_the_pages_code_reads_the_store_without_tamis(films, tamis_cli, server, capsys):
    assert tamis_cli("recall", films).code == 0
    page = Path(__file__).parents[2] / "docs" / "offline-recall.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    assert "tamis." not in code.replace("tamis:", "")
    for written, here in (("redis://127.0.0.1:6379/0", server), ('"42"', '"u42"'),
                          ('b"2858"', 'b"m28"')):  # fmt: skip
        assert written in code
        code = code.replace(written, here)
    exec(compile(code, str(page), "exec"), {})
    listed, nearest = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    store, parts = opened(server, films)
    user = np.array([parts.users.row("u42")], np.int32)
    version = Versions(films).current(Kind.SERVING).name
    (items,), _ = store.lists(version, "two_tower", user)
    assert listed == parts.items.ids.gather(items[items >= 0]).to_list()
    rows = np.arange(len(parts.items), dtype=np.int32)
    vectors = store.vectors(version, "two_tower", EntityKind.ITEMS, rows)
    best = np.argsort(-vectors @ vectors[parts.items.row("m28")])[:10]
    assert set(nearest) == set(parts.items.ids.gather(best).to_list())


def test_recall_prints_a_table(films, tamis_cli):
    said = tamis_cli("recall", films, "--store", "", "--channels", "two_tower,hot")
    assert said.code == 0, said
    assert all(
        word in said.out for word in ("two_tower", "hot", "merged", "users in", "per second")
    )
    assert "requests compute hot themselves" in said.out
    assert (
        "two_tower reads store = 'env:TAMIS_STORE', but these lists are in another store"
        in said.out
    )
    version = Versions(films).current(Kind.SERVING).name
    store, _ = opened("", films)
    assert set(store.holds(version)) == {"two_tower", "hot", "merged"}
    everybody = np.arange(120, dtype=np.int32)
    merged, score = store.lists(version, "merged", everybody)
    either = [store.lists(version, name, everybody)[0][:, :40] for name in ("two_tower", "hot")]
    for user in range(120):
        found = merged[user][merged[user] >= 0]
        assert set(found.tolist()) <= {*either[0][user].tolist(), *either[1][user].tolist()}
        assert len(found) >= 40
    assert (np.diff(score[:, :10]) < 0).all()
    shutil.rmtree(films / "stores")


def test_old_versions_lists_are_dropped(films, tamis_cli, server):
    store, _ = opened(server, films)
    for old in ("2020-01-01T00-00-00-serving", "2020-01-02T00-00-00-serving"):
        with store.write(old) as draft:
            draft.lists("two_tower", 0, np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32))
    report = tamis_cli("recall", films, "--json").json
    assert report["dropped"] == ["2020-01-01T00-00-00-serving"]
    assert list(store.versions()) == ["2020-01-02T00-00-00-serving", report["version"]]


def test_over_http_the_service_degrades_and_recovers(films, tamis_cli, monkeypatch):
    with redis_server() as address:
        monkeypatch.setenv("TAMIS_STORE", address)
        assert tamis_cli("recall", films).code == 0
        with TestClient(create_app(lambda: Recommender.open(films))) as client:
            ready(client)
            whole = ask(client)
            assert whole["degraded"] == []
            assert channels_of(whole) >= {"two_tower"}
            port = int(address.split(":")[-1].split("/")[0])
            away_and_back(films, tamis_cli, client, port, address)


def away_and_back(films, tamis_cli, client, port, address):
    with redis.Redis.from_url(address) as line:
        line.shutdown(nosave=True)
    without = ask(client)
    assert [why.split(":")[1] for why in without["degraded"]] == [
        "two_tower",
        "itemcf",
        "cached",
        "cached",
    ]
    assert all(f"{address} does not answer" in why for why in without["degraded"])
    assert len(without["items"]) == 10
    assert channels_of(without) == {"hot"}
    time.sleep(PAUSE)
    with redis_server(port):
        assert tamis_cli("recall", films).code == 0
        again = ask(client)
        assert again["degraded"] == []
        assert "two_tower" in channels_of(again)


def ready(client):
    for _ in range(200):
        if client.get("/health/ready").status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(client.get("/health/ready").text)


def ask(client):
    body = {"user_id": "u3", "n": 10, "explain": True}
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def channels_of(answer) -> set[str]:
    return {c["channel"] for item in answer["items"] for c in item["reasons"]["channels"]}


def test_items_ranked_but_not_shown_are_recalled_at_the_next_request(films, tamis_cli):
    assert tamis_cli("recall", films).code == 0
    recommender = Recommender.open(films)
    first = recommender.recommend("u7", 5, explain=True)
    assert "cached" not in channels_of(first.to_dict())
    parts = recommender.parts
    row = np.array([parts.users.row("u7")], np.int32)
    queries = parts.queries(row, np.array([recommender.manifest.data_until]))
    found = parts.channels["cached"].recall(queries, 20).item[0]
    shown = parts.items.rows([place.item_id for place in first.items])
    assert (found >= 0).all()
    assert not np.isin(found, shown).any()
    second = recommender.recommend("u7", 20, explain=True)
    assert "cached" in channels_of(second.to_dict())
    assert second.degraded == ()


def test_unknown_users_are_answered_without_a_list(films):
    project = tamis.open(films)
    assert project.recall().users == 120
    answer = project.recommend("nobody", 10)
    assert (answer.known, answer.degraded, len(answer.items)) == (False, (), 10)


def test_an_exclusion_is_honoured(films, tamis_cli):
    assert tamis_cli("recall", films).code == 0
    found = tamis.open(films)
    refused = [place.item_id for place in found.recommend("u3", 10).items]
    again = found.recommend("u3", 10, exclude_item_ids=refused)
    assert not {place.item_id for place in again.items} & set(refused)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--k", "0"), "k is 0: a list must hold at least 1 item"),
        (("--keep", "0"), "keep is 0"),
        (
            ("--channels", "x"),
            "'x' is no channel of the version.*two_tower",
        ),
        (("--channels", "cached"), "'cached' computes nothing.*two_tower"),
        (("--version", "v0"), "v0 is not a version"),
        (("--store", "redis://127.0.0.1:1/0"), "127.0.0.1:1/0 does not answer"),
        (("--store", "mongo://x"), "redis://host:port/db"),
    ],
)
def test_recall_of_unsuitable_channels_is_an_error(films, tamis_cli, words, message):
    said = tamis_cli("recall", films, *words)
    assert said.code == 1
    assert said.out == ""
    assert re.search(message, said.err), said.err


def test_an_unset_variable_is_an_error_when_the_version_is_opened(films, tamis_cli, monkeypatch):
    monkeypatch.delenv("TAMIS_STORE")
    said = tamis_cli("recommend", films, "--user-id", "u3")
    assert said.code == 1
    assert "the variable TAMIS_STORE is not set" in said.err
