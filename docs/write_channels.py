"""Writes docs/channels.md from the channels' docstrings and configs; a test compares."""

from __future__ import annotations

import ast
import inspect
import re
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
    """The whole page: which channel when, then each of them."""
    channels = registry.available("recall")
    parts = [HEAD, overview(channels)]
    for name, channel in channels.items():
        summary = inspect.getdoc(inspect.getmodule(channel)) or ""
        parts.append(
            f"## {name}\n\n{summary}\n\n{told_apart(channel)}\n\n{options(channel.Config)}"
        )
    return "\n".join(parts)


def overview(channels: dict[str, Any]) -> str:
    """A table of the channels: when to use each, and what it costs."""
    lines = ["| channel | when to use | cost |", "|---|---|---|"]
    for name, channel in channels.items():
        when, cost = (told(channel, word) for word in ("When to use", "Cost"))
        lines.append(f"| [`{name}`](#{name}) | {when} | {cost} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def told_apart(channel: Any) -> str:
    """The docstring, its closing words a paragraph each."""
    text = inspect.getdoc(channel) or ""
    return re.sub(r"\n+(When to use|Cost|Source): ", r"\n\n**\1**: ", text)


def told(channel: Any, word: str) -> str:
    """What the docstring says after `word: ` at a line's start; "" where it says nothing."""
    ends = r"\n\n|\n(?:When to use|Cost|Source): |\Z"
    found = re.search(rf"^{word}: (.*?)(?={ends})", inspect.getdoc(channel) or "", re.S | re.M)
    return " ".join(found[1].split()).replace("|", "\\|") if found else ""


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
    """The text below each field in the sources of the class and of those it grew from."""
    grown = [kind for kind in reversed(config.__mro__) if kind.__module__.startswith("tamis")]
    return {name: text for kind in grown for name, text in _own_meanings(kind).items()}


def _own_meanings(config: type) -> dict[str, str]:
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
