"""The cache of compiled kernels survives a change of the types that they read."""

import os
import subprocess
import sys
from pathlib import Path

import tamis

KERNEL = """
from typing import NamedTuple
import numpy as np
from {package} import njit

class {name}(NamedTuple):
    values: np.ndarray

@njit(cache=True)
def total(lists):
    return lists.values.sum()

print(total({name}(np.arange(4.0))))
"""


def run(folder: Path, package: str, name: str) -> subprocess.CompletedProcess[str]:
    (folder / "kernel.py").write_text(KERNEL.format(package=package, name=name), "utf-8")
    source = str(Path(tamis.__file__).parents[1])
    code = "import kernel"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(folder)])}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
    )


def test_a_renamed_argument_type_compiles_the_kernel_anew(tmp_path: Path) -> None:
    for name in ("Lists", "Lists", "ItemLists"):
        done = run(tmp_path, "tamis.runtime.compiled", name)
        assert (done.returncode, done.stdout) == (0, "6.0\n"), done.stderr


def test_numba_alone_fails_after_such_a_change(tmp_path: Path) -> None:
    """If this fails, numba has mended it, and `tamis.runtime.compiled` can go."""
    assert run(tmp_path, "numba", "Lists").returncode == 0
    done = run(tmp_path, "numba", "ItemLists")
    assert "Can't get attribute 'Lists'" in done.stderr
