"""Simulated users visit a running service over HTTP; the world knows what its slates are worth."""

import shutil
import socket
import threading
import time
from functools import partial

import pytest
import uvicorn

from tamis.jobs import live_traffic
from tamis.schema import ConfigError, DataError
from tamis.serve import create_app
from tamis.service import LiveRecommender
from tamis.simulator import LifeConfig


@pytest.fixture(scope="module")
def project(simulated, tmp_path_factory):
    return shutil.copytree(simulated, tmp_path_factory.mktemp("live") / "shop")


@pytest.fixture(scope="module")
def url(project):
    """A service of the project in a thread of this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(partial(LiveRecommender.open, project, ""))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


def test_visits_are_answered_and_judged(project, url):
    life = LifeConfig(births=0.02, deaths=0.02, signups=0.02)
    played = live_traffic(project, url, rate=20, seconds=2, speed=200_000, life=life)
    assert played.failed == 0
    assert played.refused == {}  # of events, of new items and users, of withdrawals
    assert played.visits >= 10
    assert 0 < played.reward < played.best
    assert played.p50_ms <= played.p99_ms
    assert sum(p.impressions for p in played.periods) == 10 * played.visits
    live = LiveRecommender.open(project)
    assert live.position > 10 * played.visits  # every impression is in the journal
    live.close()


def test_the_command_prints_what_happened(project, url, tamis_cli):
    words = ("simulate", "--out", project, "--live", url, "--rate", "10", "--seconds", "0.5")
    said = tamis_cli(*words)
    assert said.code == 0, said
    assert "0 failed" in said.out
    assert "reward" in said.out
    assert tamis_cli(*words, "--json").json["failed"] == 0


def test_what_cannot_be_played_is_refused(project, ratings):
    with pytest.raises(ConfigError, match="rate = 0"):
        live_traffic(project, "http://127.0.0.1:1", rate=0)
    with pytest.raises(DataError, match=r"simulation\.json is missing"):
        live_traffic(ratings, "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(DataError, match="no service answers at"):
        live_traffic(project, "http://127.0.0.1:1", seconds=1)
    assert time.monotonic() - began < 10
