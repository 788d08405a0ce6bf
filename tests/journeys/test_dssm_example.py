"""The MovieLens walk of DSSM: on a small log and a real Redis, in at most 40 lines."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import redis

from tamis.testing import redis_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "dssm_movielens.py"


def test_the_walk_learns_and_finds_neighbours(ratings_tables, tmp_path):
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    folder = ratings_tables(tmp_path / "films", users=150, items=60, each=40)
    with redis_server() as address, redis.Redis.from_url(address) as client:
        run = subprocess.run(
            [sys.executable, EXAMPLE, folder, address], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        ids = {key.decode() for key in client.hkeys("dssm:users")}
        assert ids == {f"u{u}" for u in range(150)}
        items = {key.decode(): np.frombuffer(value, np.float32)
                 for key, value in client.hgetall("dssm:items").items()}  # fmt: skip
    assert set(items) == {f"m{i}" for i in range(60)}
    assert np.linalg.norm(items["m3"]) == pytest.approx(1, abs=1e-5)
    (auc,) = re.findall(r"'auc': (\d\.\d+)", run.stdout)
    assert float(auc) > 0.8  # users like exactly the films of their group
    for line in run.stdout.splitlines()[1:]:
        side, key, found = line.split(maxsplit=2)
        titles = ast.literal_eval(found)
        group = int(key[1:]) % 3  # of the user u…, or of the film m…
        moods = [("sad", "gay", "grim")[group] in title for title, _ in titles]
        assert sum(moods) >= 4, line
        if side == "items":
            assert titles[0][0].startswith(f"Film {key[1:]},")  # nearest to a film is itself


@pytest.mark.parametrize("arguments", [[], ["films"], ["films", "redis://127.0.0.1", "more"]])
def test_without_its_two_arguments_it_prints_how_it_is_called(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    with pytest.raises(SystemExit) as stop:  # in this process, which has the libraries already
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    # a text as the code is printed to standard error, and the process ends with 1
    assert "python examples/dssm_movielens.py films redis://" in stop.value.code
    assert "redis-server" in stop.value.code


def test_it_has_at_most_forty_lines():
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 40
