"""The cache of compiled kernels survives a change of the types that they read."""

import os
import subprocess
import sys
from pathlib import Path

import tamis
from tamis.runtime.compiled import njit

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


SOURCE = """
import pathlib
import numpy as np
from tamis.runtime.compiled import njit

@njit(cache=True)
def total(values):
    return values.sum()

{between}
print(total(np.arange(4.0)))
"""
BLOCKED = "pathlib.Path('cache').rename('gone'); pathlib.Path('cache').write_text('')"
"""A file in the place of the folder: not even the administrator can write in it."""


def run_without_room(folder: Path, between: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "kernel.py").write_text(SOURCE.format(between=between), "utf-8")
    source = str(Path(tamis.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "kernel.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, **env},
        capture_output=True,
        text=True,
    )


def test_a_kernel_is_compiled_where_no_folder_can_be_written(tmp_path: Path) -> None:
    for taken in ("__pycache__", "home"):
        (tmp_path / taken).write_text("")
    home = str(tmp_path / "home")
    done = run_without_room(tmp_path, "", HOME=home, XDG_CACHE_HOME=home)
    assert (done.returncode, done.stdout) == (0, "6.0\n"), done.stderr
    assert "Set NUMBA_CACHE_DIR to a folder that this process may write" in done.stderr


def test_a_kernel_is_compiled_where_the_folder_is_gone_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    done = run_without_room(tmp_path, BLOCKED, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (0, "6.0\n"), done.stderr
    assert "compiled code is not kept" in done.stderr


@njit
def doubled(number):
    return 2 * number


@njit
def six():
    return doubled(1) + doubled(2)


def test_a_kernel_is_compiled_once_for_all_literals() -> None:
    assert (six(), doubled(4)) == (6, 8)
    assert [str(types[0]) for types in doubled.signatures] == ["int64"]
