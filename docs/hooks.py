"""Additions of `make docs` to the site: the Python reference, a page per package, from the code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parents[1] / "src" / "tamis"
REFERENCE = "Python reference"
"""Title in the navigation of mkdocs.yml under which the pages are listed."""


def on_config(config: Any) -> Any:
    """Lists a page per package in the navigation, after the reference's overview."""
    for section in config.nav:
        entries = next(iter(section.values()))
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and REFERENCE in entry:
                pages = [{name: f"reference/{name}.md"} for name, _, _ in packages()]
                entry[REFERENCE] = ["reference/index.md", *pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds `reference/tamis.PACKAGE.md` for every package with public names, and a list of them."""
    lines = ["# Python reference", "", "The public names of every package, from their docstrings."]
    lines.append("")
    for name, text, names in packages():
        body = [f"# {name}", "", text, "", *(f"::: {name}.{n}\n" for n in names)]
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(body)))
        lines.append(f"- [{name}]({name}.md): {text.splitlines()[0]}")
    files.append(File.generated(config, "reference/index.md", content="\n".join(lines) + "\n"))
    return files


def packages() -> list[tuple[str, str, list[str]]]:
    """(name, docstring, public names) of every package that has public names."""
    found = [
        (f"tamis.{folder.name}", docstring(folder), public(folder))
        for folder in sorted(PACKAGE.iterdir())
        if (folder / "__init__.py").exists()
    ]
    return [entry for entry in found if entry[2]]


def docstring(folder: Path) -> str:
    """The docstring of a package."""
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    return ast.get_docstring(tree) or f"The package {folder.name}."


def public(folder: Path) -> list[str]:
    """A package's `__all__`, read without importing it: from the stub of a lazy package, if any."""
    stub, page = folder / "__init__.pyi", folder / "__init__.py"
    tree = ast.parse((stub if stub.exists() else page).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            unpacked = assigned_together(folder)
            return [name for name in ast.literal_eval(node.value) if name not in unpacked]
    return []


def assigned_together(folder: Path) -> set[str]:
    """Constants defined as `A, B = 1, 2`, which mkdocstrings cannot find (and has no text for)."""
    return {
        element.id
        for path in folder.rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        for element in node.targets[0].elts
        if isinstance(element, ast.Name)
    }
