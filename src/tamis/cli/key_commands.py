"""`tamis keys`: API keys of the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli._console import AsJson, console, print_json


def keys(
    file: Annotated[Path, typer.Argument(help="File of the keys; made where it is missing.")],
    name: Annotated[str, typer.Option(help="Name of the key, for the log.")],
    scopes: Annotated[
        str, typer.Option(help="What the key allows, separated by commas: read, write, admin.")
    ] = "read",
    as_json: AsJson = False,
) -> None:
    """Make an API key for `tamis serve --keys FILE`.

    The file holds only a hash of the key: keep the key that is printed.
    """
    from tamis.serve import add_key

    key = add_key(file, name, [word.strip() for word in scopes.split(",") if word.strip()])
    if as_json:
        return print_json({"name": name, "key": key})
    console.print(key, highlight=False, soft_wrap=True)
    return None
