"""Both stores keep the contracts; a real server stops, starts again, and refuses commands."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import polars as pl
import pytest
import redis

from tamis.data import Table
from tamis.schema import ConfigError, StoreError
from tamis.stores import EntityKind, open_leftovers, open_recall
from tamis.stores.embedded import EmbeddedLeftovers, EmbeddedRecall
from tamis.stores.redis import PAUSE, RedisRecall
from tamis.testing import check_leftovers, check_recall_store, redis_server


@pytest.fixture(scope="module")
def server():
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with redis_server() as address:
        yield address


@pytest.fixture(params=["embedded", "redis"])
def address(request):
    if request.param == "embedded":
        return ""
    found = request.getfixturevalue("server")
    with redis.Redis.from_url(found) as client:
        client.flushall()
    return found


def table(name, n):
    """u0, u1, … or i0, i1, …"""
    return Table(name, pl.Series([f"{name[0]}{k}" for k in range(n)]), pl.DataFrame())


ENTITIES = (table("users", 100), table("items", 100))


def opened(address, folder, project="shop"):
    return open_recall(address, folder, project, *ENTITIES)


def lists(k=2, users=3):
    item = np.tile(np.arange(k, dtype=np.int32), (users, 1))
    return item, np.full((users, k), 0.5, np.float32)


def test_recall_stores_pass_the_contract(address, tmp_path):
    check_recall_store(lambda users, items: open_recall(address, tmp_path, "shop", users, items))


def test_leftover_stores_pass_the_contract(address, tmp_path):
    check_leftovers(lambda: open_leftovers(address, tmp_path, "shop", "cached"))


def test_projects_and_queues_are_separate(address, tmp_path):
    one, other = (opened(address, tmp_path / name, name) for name in ("shop", "feed"))
    with one.write("v1") as draft:
        draft.lists("near", 0, *lists())
    assert (list(one.versions()), list(other.versions())) == (["v1"], [])
    queues = [open_leftovers(address, tmp_path, "shop", name) for name in ("a", "b")]
    queues[0].update("ann", shown=[], left=["x"], now=1, size=9, max_age=99)
    assert [list(q.waiting(["ann"], 0)[0][0]) for q in queues] == [["x"], []]


def test_blocks_larger_than_a_pipeline_are_written_whole(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.stores.redis.WRITE_ROWS", 7)
    store = opened(server, tmp_path, "blocks")
    item = np.arange(100, dtype=np.int32)[:, None]
    with store.write("v1") as draft:
        draft.lists("near", 0, item, item.astype(np.float32))
        draft.vectors("near", EntityKind.ITEMS, 0, item.astype(np.float32))
    asked = np.array([99, 3, -1, 42, 3], np.int32)
    found, score = store.lists("v1", "near", asked)
    assert found[:, 0].tolist() == [99, 3, -1, 42, 3]
    assert score[:, 0].tolist() == [99, 3, -np.inf, 42, 3]
    assert store.vectors("v1", "near", EntityKind.ITEMS, asked)[:, 0].tolist() == [99, 3, 0, 42, 3]


def test_another_language_reads_lists_and_vectors_by_external_ids(server, tmp_path):
    """What docs/offline-recall.md says of keys and values, read without Tamis."""
    store = opened(server, tmp_path, "plain")
    score = np.array([[0.1, -2.5]], np.float32)
    vector = np.array([[1.5, -2.0]], np.float32)
    with store.write("v1") as draft:
        draft.lists("near", 3, np.array([[7, 2]], np.int32), score)
        draft.vectors("near", EntityKind.USERS, 3, vector)
        draft.vectors("near", EntityKind.ITEMS, 7, vector * 2)
    with redis.Redis.from_url(server) as client:
        assert max(client.smembers("tamis:plain:recall")) == b"v1"
        about = json.loads(client.get("tamis:plain:recall:v1"))
        assert about["lists"] == {"near": 2}
        assert about["vectors"] == {"near:users": 2, "near:items": 2}
        root = "tamis:plain:recall:v1:near"
        assert about["keys"] == [f"{root}:items", f"{root}:lists", f"{root}:users"]
        assert client.hkeys(f"{root}:lists") == [b"u3"]
        found = json.loads(client.hget(f"{root}:lists", "u3"))
        assert found == {"items": ["i7", "i2"], "scores": score[0].astype(float).tolist()}
        assert struct.unpack("<2f", client.hget(f"{root}:users", "u3")) == (1.5, -2.0)
        assert struct.unpack("<2f", client.hget(f"{root}:items", "i7")) == (3.0, -4.0)


def test_scores_come_back_exactly_and_those_that_are_not_finite_as_nan(server, tmp_path):
    store = opened(server, tmp_path, "exact")
    score = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) ** 5
    score[3, 1], score[4, 2] = np.inf, np.nan
    with store.write("v1") as draft:
        draft.lists("near", 0, np.tile(np.arange(4, dtype=np.int32), (50, 1)), score)
    found = store.lists("v1", "near", np.arange(50, dtype=np.int32))[1]
    np.testing.assert_array_equal(found, np.where(np.isfinite(score), score, np.nan))


def test_lists_of_an_earlier_layout_and_damaged_ones_are_reported(server, tmp_path):
    root = "tamis:old:recall"
    with redis.Redis.from_url(server) as client:
        client.sadd(root, "v1")
        client.set(f"{root}:v1", json.dumps({"lists": {"near": 2}, "keys": [f"{root}:v1:near:0"]}))
        client.hset(f"{root}:v1:near:0", "0", b"bytes")
        store = opened(server, tmp_path, "old")
        with pytest.raises(StoreError, match=r"nothing is recalled for version v1.*tamis recall"):
            store.lists("v1", "near", np.array([0], np.int32))
        with store.write("v1") as draft:
            draft.lists("near", 0, *lists())
        assert not client.exists(f"{root}:v1:near:0")  # writing replaces the earlier layout
        client.hset(f"{root}:v1:near:lists", "u0", b"no json")
        with pytest.raises(StoreError, match=r"list of channel 'near' .* damaged.*tamis recall"):
            store.lists("v1", "near", np.array([0], np.int32))


def test_only_keys_of_the_project_are_on_the_server(server, tmp_path):
    """Temporary keys are renamed or deleted, and drop leaves no key behind."""
    with redis.Redis.from_url(server) as client:
        client.flushall()
        store = opened(server, tmp_path, "tidy")
        for k in (2, 1):
            with store.write("v1") as draft:
                draft.lists("near", 0, *lists(k))
        with contextlib.suppress(ZeroDivisionError), store.write("v1") as draft:
            draft.lists("near", 0, *lists())
            during = {key: client.ttl(key) for key in client.scan_iter()}
            raise ZeroDivisionError
        assert [ttl for key, ttl in during.items() if ttl > 0], "an unfinished write expires"
        root = "tamis:tidy:recall"
        keys = {key.decode() for key in client.scan_iter()}
        assert keys == {root, f"{root}:v1", f"{root}:v1:near:lists"}
        assert {client.ttl(key) for key in keys} == {-1}
        store.drop("v1")
        assert list(client.scan_iter()) == []


def test_idle_queues_expire(server, tmp_path):
    with redis.Redis.from_url(server) as client:
        queue = open_leftovers(server, tmp_path, "idle", "cached")
        queue.update("ann", shown=[], left=["x"], now=1_000, size=9, max_age=60_000)
        assert 0 < client.pttl("tamis:idle:leftovers:cached:ann") <= 60_000


def test_a_server_that_stops_and_starts_again(tmp_path):
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    users = np.array([0], np.int32)
    with redis_server() as address:
        store = opened(address, tmp_path)
        with store.write("v1") as draft:
            draft.lists("near", 0, *lists())
        assert store.lists("v1", "near", users)[0].tolist() == [[0, 1]]
    for words in ("Connection refused|closed", "failed a moment ago"):
        with pytest.raises(StoreError, match=f"(?s){address}.*({words}).*start it"):
            store.lists("v1", "near", users)
    time.sleep(PAUSE)
    with redis_server(port=int(address.split(":")[-1].split("/")[0])):
        with pytest.raises(StoreError, match=r"nothing is recalled.*tamis recall"):
            store.lists("v1", "near", users)  # it came back empty
        with store.write("v1") as draft:
            draft.lists("near", 0, *lists())
        assert store.lists("v1", "near", users)[0].tolist() == [[0, 1]]


def test_the_error_of_a_refused_connection_has_its_reason(server, tmp_path):
    with redis.Redis.from_url(server) as client:
        client.set("tamis:wrong:recall:v1:near:lists", "no hash")
    store = opened(server, tmp_path, "wrong")
    with pytest.raises(StoreError, match="refused: WRONGTYPE"):
        store.lists("v1", "near", np.array([0], np.int32))


def test_a_password_is_never_shown(tmp_path):
    store = opened("redis://me:secret@127.0.0.1:1/0", tmp_path)
    assert store.address == "redis://127.0.0.1:1/0"
    with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 does not answer") as caught:
        store.lists("v1", "near", np.array([0], np.int32))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:6379", "http://somewhere/0", "redis://", "mongo"])
def test_an_invalid_address(address, tmp_path):
    with pytest.raises(ConfigError, match=r"redis://host:port/db"):
        opened(address, tmp_path)


def test_an_invalid_port(tmp_path):
    with pytest.raises(ConfigError, match=r"store = 'redis://here:port/0'"):
        opened("redis://here:port/0", tmp_path)


def test_an_address_in_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_STORE", "redis://127.0.0.1:1/3")
    found = opened("env:SHOP_STORE", tmp_path)
    assert (type(found), found.address) == (RedisRecall, "redis://127.0.0.1:1/3")
    monkeypatch.setenv("SHOP_STORE", "")
    assert type(opened("env:SHOP_STORE", tmp_path)) is EmbeddedRecall
    monkeypatch.delenv("SHOP_STORE")
    with pytest.raises(ConfigError, match=r"SHOP_STORE is not set.*export SHOP_STORE="):
        opened("env:SHOP_STORE", tmp_path)


def test_without_the_extra_redis_names_what_to_install_and_the_embedded_store_works(tmp_path):
    code = f"""
        import sys
        sys.modules["redis"] = None
        from pathlib import Path
        from tamis.schema import MissingExtraError
        from tamis.stores import open_recall
        open_recall("", Path({str(tmp_path)!r}), "shop", [], []).versions()
        for module in list(sys.modules):
            assert not module.startswith("redis.")
        del sys.modules["redis"]
        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name == "redis":
                    raise ModuleNotFoundError("No module named 'redis'", name="redis")
        sys.meta_path.insert(0, NotInstalled())
        try:
            open_recall("redis://127.0.0.1:6379/0", Path("."), "shop", [], [])
        except MissingExtraError as error:
            assert 'pip install "tamis[redis]"' in str(error), error
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=os.getcwd(),
                   env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip


