"""Writes the pages of channels, pre-rankers and rankers from their own words; a test compares."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tamis.rank._network import BackboneConfig
from tamis.service import registry
from tamis.train import EstimatorConfig

DOCS = Path(__file__).parent
HEADS = {
    "recall": """# Channels

Written from the channels' own words by `docs/write_stages.py`. A channel is named in `tamis.toml`
by its short name; its options stand in its section, and `quota`, `weight` and `fallback` in that of
every channel.

```toml
[cascade.channels.itemcf]
quota = 300
neighbours = 100
```

One of your own is [one file](adding-a-channel.md).
""",
    "prerank": """# Pre-rankers

Written from the pre-rankers' own words by `docs/write_stages.py`. One of them is named in
`tamis.toml`; `prerank_keep` of `[cascade]` says how many candidates it lets through.

```toml
[cascade.prerank]
use = "three_tower"
```
""",
    "rank": """# Rankers

Written from the rankers' own words by `docs/write_stages.py`. One of them is named in `tamis.toml`;
all of them learn one task or several, and `tamis compare` sets them side by side on your data.

```toml
[cascade.rank]
use = "dcnv2"
hidden_units = [400, 400, 400]
```
""",
}
PAGES = {"recall": "channels.md", "prerank": "prerankers.md", "rank": "rankers.md"}
SHARED: dict[str, type[BaseModel] | None] = {
    "recall": None,
    "prerank": EstimatorConfig,
    "rank": BackboneConfig,
}
"""The options that most stages of a room share: told once."""


def page(room: str) -> str:
    """The whole page: which stage when, the options they share, then each of them."""
    stages, shared = registry.available(room), SHARED[room]
    parts = [HEADS[room], overview(stages, room)]
    if shared is not None:
        parts.append(
            f"## Options they share\n\nOf {_users(stages, shared)}; a stage's own section lists "
            f"what it adds or sets otherwise.\n\n{options(shared)}"
        )
    for name, stage in stages.items():
        summary = inspect.getdoc(inspect.getmodule(stage)) or ""
        table = options(stage.Config, shared)
        parts.append(f"## {name}\n\n{summary}\n\n{told_apart(stage)}\n\n{table}".rstrip() + "\n")
    return "\n".join(parts)


def _users(stages: dict[str, Any], shared: type[BaseModel]) -> str:
    """All stages but those that have options of another kind."""
    others = [f"`{name}`" for name, stage in stages.items() if not issubclass(stage.Config, shared)]
    return "all" + (f" but {', '.join(others)}" if others else "")


def overview(stages: dict[str, Any], room: str) -> str:
    """A table of the stages: when to use each, and what it costs."""
    kind = {"recall": "channel", "prerank": "pre-ranker", "rank": "ranker"}[room]
    lines = [f"| {kind} | when to use | cost |", "|---|---|---|"]
    for name, stage in stages.items():
        when, cost = (told(stage, word) for word in ("When to use", "Cost"))
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


def options(config: type[BaseModel], shared: type[BaseModel] | None = None) -> str:
    """A table of a config's keys, their defaults and meanings; without those that are `shared`."""
    words = meanings(config)
    told_before = {}
    if shared is not None and issubclass(config, shared):
        told_before = {name: field.default for name, field in shared.model_fields.items()}
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, field in config.model_fields.items():
        if name in told_before and told_before[name] == field.default:
            continue
        meaning = words.get(name, "").replace("|", "\\|")
        lines.append(f"| `{name}` | {default(field.default)} | {meaning} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


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
    for room, name in PAGES.items():
        (DOCS / name).write_text(page(room), "utf-8")
