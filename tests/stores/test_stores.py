"""Both stores keep the contracts; a real server stops, starts again, and refuses commands."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import redis

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


def lists(k=2, users=3):
    item = np.tile(np.arange(k, dtype=np.int32), (users, 1))
    return item, np.full((users, k), 0.5, np.float32)


def test_recall_stores_pass_the_contract(address, tmp_path):
    check_recall_store(lambda: open_recall(address, tmp_path, "shop"))


def test_leftover_stores_pass_the_contract(address, tmp_path):
    check_leftovers(lambda: open_leftovers(address, tmp_path, "shop", "cached"))


def test_projects_and_queues_are_separate(address, tmp_path):
    one, other = (open_recall(address, tmp_path / name, name) for name in ("shop", "feed"))
    with one.write("v1", users=3, items=9) as draft:
        draft.lists("near", 0, *lists())
    assert (list(one.versions()), list(other.versions())) == (["v1"], [])
    queues = [open_leftovers(address, tmp_path, "shop", name) for name in ("a", "b")]
    queues[0].update("ann", shown=[], left=["x"], now=1, size=9, max_age=99)
    assert [list(q.waiting(["ann"], 0)[0][0]) for q in queues] == [["x"], []]


def test_many_users_are_read_from_many_buckets(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.stores.redis.BUCKET", 10)
    monkeypatch.setattr("tamis.stores.redis.WRITE_ROWS", 7)
    store = open_recall(server, tmp_path, "buckets")
    item = np.arange(100, dtype=np.int32)[:, None]
    with store.write("v1", users=100, items=100) as draft:
        draft.lists("near", 0, item, item.astype(np.float32))
        draft.vectors("near", EntityKind.ITEMS, 0, item.astype(np.float32))
    asked = np.array([99, 3, -1, 42, 3], np.int32)
    found, score = store.lists("v1", "near", asked)
    assert found[:, 0].tolist() == [99, 3, -1, 42, 3]
    assert score[:, 0].tolist() == [99, 3, -np.inf, 42, 3]
    assert store.vectors("v1", "near", EntityKind.ITEMS, asked)[:, 0].tolist() == [99, 3, 0, 42, 3]


def test_only_keys_of_the_project_are_on_the_server(server, tmp_path):
    """Temporary keys are renamed or deleted, and drop leaves no key behind."""
    with redis.Redis.from_url(server) as client:
        client.flushall()
        store = open_recall(server, tmp_path, "tidy")
        for k in (2, 1):
            with store.write("v1", users=3, items=9) as draft:
                draft.lists("near", 0, *lists(k))
        with contextlib.suppress(ZeroDivisionError), store.write("v1", users=3, items=9) as draft:
            draft.lists("near", 0, *lists())
            during = {key: client.ttl(key) for key in client.scan_iter()}
            raise ZeroDivisionError
        assert [ttl for key, ttl in during.items() if ttl > 0], "an unfinished write expires"
        root = "tamis:tidy:recall"
        keys = {key.decode() for key in client.scan_iter()}
        assert keys == {root, f"{root}:v1", f"{root}:v1:near:lists:0"}
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
        store = open_recall(address, tmp_path, "shop")
        with store.write("v1", users=3, items=9) as draft:
            draft.lists("near", 0, *lists())
        assert store.lists("v1", "near", users)[0].tolist() == [[0, 1]]
    for words in ("Connection refused|closed", "failed a moment ago"):
        with pytest.raises(StoreError, match=f"(?s){address}.*({words}).*start it"):
            store.lists("v1", "near", users)
    time.sleep(PAUSE)
    with redis_server(port=int(address.split(":")[-1].split("/")[0])):
        with pytest.raises(StoreError, match=r"nothing is recalled.*tamis recall"):
            store.lists("v1", "near", users)  # it came back empty
        with store.write("v1", users=3, items=9) as draft:
            draft.lists("near", 0, *lists())
        assert store.lists("v1", "near", users)[0].tolist() == [[0, 1]]


def test_the_error_of_a_refused_connection_has_its_reason(server, tmp_path):
    with redis.Redis.from_url(server) as client:
        client.set("tamis:wrong:recall:v1:near:lists:0", "no hash")
    store = open_recall(server, tmp_path, "wrong")
    with pytest.raises(StoreError, match="refused: WRONGTYPE"):
        store.lists("v1", "near", np.array([0], np.int32))


def test_a_password_is_never_shown(tmp_path):
    store = open_recall("redis://me:secret@127.0.0.1:1/0", tmp_path, "shop")
    assert store.address == "redis://127.0.0.1:1/0"
    with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 does not answer") as caught:
        store.lists("v1", "near", np.array([0], np.int32))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:6379", "http://somewhere/0", "redis://", "mongo"])
def test_an_invalid_address(address, tmp_path):
    with pytest.raises(ConfigError, match=r"redis://host:port/db"):
        open_recall(address, tmp_path, "shop")


def test_an_invalid_port(tmp_path):
    with pytest.raises(ConfigError, match=r"store = 'redis://here:port/0'"):
        open_recall("redis://here:port/0", tmp_path, "shop")


def test_an_address_in_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_STORE", "redis://127.0.0.1:1/3")
    found = open_recall("env:SHOP_STORE", tmp_path, "shop")
    assert (type(found), found.address) == (RedisRecall, "redis://127.0.0.1:1/3")
    monkeypatch.setenv("SHOP_STORE", "")
    assert type(open_recall("env:SHOP_STORE", tmp_path, "shop")) is EmbeddedRecall
    monkeypatch.delenv("SHOP_STORE")
    with pytest.raises(ConfigError, match=r"SHOP_STORE is not set.*export SHOP_STORE="):
        open_recall("env:SHOP_STORE", tmp_path, "shop")


def test_without_the_extra_redis_names_what_to_install_and_the_embedded_store_works(tmp_path):
    code = f"""
        import sys
        sys.modules["redis"] = None
        from pathlib import Path
        from tamis.schema import MissingExtraError
        from tamis.stores import open_recall
        open_recall("", Path({str(tmp_path)!r}), "shop").versions()
        for module in list(sys.modules):
            assert not module.startswith("redis.")
        del sys.modules["redis"]
        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name == "redis":
                    raise ModuleNotFoundError("No module named 'redis'", name="redis")
        sys.meta_path.insert(0, NotInstalled())
        try:
            open_recall("redis://127.0.0.1:6379/0", Path("."), "shop")
        except MissingExtraError as error:
            assert 'pip install "tamis[redis]"' in str(error), error
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=os.getcwd(),
                   env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip


