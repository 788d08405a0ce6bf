"""The `tamis` command: its sub-commands, and its entry point."""

from __future__ import annotations

import sys

import typer

from tamis.cli._console import print_error
from tamis.cli.data_commands import doctor, fetch, init, simulate
from tamis.cli.evaluation_commands import evaluate
from tamis.cli.ranker_commands import compare, score
from tamis.cli.serving_commands import demo, events, recall, recommend, serve, similar
from tamis.cli.training_commands import train, versions
from tamis.schema import TamisError

app = typer.Typer(
    name="tamis",
    help="Recommendation cascades, from raw event logs to explained answers: recall, filter, "
    "pre-rank, rank, re-rank.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # brackets in help texts are printed as they are
    pretty_exceptions_enable=False,
)
for _command in (init, fetch, doctor, train):
    app.command()(_command)
app.add_typer(evaluate, name="evaluate")
for _command in (compare, score, versions, recall, recommend, similar):
    app.command()(_command)
for _command in (serve, events, simulate, demo):
    app.command()(_command)


def main() -> None:
    """Runs `tamis`; a `TamisError` prints its message and exits with code 1."""
    try:
        app()
    except TamisError as error:
        print_error(error)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has closed it, as `head` does
        sys.exit(1)
