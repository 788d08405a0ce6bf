"""Generates the pages of all stages from their docstrings; a test compares."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tamis.rank._network import BackboneConfig
from tamis.schema import ComponentConfig, Needs
from tamis.service import registry
from tamis.train import EstimatorConfig

DOCS = Path(__file__).parent
HEADS = {
    "recall": """# Channels

Generated from the docstrings by `docs/write_stages.py`. A cascade has one section per channel, with
the channel's own options beside `quota`, `weight` and `fallback`, which every channel has.

```toml
[cascade.channels.itemcf]
quota = 300
neighbours = 100
```

A channel of your own is [one file](adding-a-channel.md).
""",
    "filters": """# Filters

Generated from the docstrings by `docs/write_stages.py`. A cascade may have any number of filters;
each gives the reason of every item that it removes.

```toml
[cascade.filters.seen]

[cascade.filters.affordable]
use = "attribute"
column = "price"
op = "<="
value = 100
```

A filter of your own is [one file](adding-a-filter.md).

[Conditions](conditions.md) join comparisons of items, users and requests by `and`, `or` and `not`:

```toml
[cascade.filters.delivered]
use = "condition"
where = "region in request.regions and price <= user.budget"
```
""",
    "rerank": """# Re-rank rules

Generated from the docstrings by `docs/write_stages.py`. The rules of this page state what must hold
in a slate and what orders it; one plan arranges them together. Whenever some slate meets all hard
rules, the answer does. Otherwise the least important rule is broken, as little as possible: **rules
further down in `tamis.toml` are more important**. `broken_rules` of an answer names the rules that
do not hold and the places; `--why-not ITEM` names those that kept an item out.

```toml
[cascade.rerank.dpp]             # the best item that adds something to those above it
similarity = "channel"
channel = "two_tower"

[cascade.rerank.new]             # every fifth place for an item of the last week
use = "quota"
group = "fresh"
share = 0.2

[cascade.rerank.categories]      # at most two of one category in any five places
use = "at_most"
limit = 2
window = 5

[cascade.rerank.ads]             # two places for the ads with the highest expected revenue
where = "sponsored"
places = [4, 12]
value = "bid * click"
insert = 20

[cascade.rerank.pins]            # one item at a place of its own: the most important rule
items = ["film-12"]
places = [1]
```

The planner takes, place by place, the item with the highest marginal value that breaks no hard
rule. Where that leads to a place that nothing may fill, it plans again with look-ahead. `mmr` and
`dpp` are two ways to value diversity: use one of them. Several rules of one kind are declared under
names of their own with `use`.

A rule of your own that reorders the list runs in the order of the sections: before the plan if it
stands above the last rule of this page, else after it, where it may undo what the plan arranged.

A rule of your own is [one file](adding-a-rerank-rule.md).
""",
    "prerank": """# Pre-rankers

Generated from the docstrings by `docs/write_stages.py`. A cascade has one pre-ranker or none;
`prerank_keep` of `[cascade]` is the number of candidates that it keeps.

```toml
[cascade.prerank]
use = "three_tower"
```

A pre-ranker of your own is [one file](adding-a-ranker.md), like a ranker.
""",
    "rank": """# Rankers

Generated from the docstrings by `docs/write_stages.py`. A cascade has one ranker. All of them learn
one task or several; `tamis compare` evaluates them side by side on your data.

```toml
[cascade.rank]
use = "dcnv2"
hidden_units = [400, 400, 400]
```

