"""`tamis evaluate cascade | channels | rank | objectives`: quality on held-out events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from tamis.cli._console import (
    AsJson,
    DeclaredDir,
    Device,
    ProjectDir,
    console,
    print_json,
    wants_progress,
)
from tamis.schema import suggest

DEFAULT = "cascade"


class _CascadeByDefault(TyperGroup):
    """`tamis evaluate DIR` means `tamis evaluate cascade DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            if len(args) > 1 and not Path(args[0]).exists():
                meant = suggest(args[0], self.commands)
                if meant:
                    ctx.fail(f"{args[0]} is neither a folder nor a part of a project.{meant}")
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


evaluate = typer.Typer(
    cls=_CascadeByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Evaluate a project on held-out events.\n\n"
    "The cascade (default), the channels, or the ranker.",
)


@evaluate.command()
def cascade(
    project: ProjectDir,
    report: Annotated[
        Path | None, typer.Option(help="HTML report. If omitted: report.html in the project.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the whole cascade on the events after the test cut.

    The command is also written `tamis evaluate PROJECT`.
    """
    from tamis.jobs import evaluate as job

    result = job(project, report=report, progress=wants_progress(as_json))
    if as_json:
        return print_json(result.to_dict())
    print_evaluation(result.to_dict(), result.report)
    return None


def print_evaluation(result: dict[str, Any], report: Path) -> None:
    """The tables of a cascade's evaluation, and where the HTML report is."""
    from tamis.evaluate import render

    render(result, console)
    console.print(f"report: [bold]{report}[/]")


@evaluate.command()
def channels(
    project: DeclaredDir,
    protocol: Annotated[
        str,
        typer.Option(
            help="time (the test cut), leave-one-out (strict: the validation item is not trained "
            "on), leave-one-out-refit, or given (--train, --test)."
        ),
    ] = "time",
    train: Annotated[
        Path | None, typer.Option(help="With --protocol given: events to learn from.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="With --protocol given: held-out events.")
    ] = None,
    mask_seen: Annotated[
        bool | None,
        typer.Option(
            "--mask-seen/--keep-seen",
            help="Leave items that the user knows out of the lists, or keep them. If omitted: as "
            "the project's filters say.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML report. If omitted: channels.html in the project.")
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Evaluate every recall channel alone and merged.

    Each is fitted anew, and evaluated alone, merged, and left out of the merge.

    No trained version is used: the channels of tamis.toml are fitted on the training part of the
    protocol and evaluated by what they recall of the rest.
    """
    from tamis.jobs import evaluate_channels

    result = evaluate_channels(
        project,
        protocol=protocol,
        train=train,
        test=test,
        mask_seen=mask_seen,
        report=report,
        device=device,
        progress=wants_progress(as_json),
    )
    if as_json:
        return print_json(result.to_dict())
    from tamis.evaluate import render_channels

    render_channels(result.to_dict(), console)
    console.print(f"report: [bold]{result.report}[/]")
    return None


@evaluate.command()
def rank(
    project: ProjectDir,
    report: Annotated[
        Path | None, typer.Option(help="HTML report. If omitted: rank.html in the project.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the ranker alone on the rows of the test window.

    The pre-ranker is evaluated, too. Metrics per task and segment, and calibration.
    """
    from tamis.jobs import evaluate_rank

    result = evaluate_rank(project, report=report, progress=wants_progress(as_json))
    if as_json:
        return print_json(result.to_dict())
    from tamis.evaluate import render_rank

    render_rank(result.to_dict(), console)
    print_gates(result.to_dict().get("gates", {}), "mean gate weights on the rows of the last fit")
    console.print(f"report: [bold]{result.report}[/]")
    return None


@evaluate.command()
def objectives(
    project: ProjectDir,
    weights: Annotated[
        list[float] | None,
        typer.Option(
            "--weight",
            help="A weight of every term, at least 0; may be repeated. If omitted: 0, 0.05, 0.1, "
            "0.2, 0.5, 1.",
        ),
    ] = None,
    requests: Annotated[int, typer.Option(help="Users for whom slates are arranged.")] = 1000,
    figure: Annotated[
        Path | None,
        typer.Option(help="Image (.svg or .png). If omitted: objectives.svg in the project."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each objective costs the others.

    The same ranked lists are arranged with each term of the re-rank rule `objective` at several
    weights.
    """
    from tamis.jobs import evaluate_objectives

    given = {} if weights is None else {"weights": weights}
    result = evaluate_objectives(
        project, requests=requests, figure=figure, progress=wants_progress(as_json), **given
    )
    if as_json:
        return print_json(result.to_dict())
    from tamis.evaluate import render_tradeoffs

    render_tradeoffs(result.to_dict(), console)
    console.print(f"figure: [bold]{result.figure}[/]")
    return None


def print_gates(report: Mapping[str, Any], title: str) -> None:
    """The gate report of a mixture of experts; nothing for other rankers."""
    if not report:
        return
    from tamis.rank import GateReport

    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    console.print(escape(str(GateReport.from_dict(report))), highlight=False)