def test_an_embedded_store_reads_what_another_process_wrote(tmp_path):
    """A service that is up when `tamis recall` runs reads the new lists, and not half of them."""
    reader, writer = (EmbeddedRecall(tmp_path, 3, 9) for _ in range(2))
    users = np.array([1], np.int32)
    for k in (1, 2):
        with writer.write("v1") as draft:
            draft.lists("near", 0, *lists(k))
        assert reader.lists("v1", "near", users)[0].shape == (1, k)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1"]


def test_a_damaged_embedded_list_is_named(tmp_path):
    store = EmbeddedRecall(tmp_path, 3, 9)
    with store.write("v1") as draft:
        draft.lists("near", 0, *lists())
    (tmp_path / "v1" / "near.item.npy").write_bytes(b"")
    with pytest.raises(StoreError, match=r"near\.item\.npy is damaged.*tamis recall"):
        store.lists("v1", "near", np.array([0], np.int32))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "stores").write_text("a file")
    with (
        pytest.raises(StoreError, match=r"could not be written.*stores"),
        opened("", tmp_path).write("v1") as draft,
    ):
        draft.lists("near", 0, *lists())
    queue = EmbeddedLeftovers(tmp_path / "stores" / "cached.sqlite")
    with pytest.raises(StoreError, match=r"cached\.sqlite cannot be used"):
        queue.waiting(["ann"], 0)