def test_an_embedded_store_reads_what_another_process_wrote(tmp_path):
    """A service that is up when `tamis recall` runs reads the new lists, and not half of them."""
    reader, writer = (EmbeddedRecall(tmp_path) for _ in range(2))
    users = np.array([1], np.int32)
    for k in (1, 2):
        with writer.write("v1", users=3, items=9) as draft:
            draft.lists("near", 0, *lists(k))
        assert reader.lists("v1", "near", users)[0].shape == (1, k)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1"]


def test_a_damaged_embedded_list_is_named(tmp_path):
    store = EmbeddedRecall(tmp_path)
    with store.write("v1", users=3, items=9) as draft:
        draft.lists("near", 0, *lists())
    (tmp_path / "v1" / "near.item.npy").write_bytes(b"")
    with pytest.raises(StoreError, match=r"near\.item\.npy is damaged.*tamis recall"):
        store.lists("v1", "near", np.array([0], np.int32))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "stores").write_text("a file")
    with (
        pytest.raises(StoreError, match=r"could not be written.*stores"),
        open_recall("", tmp_path, "shop").write("v1", users=1, items=1) as draft,
    ):
        draft.lists("near", 0, *lists())
    queue = EmbeddedLeftovers(tmp_path / "stores" / "cached.sqlite")
    with pytest.raises(StoreError, match=r"cached\.sqlite cannot be used"):
        queue.waiting(["ann"], 0)
