"""The service as a process of its own: a real port, real HTTP, an end by SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

SCRIPT = """
import sys
import time
from pathlib import Path
from tamis.service import Answer, Place, Serving
from tamis.serve import serve

class Fake:
    version = "serving-7"
    def recommend(self, request, effort=1.0):
        time.sleep(1 if request.user_id == "slow" else 0)
        items = (Place("1", "Alien", 1, 1.0),)
        return Answer("r", "serving-7", request.user_id, True, 1_700_000_000_000, "now", items, 0.1)

Serving.open = classmethod(lambda cls, project, store: Fake())
serve(Path(sys.argv[1]), port=int(sys.argv[2]))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until_ready(url: str, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"not ready within {seconds} s")


def health_while_computing(url: str) -> float:
    """Seconds that a health check takes while a request of a second is being computed."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.post, f"{url}/v1/recommend", json={"user_id": "slow"}, timeout=30)
        time.sleep(0.2)
        began = time.monotonic()
        assert httpx.get(f"{url}/health/ready").status_code == 200
        took = time.monotonic() - began
        assert not slow.done()
        assert slow.result().status_code == 200
    return took


def test_serves_over_http_until_it_is_stopped(port: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until_ready(url, process)
        answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "ann", "n": 1})
        assert answer.json()["items"][0]["title"] == "Alien"
        assert health_while_computing(url) < 0.5
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=30)[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0
    assert "POST /v1/recommend 200" in log


def run_to_its_end(script: str, project: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(project), str(port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_port_in_use_is_an_error(port: int, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run_to_its_end(SCRIPT, tmp_path, port)
    assert done.returncode != 0
    assert f"ConfigError: cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert f"--port {port + 1}" in done.stderr


def test_a_project_without_a_version_ends_the_service(port: int, tmp_path: Path) -> None:
    script = "\n".join(line for line in SCRIPT.splitlines() if "Serving.open" not in line)
    done = run_to_its_end(script, tmp_path, port)
    assert done.returncode != 0
    assert "VersionError" in done.stderr.splitlines()[-1]
