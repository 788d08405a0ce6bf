"""The `tamis` command: its sub-commands, and its entry point."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tamis._version import __version__
from tamis.cli._console import print_error
from tamis.cli.data_commands import doctor, fetch, init, simulate
from tamis.cli.evaluation_commands import evaluate
from tamis.cli.experiment_commands import estimate, experiment
from tamis.cli.journal_commands import events, export, parity
from tamis.cli.key_commands import keys
from tamis.cli.ranker_commands import compare, score
from tamis.cli.serving_commands import demo, lookalike, recall, recommend, serve, similar
from tamis.cli.training_commands import activate, rollback, train, versions
from tamis.cli.update_commands import update
from tamis.schema import TamisError

ORDER = (
    *(
        "init",
        "fetch",
        "doctor",
        "train",
        "update",
        "evaluate",
        "recommend",
        "similar",
        "lookalike",
    ),
    *("serve", "keys", "events", "export", "parity", "recall", "compare", "score", "versions"),
    *("activate", "rollback", "experiment", "estimate", "simulate", "demo"),
)
"""Order of the commands in `tamis --help` and on the page of commands: as one uses them."""


class _InOrderOfUse(TyperGroup):
    """Lists commands and groups of commands in one order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands = {name: self.commands[name] for name in ORDER}


app = typer.Typer(
    name="tamis",
    cls=_InOrderOfUse,
    help="Recommendation cascades, from raw event logs to explained answers: recall, filter, "
    "pre-rank, rank, re-rank.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # brackets in help texts are printed as they are
    pretty_exceptions_enable=False,
)
for _command in (
    init,
    fetch,
    doctor,
    train,
    update,
    recommend,
    similar,
    lookalike,
    serve,
    keys,
    events,
):
    app.command()(_command)
for _command in (
    export,
    parity,
    recall,
    compare,
    score,
    versions,
    activate,
    rollback,
    estimate,
    simulate,
    demo,
):
    app.command()(_command)
app.add_typer(evaluate, name="evaluate")
app.add_typer(experiment, name="experiment")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tamis {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    shown: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs `tamis`; a `TamisError` prints its message and exits with code 1."""
    try:
        app()
    except TamisError as error:
        print_error(error)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has closed it, as `head` does
        sys.exit(1)
