"""What `make docs` adds before it builds: the reference, a page per room, from the code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parents[1] / "src" / "tamis"


def on_files(files: Files, config: Any) -> Files:
    """Adds `reference/tamis.ROOM.md` for every room with public names, and a list of them."""
    lines = ["# Reference", "", "Every room's public names, from their docstrings.", ""]
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        room, (words, names) = path.parent.name, public(path)
        if names:
            body = [f"# tamis.{room}", "", words, "", *(f"::: tamis.{room}.{n}\n" for n in names)]
            files.append(
                File.generated(config, f"reference/tamis.{room}.md", content="\n".join(body))
            )
            lines.append(f"- [tamis.{room}](tamis.{room}.md): {words.splitlines()[0]}")
    files.append(File.generated(config, "reference/index.md", content="\n".join(lines) + "\n"))
    return files


def public(page: Path) -> tuple[str, list[str]]:
    """A room's docstring and its `__all__`, read without importing it."""
    tree = ast.parse(page.read_text("utf-8"))
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
    return ast.get_docstring(tree) or "", names
