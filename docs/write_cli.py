"""Writes docs/cli.md from the commands themselves: `make docs` runs it, a test compares."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer

from tamis.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Commands

Generated from the commands by `docs/write_cli.py`. Every command is also a function of Python: see
`tamis.jobs` in the reference.
"""


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(name, command) for name, command in group.commands.items())])


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, what it takes."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = [named(p) if p.required else f"[{named(p)}]" for p in arguments]
    lines = [f"## tamis {name}", "", inspect.cleandoc(command.help or ""), ""]
    lines += ["```text", " ".join(["tamis", name, *words, "[OPTIONS]"]), "```", ""]
    return "\n".join([*lines, "| | | default |", "|---|---|---|", *map(row, command.params), ""])


def row(parameter: Any) -> str:
    """A parameter's name, its help, its default."""
    options = [*parameter.opts, *parameter.secondary_opts]
    names = options if parameter.param_type_name == "option" else [named(parameter)]
    default = "" if parameter.default in (None, False) else f"`{parameter.default}`"
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    shown = ", ".join(f"`{name}`" for name in names)
    return f"| {shown} | {text} | {'required' if parameter.required else default} |"


def named(argument: Any) -> str:
    """How an argument is written in a usage line."""
    return str(argument.metavar or argument.name.upper())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
