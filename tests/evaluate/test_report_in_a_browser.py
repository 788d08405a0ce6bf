"""The report in a real browser: it draws itself, silently, and asks the network for nothing."""

import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tamis.evaluate import STAGES, write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
MAKERS = re.compile(
    r"(clients\d|accounts|www|mtalk|android\.clients)\.google\.com|.*\.gvt1\.com"
    r"|(update|clientservices|safebrowsing|content-autofill|optimizationguide-pa)\.googleapis\.com"
)
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("CI"), reason="chromium is not installed"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    figures = {"ndcg@10": 0.28, "hit@10": 0.68, "recall@50": 0.33}
    evaluation = {
        "project": "browser & <shop>",
        "version": "e-1",
        "protocol": {"cut": "2000-12-02"},
        "users": {"evaluated": 1157, "without_history": 23},
        "cascade": figures,
        "channels": {"hot": dict.fromkeys(figures, 0.2), "itemcf": dict.fromkeys(figures, 0.25)},
        "stage_loss": dict(zip(STAGES, (0.25, 0.0, 0.08, 0.56, 0.01, 0.1), strict=True)),
        "ranker": {"auc": 0.81, "logloss": 0.18},
        "calibration": [
            {"predicted": p, "observed": p * 1.1, "count": 90} for p in (0.1, 0.2, 0.4)
        ],
        "curves": {
            "rank": [{"epoch": e, "train_loss": 1 / e, "valid_metric": 0.7} for e in (1, 2, 3)]
        },
        "latency_ms": {"p50": 3.5, "p99": 7.25, "stages": {"rank": 2.0}},
        "training": {"rank": {"seconds": 125.0, "peak_mb": 1210, "samples_per_second": 251000}},
    }
    return write_report(evaluation, tmp_path_factory.mktemp("page") / "report.html")


class Visits(BaseHTTPRequestHandler):
    """A proxy that refuses, and remembers who was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(403)

    do_CONNECT = do_POST = do_GET  # noqa: N815 - the names of HTTP's methods

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def proxy():
    """(address, what was asked of it): everything that a page loads from anywhere comes here."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (Visits,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def browse(page: Path, proxy: str, folder: Path, *options: str) -> tuple[str, list[str]]:
    """What headless chromium prints, and the lines of the page's console."""
    assert BROWSER is not None, "CI needs chromium: .ci/run installs it"
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--proxy-server={proxy}",
            "--proxy-bypass-list=<-loopback>",
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def of_the_page(asked: list[str]) -> list[str]:
    """Without what the browser asks its maker on its own account."""
    hosts = [
        (urlsplit(path if "//" in path else f"//{path}").hostname or "", path) for path in asked
    ]
    return [path for host, path in hosts if not MAKERS.fullmatch(host)]


def test_the_report_is_drawn_without_network_requests(report: Path, proxy, tmp_path: Path) -> None:
    address, asked = proxy
    dom, console = browse(report, address, tmp_path, "--dump-dom")
    assert console == []
    assert of_the_page(asked) == []
    assert "browser &amp; &lt;shop&gt;" in dom
    assert dom.count("<svg") >= 3
    assert "ranked into the slate" in dom


def test_the_two_themes_give_different_pictures(report: Path, proxy, tmp_path: Path) -> None:
    pictures: list[bytes] = []
    for name, options in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        file = tmp_path / f"{name}.png"
        size = ["--window-size=1000,1600", f"--screenshot={file}"]
        browse(report, proxy[0], tmp_path / name, *size, *options)
        pictures.append(file.read_bytes())
    assert all(picture.startswith(PNG) and len(picture) > 20_000 for picture in pictures)
    assert pictures[0] != pictures[1]


def test_the_check_finds_a_faulty_page(proxy, tmp_path: Path) -> None:
    page = tmp_path / "faulty.html"
    page.write_text(
        '<script>throw new Error("loud")</script><img src="http://tamis.invalid/pixel.png">',
        "utf-8",
    )
    address, asked = proxy
    _, console = browse(page, address, tmp_path, "--dump-dom")
    assert any("loud" in line for line in console)
    assert of_the_page(asked) == ["http://tamis.invalid/pixel.png"]
