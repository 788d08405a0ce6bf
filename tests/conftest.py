"""What all tests have in common: one thread per process, and work that parallel workers share."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

# Set before numpy, torch and polars are loaded. `make test` runs one worker per core; threads of
# each would wait for one another, spinning, and take twice the processor time.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The first example may compile kernels, and machines are of different speeds.
settings.register_profile("tamis", deadline=None)
settings.load_profile("tamis")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`made_once(name, make)`: a folder that `make(folder)` fills in one of the workers of
    pytest-xdist and all of them read. If `make` fails, the next worker that asks tries again."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        parent = shared / f"shared-{name}"
        parent.mkdir(exist_ok=True)
        with (parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = parent / "done"
            if not done.exists():
                make(parent / name)
                done.touch()
        return parent / name

    return folder
