"""Writes docs/cli.md from the commands; `make docs` runs it and a test compares the page."""

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
    return "\n".join([HEAD, *sections(typer.main.get_command(app), "tamis")])


def sections(group: Any, path: str) -> list[str]:
    """The sections of a group's commands; those of a sub-group follow its own text."""
    found: list[str] = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found.append(f"## {path} {name}\n\n{inspect.cleandoc(command.help or '')}\n")
            found += sections(command, f"{path} {name}")
        else:
            found.append(section(f"{path} {name}", command))
    return found


def section(name: str, command: Any) -> str:
    """One command: what it does, its usage line, and its parameters with their defaults."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = [named(p) if p.required else f"[{named(p)}]" for p in arguments]
    level = "##" if name.count(" ") == 1 else "###"
    lines = [f"{level} {name}", "", inspect.cleandoc(command.help or ""), ""]
    lines += ["```text", " ".join([name, *words, "[OPTIONS]"]), "```", ""]
    return "\n".join([*lines, "| | | default |", "|---|---|---|", *map(row, command.params), ""])


def row(parameter: Any) -> str:
    """A parameter's name, help and default."""
    options = [*parameter.opts, *parameter.secondary_opts]
    names = options if parameter.param_type_name == "option" else [named(parameter)]
    default = parameter.default
    default = "" if default is None or default is False else f"`{default}`"
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    shown = ", ".join(f"`{name}`" for name in names)
    return f"| {shown} | {text} | {'required' if parameter.required else default} |"


def named(argument: Any) -> str:
    """An argument's name in a usage line."""
    return str(argument.metavar or argument.name.upper())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
