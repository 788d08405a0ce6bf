"""Other libraries, each in an environment of its own under build/bench, made on the first use.

A runner is a script that prints `RESULT {json}` as its last line. `run` starts one in a process of
its own, for a peer or for Tamis; threads are set here, before any library is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.places import BUILD, ROOT

TORCH = "torch==2.13.0"
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMBA")
"""Whose threads are set, by NAME_NUM_THREADS."""
OWN = "tamis"


@dataclass(frozen=True)
class Peer:
    """What the environment of a library holds."""

    packages: tuple[str, ...]
    torch: bool = True
    """Torch first, pinned, so that no CUDA build is drawn in."""


PEERS = {
    "recbole": Peer(
        (
            "recbole==1.2.1",
            "psutil",
            "setuptools<81",  # it needs pkg_resources
            "numpy<2",  # and np.bool8
            "pandas<2.3",
            "scipy<1.13",
        )
    ),
    "deepctr": Peer(("deepctr-torch==0.3.0", "requests", "pandas", "scipy", "setuptools<81")),
    "rechub": Peer(("torch-rechub==0.9.0", "pandas", "scipy")),
    "rectools": Peer(("rectools[torch]==0.19.0",)),
    "implicit": Peer(("implicit==0.7.3", "scipy", "numpy"), torch=False),
}
"""Short name → its environment, build/bench/venv-NAME."""


def environment(name: str) -> Path:
    """The Python of a peer's environment, made where it is missing."""
    peer, place = PEERS[name], BUILD / f"venv-{name}"
    python, stamp = place / "bin" / "python", place / "ready"
    if not stamp.exists():
        print(f"making the environment of {name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        for wanted in ([TORCH], peer.packages) if peer.torch else (peer.packages,):
            pip = [str(python), "-m", "pip", "install", "--quiet", *wanted]
            subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        stamp.touch()
    return python


def process_environment(threads: int, own: bool = True) -> dict[str, str]:
    """The variables of a runner's process: its threads, no GPU, this package where it is ours."""
    path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")] if own else []
    return {
        **os.environ,
        **{f"{library}_NUM_THREADS": str(threads) for library in LIBRARIES},
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


def given_threads() -> int:
    """The threads that the process of a line was given."""
    return int(os.environ.get("OMP_NUM_THREADS", "2"))


def run(
    library: str,
    script: Path,
    words: Sequence[object] = (),
    *,
    threads: int | None = None,
    cwd: Path | None = None,
) -> dict[str, Any]:
    """One process of a runner: what its last `RESULT` says, and `process_seconds`.

    Args:
        library: "tamis", or a key of `PEERS`, whose environment runs it.
        words: the script's arguments.
        threads: of every library; None = as many as this process was given.

    Raises RuntimeError with the end of its standard error where it fails.
    """
    own = library == OWN
    python = Path(sys.executable) if own else environment(library)
    began = time.perf_counter()
    done = subprocess.run(
        [str(python), str(script), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=process_environment(given_threads() if threads is None else threads, own),
        check=False,
    )
    seconds = time.perf_counter() - began
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{library} failed ({script.name}):\n{done.stderr[-3000:]}")
    return {**json.loads(lines[-1].removeprefix("RESULT ")), "process_seconds": seconds}
