"""The classic flows of examples/: one command each, on a small log, a real Redis and HTTP."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from tamis.testing import redis_server

EXAMPLES = Path(__file__).parents[2] / "examples"
MOODS = ("sad", "gay", "grim")
"""In the titles of the films of each group; users like the films of their group."""


@pytest.fixture(scope="module")
def films(ratings_tables, tmp_path_factory):
    return ratings_tables(tmp_path_factory.mktemp("flows") / "films", users=150, items=60, each=40)


def command(flow):
    """The one command of a flow's README, in words."""
    text = (EXAMPLES / flow / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^python .*flow\.py.*$", text, re.MULTILINE)
    return line.split()


@contextmanager
def running(flow, films):
    """The flow as a process once its web server answers: a client, Redis, and its output."""
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with redis_server() as address:
        places = {
            "python": sys.executable, f"examples/{flow}/flow.py": str(EXAMPLES / flow / "flow.py"),
            "films": str(films), "redis://127.0.0.1:6379/0": address, "8000": str(port),
        }  # fmt: skip
        words = [places.get(word, word) for word in command(flow)]
        assert set(places.values()) <= set(words)
        out = films.parent / f"{flow}.txt"
        with out.open("w") as file:
            env = os.environ | {"PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env)
            try:
                with (
                    httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
                    redis.Redis.from_url(address) as server,
                ):
                    wait(client, process, out)
                    yield client, server, out.read_text()
            finally:
                process.terminate()
                process.wait(timeout=30)


def wait(client, process, out):
    for _ in range(2400):
        assert process.poll() is None, out.read_text()
        try:
            client.get("/recommend/nobody")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no answer: {out.read_text()}")


def ask(client, user, n=10):
    answer = client.get(f"/recommend/{user}", params={"n": n})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    scores = [film["like"] for film in found]
    assert scores == sorted(scores, reverse=True)
    return found


def share_of(mood, found):
    return sum(MOODS[mood] in film["title"] for film in found) / len(found)


def aucs(out):
    """{model: AUC} of the printed table."""
    return {m: float(a) for m, a in re.findall(r"^(\w+: \w+) +([01]\.\d+)", out, re.MULTILINE)}


def test_recall_offline_into_redis_and_deepfm_behind_a_web_server(films):
    with running("flow-offline-redis", films) as (client, server, out):
        found = aucs(out)
        assert set(found) == {"recall: dssm", "rank: deepfm"}
        assert min(found.values()) > 0.8
        assert server.hlen("flow:lists") == server.hlen("flow:users") == 150
        for user in (3, 4, 5):
            answer = ask(client, f"u{user}", 5)
            assert len(answer) == 5
            listed = server.hget("flow:lists", f"u{user}").decode()
            assert all(f'"{film["item_id"]}"' in listed for film in answer)
            assert share_of(user % 3, answer) >= 0.8
        assert not seen_by("u3", films) & {film["item_id"] for film in ask(client, "u3", 60)}
        assert ask(client, "nobody") == []


def seen_by(user, films):
    lines = (line.split(",") for line in (films / "events.csv").read_text().splitlines())
    return {words[1] for words in lines if words[0] == user}


def test_recall_online_by_the_user_tower_follows_new_likes(films):
    with running("flow-online-index", films) as (client, server, out):
        found = aucs(out)
        assert set(found) == {"recall: dssm", "rank: fm"}
        assert min(found.values()) > 0.8
        for user in (3, 4, 5):
            assert share_of(user % 3, ask(client, f"u{user}", 5)) >= 0.8
        new = ask(client, "newcomer")
        assert len(new) == 10
        for film in ("m2", "m5", "m8", "m11"):  # grim ones
            assert client.post(f"/like/newcomer/{film}").status_code == 201
        after = ask(client, "newcomer")
        assert share_of(2, after) >= 0.8 > share_of(2, new)
        assert not {"m2", "m5", "m8", "m11"} & {film["item_id"] for film in after}
        assert server.llen("flow:liked:newcomer") == 4
