"""Every room's public page keeps its word."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "tamis"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = ["tamis", *(f"tamis.{p.parent.name}" for p in sorted(PACKAGE.glob("*/__init__.py")))]


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_explicit_sorted_and_real(room: str) -> None:
    page = importlib.import_module(room)
    names = getattr(page, "__all__", None)
    assert names is not None, f"{room}/__init__.py has no __all__: list what the room offers"
    assert len(names) == len(set(names))
    assert list(names) == sorted(names, key=_ruff_order), f"{room}.__all__ is not sorted"
    missing = [name for name in names if not hasattr(page, name)]
    assert not missing, f"{room}.__all__ promises {missing}"


def _ruff_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff's RUF022 keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is_for(room: str) -> None:
    assert importlib.import_module(room).__doc__, f"{room}/__init__.py has no docstring"


def test_no_wildcard_imports() -> None:
    stars = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert not stars, f"name what you import: {stars}"


def test_no_room_shadows_the_standard_library() -> None:
    top = {path.stem for path in PACKAGE.iterdir()}
    assert not top & sys.stdlib_module_names, f"rename: {top & sys.stdlib_module_names}"
