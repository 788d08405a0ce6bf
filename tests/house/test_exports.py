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


OPEN_TO_ALL = {"tamis.service.registry"}
"""Files that are pages of their own: finding stages."""


def _from_others(path: Path) -> list[str]:
    """Imports of another room's file instead of its page."""
    own = path.relative_to(PACKAGE).parts[0]
    taken: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            page = importlib.import_module(base) if base.count(".") == 1 and _ours(base) else None
            offered = set(getattr(page, "__all__", ()))
            names = [
                base,
                *(f"{base}.{a.name}" for a in node.names if page and a.name not in offered),
            ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        taken += [
            f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
            for name in names
            if _ours(name)
            and name.count(".") >= 2
            and name.split(".")[1] != own
            and name not in OPEN_TO_ALL
        ]
    return taken


def _ours(name: str) -> bool:
    return name.split(".")[0] == "tamis"


def test_rooms_import_each_others_pages_only() -> None:
    taken = [line for path in FILES for line in _from_others(path)]
    assert not taken, f"export it from the room's page, or ask the page: {taken}"
