"""What `make docs` adds before it builds: the reference, a page per room, from the code."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from mkdocs.structure.files import File, Files

import tamis


def on_files(files: Files, config: Any) -> Files:
    """Adds `reference/ROOM.md` for every room, and a list of them."""
    rooms = sorted(module.name for module in pkgutil.iter_modules(tamis.__path__) if module.ispkg)
    lines = ["# Reference", "", "Every room's public names, from their docstrings.", ""]
    for room in rooms:
        page = importlib.import_module(f"tamis.{room}")
        names = getattr(page, "__all__", ())
        if not names:
            continue
        body = [f"# tamis.{room}", "", (page.__doc__ or "").strip(), ""]
        body += [f"::: tamis.{room}.{name}\n" for name in names]
        files.append(File.generated(config, f"reference/{room}.md", content="\n".join(body)))
        summary = (page.__doc__ or "").strip().splitlines()[0]
        lines.append(f"- [tamis.{room}]({room}.md): {summary}")
    files.append(File.generated(config, "reference/index.md", content="\n".join(lines) + "\n"))
    return files
