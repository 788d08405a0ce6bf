"""What all commands share: the console, JSON output, errors, and common arguments."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape


def check_project(project: Path) -> Path:
    """Reports a folder without tamis.toml before a command imports the model libraries."""
    from tamis.service import ProjectFolder

    return ProjectFolder(project).root


ProjectDir = Annotated[
    Path,
    typer.Argument(help="Folder of the project (holds tamis.toml).", callback=check_project),
]


def check_declaration(project: Path | None) -> Path | None:
    """Reports faults of tamis.toml before a command imports the model libraries (seconds)."""
    from tamis.service import ProjectFolder

    if project is not None:
        _ = ProjectFolder(project).config
    return project


DeclaredDir = Annotated[
    Path,
    typer.Argument(help="Folder of the project (holds tamis.toml).", callback=check_declaration),
]
"""The project of a command that reads the declaration and uses models."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Device = Annotated[str, typer.Option(help="Where models train: cpu, cuda, cuda:1, mps …")]

console = Console()
errors = Console(stderr=True)


def wants_progress(json_wanted: bool) -> bool:
    """Whether to report progress on standard error: on a terminal, and in logs without --json."""
    return sys.stderr.isatty() or not json_wanted


def print_json(data: Any) -> None:
    """Prints one JSON object on standard output; NaN becomes null."""
    sys.stdout.write(json.dumps(_plain(data), ensure_ascii=False, indent=1) + "\n")


def print_error(problem: Exception) -> None:
    """Prints an error's message on standard error, without a traceback."""
    errors.print(f"[bold red]error[/] {escape(str(problem))}", highlight=False, soft_wrap=True)


def program() -> str:
    """The program as it was called: `tamis`, or its path where that is not the one on PATH."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("tamis", "__main__.py"):
        return f"{shlex.quote(sys.executable)} -m tamis"
    found = shutil.which("tamis")
    if called.stem != "tamis" or not called.exists() or (found and called.samefile(found)):
        return "tamis"
    return shlex.quote(str(called))


def print_next(*commands: Sequence[object]) -> None:
    """Prints the commands that usually follow, one a line; each as the words after `tamis`."""
    console.print("[dim]next:[/]")
    for words in commands:
        line = f"{program()} {shlex.join(map(str, words))}"
        console.print(f"  [bold cyan]{escape(line)}[/]", soft_wrap=True, highlight=False)


def names(text: str | None) -> list[str]:
    """The names of an option value that separates them by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _plain(data: Any) -> Any:
    """JSON values only: NaN and infinities become null, NumPy numbers become Python numbers."""
    if isinstance(data, Mapping):
        return {str(k): _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    if hasattr(data, "item") and not isinstance(data, str):
        data = data.item()
    if isinstance(data, float) and data - data != 0:
        return None
    if isinstance(data, str | int | float | bool) or data is None:
        return data
    return str(data)
