"""Writes docs/channels.md from the channels' docstrings and configs; a test compares."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tamis.cascade import registry

PAGE = Path(__file__).with_name("channels.md")
HEAD = """# Channels

Written from the channels' own words by `docs/write_channels.py`. A channel is named in `tamis.toml`
by its short name; its options stand in its section, and `quota`, `weight` and `fallback` in that of
every channel.

```toml
[cascade.channels.itemcf]
quota = 300
neighbours = 100
```

One of your own is [one file](adding-a-channel.md).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, channel in registry.available("recall").items():
        summary = inspect.getdoc(inspect.getmodule(channel)) or ""
        parts.append(
            f"## {name}\n\n{summary}\n\n{inspect.getdoc(channel)}\n\n{options(channel.Config)}"
        )
    return "\n".join(parts)


def options(config: type[BaseModel]) -> str:
    """A table of a config's keys, their defaults and meanings."""
    words = meanings(config)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, field in config.model_fields.items():
        meaning = words.get(name, "").replace("|", "\\|")
        lines.append(f"| `{name}` | {default(field.default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def default(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value!r}`".replace("'", '"')


def meanings(config: type[BaseModel]) -> dict[str, str]:
    """The text below each field in the class's source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
            found[node.target.id] = " ".join(str(after.value.value).split())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