A ranker of your own is [one file](adding-a-ranker.md).
""",
}
PAGES = {
    "recall": "channels.md",
    "filters": "filters.md",
    "prerank": "prerankers.md",
    "rank": "rankers.md",
    "rerank": "rerankers.md",
}
NOUNS = {
    "recall": "channel",
    "filters": "filter",
    "prerank": "pre-ranker",
    "rank": "ranker",
    "rerank": "rule",
}
SHARED: dict[str, type[BaseModel] | None] = {
    "recall": None,
    "filters": None,
    "rerank": None,
    "prerank": EstimatorConfig,
    "rank": BackboneConfig,
}
"""The options that most stages of a kind share, listed once."""


def page(kind: str) -> str:
    """The whole page: an overview, the shared options, then each stage."""
    stages, shared = registry.available(kind), SHARED[kind]
    parts = [HEADS[kind], overview(stages, kind)]
    if shared is not None:
        parts.append(
            f"## Shared options\n\nThese options belong to {_users(stages, shared)}; the "
            f"section of a stage lists what it adds or changes.\n\n{options(shared)}"
        )
    for name, stage in stages.items():
        summary = inspect.getdoc(inspect.getmodule(stage)) or ""
        table = options(stage.Config, shared)
        parts.append(f"## {name}\n\n{summary}\n\n{description(stage)}\n\n{table}".rstrip() + "\n")
    return "\n".join(parts)


def _users(stages: dict[str, Any], shared: type[BaseModel]) -> str:
    """The stages that have the shared options."""
    others = [f"`{name}`" for name, stage in stages.items() if not issubclass(stage.Config, shared)]
    return "all" + (f" but {', '.join(others)}" if others else "")


def overview(stages: dict[str, Any], kind: str) -> str:
    """A table of the stages: when to use each, and what it costs."""
    noun = NOUNS[kind]
    lines = [f"| {noun} | when to use | cost |", "|---|---|---|"]
    for name, stage in stages.items():
        when, cost = (line_of(stage, word) for word in ("When to use", "Cost"))
        lines.append(f"| [`{name}`](#{name}) | {when} | {cost} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def description(channel: Any) -> str:
    """The docstring, with its closing lines as paragraphs."""
    text = inspect.getdoc(channel) or ""
    return re.sub(r"\n+(When to use|Cost|Source): ", r"\n\n**\1**: ", text)


def line_of(channel: Any, word: str) -> str:
    """The text after `word: ` at the start of a docstring line; empty where there is none."""
    ends = r"\n\n|\n(?:When to use|Cost|Source): |\Z"
    found = re.search(rf"^{word}: (.*?)(?={ends})", inspect.getdoc(channel) or "", re.S | re.M)
    return " ".join(found[1].split()).replace("|", "\\|") if found else ""


def options(config: type[BaseModel], shared: type[BaseModel] | None = None) -> str:
    """A table of a config's keys, their defaults and meanings; without those that are `shared`."""
    words = meanings(config)
    conditions = config.conditions() if issubclass(config, ComponentConfig) else {}
    listed = {}
    if shared is not None and issubclass(config, shared):
        listed = {name: field.default for name, field in shared.model_fields.items()}
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, field in config.model_fields.items():
        if name in listed and listed[name] == field.default:
            continue
        meaning = words.get(name, "")
        needs = [n for n in conditions.get(name, ()) if not any(o in meaning for o in n.names)]
        if needs:
            meaning += f" Used only if {' and '.join(map(condition, needs))}."
        meaning = meaning.replace("|", "\\|")
        lines.append(f"| `{name}` | {default(field)} | {meaning} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def condition(need: Needs) -> str:
    """A condition in words: `loss` is `"sampled"` or `"gbce"`."""
    name = " or ".join(f"`{option}`" for option in need.names)
    is_in = [f"`{json.dumps(value)}`" for value in need.one_of]
    is_not = [f"`{json.dumps(value)}`" for value in need.none_of if value not in ("", None)]
    if need.one_of:
        return f"{name} is {'omitted' if need.one_of == (None,) else ' or '.join(is_in)}"
    given = "given" if len(is_not) < len(need.none_of) else ""
    others = f"neither {' nor '.join(is_not)}" if len(is_not) > 1 else f"not {' '.join(is_not)}"
    return f"{name} is {' and '.join(filter(None, (given, others if is_not else '')))}"


def default(field: FieldInfo) -> str:
    """The default as written in `tamis.toml`; – where the option may be omitted without one."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"`{value}`"  # inf, which JSON does not know
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def meanings(config: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field, of the class and its bases."""
    bases = [kind for kind in reversed(config.__mro__) if kind.__module__.startswith("tamis")]
    return {name: text for kind in bases for name, text in _own_meanings(kind).items()}


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
    for kind, name in PAGES.items():
        (DOCS / name).write_text(page(kind), "utf-8")
