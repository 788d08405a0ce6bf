"""Writes docs/tamis-toml.md from the config classes: `make docs` runs it, a test compares."""

from __future__ import annotations

import ast
import inspect
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tamis.schema import (
    AnswersConfig,
    ArmConfig,
    Behaviour,
    BudgetsConfig,
    CascadeConfig,
    ChannelConfig,
    DenseFeat,
    EventsConfig,
    ExperimentConfig,
    FollowsConfig,
    GateConfig,
    JournalConfig,
    LayerConfig,
    MergeConfig,
    MetricConfig,
    OnlineConfig,
    ProjectConfig,
    ServeConfig,
    SparseFeat,
    SplitConfig,
    StageConfig,
    TableConfig,
    TaskConfig,
    TextConfig,
    UpdateConfig,
    VarLenSparseFeat,
)

PAGE = Path(__file__).with_name("tamis-toml.md")
HEAD = """# tamis.toml

Generated from the config classes by `docs/write_toml.py`. `tamis init DIR` writes a first file from
the tables of a folder. Wrong keys, values and names are reported together, each with its line and
what is allowed; `tamis doctor DIR` also compares the file with the data.

```toml
name = "my-shop"

[events]
path = "events.csv"
behaviour = "behaviour"

[items]
path = "items.csv"
id = "item_id"
category = "category"

[behaviours.impression]
impression = true
weight = 0.0

[behaviours.click]
positive = true

[cascade.channels.itemcf]
[cascade.channels.hot]
fallback = true

[cascade.filters.seen]

[cascade.rank]
use = "deepfm"
```
"""
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The top of the file", ProjectConfig),
    ("[events]", EventsConfig),
    ("[follows]", FollowsConfig),
    ("[items] and [users]", TableConfig),
    ("[items.text]", TextConfig),
    ("[behaviours.NAME]", Behaviour),
    ('[[features]] with kind = "sparse"', SparseFeat),
    ('[[features]] with kind = "dense"', DenseFeat),
    ('[[features]] with kind = "varlen"', VarLenSparseFeat),
    ("[journal]", JournalConfig),
    ("[split]", SplitConfig),
    ("[tasks.NAME]", TaskConfig),
    ("[cascade]", CascadeConfig),
    ("[cascade.channels.NAME]", ChannelConfig),
    ("[cascade.merge]", MergeConfig),
    ("[cascade.budgets]", BudgetsConfig),
    ("Any other stage", StageConfig),
    ("[update]", UpdateConfig),
    ("[gate]", GateConfig),
    ("[answers]", AnswersConfig),
    ("[online]", OnlineConfig),
    ("[serve]", ServeConfig),
    ("[experiments.NAME]", ExperimentConfig),
    ("[experiments.NAME.arms.ARM]", ArmConfig),
    ("[metrics.NAME]", MetricConfig),
    ("[layers.NAME]", LayerConfig),
)
_LIMITS = (("ge", "≥ "), ("gt", "> "), ("le", "≤ "), ("lt", "< "))


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(title, model) for title, model in SECTIONS)])


def section(title: str, model: type[BaseModel]) -> str:
    """One table of the file: what it is, then its keys."""
    meanings = documented(model)
    rows = [
        row(name, field, meanings.get(name, ""))
        for name, field in model.model_fields.items()
        if not (name == "name" and model in (Behaviour, TaskConfig))  # it is the table's key
    ]
    text = inspect.cleandoc(model.__doc__ or "")
    head = ["| key | type | default | |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", text, "", *head, *rows, ""])


def row(name: str, field: Any, text: str) -> str:
    """A key with its type, default and meaning."""
    cells = [f"`{name}`", kind(field.annotation, field.metadata), default(field), text]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def default(field: Any) -> str:
    """The default as written in the file; empty if there is none."""
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value == "" or isinstance(value, BaseModel) or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def kind(annotation: Any, metadata: Any = ()) -> str:
    """A type in terms of the file: text, number, true or false, one of …, list, table."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return kind(inner, [m for extra in metadata for m in getattr(extra, "metadata", [extra])])
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{option}"`' for option in get_args(annotation))
    options = [a for a in get_args(annotation) if a not in (type(None), ...)]
    if get_origin(annotation) is tuple:
        return f"list of {kind(options[0])}"
    if get_origin(annotation) is dict or is_model(annotation):
        return "table"
    if options:
        kinds = list(dict.fromkeys(kind(option, metadata) for option in options))
        return " or ".join("tables" if k == "table" and len(options) > 1 else k for k in kinds)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    names[date] = "date"
    if annotation not in names:  # an enum
        return " or ".join(f'`"{member.value}"`' for member in annotation)
    limits = [
        f"{sign}{getattr(m, attribute):,}"
        for m in metadata
        for attribute, sign in _LIMITS
        if getattr(m, attribute, None) is not None
    ]
    return ", ".join([names[annotation], *limits])


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def documented(model: type[BaseModel]) -> dict[str, str]:
    """Each field's docstring, the nearest class first."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            meanings |= docstrings(base)
    return meanings


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a class."""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = " ".join(text.value.split())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
