"""`tamis experiment plan`: A/B tests of a project."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import AsJson, ProjectDir, console, print_json

experiment = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Plan A/B tests of a project.",
)


@experiment.callback()
def _group() -> None:
    """A group, although it has one command so far."""


@experiment.command()
def plan(
    project: ProjectDir,
    metric: Annotated[
        str,
        typer.Option(
            help="Events per user (click), a ratio of sums (click / show), or a sum of values per "
            "user (sum(watch))."
        ),
    ],
    effect: Annotated[
        float | None, typer.Option(help="Relative difference to be found, such as 0.02.")
    ] = None,
    share: Annotated[float, typer.Option(help="The treatment's share of the users.")] = 0.5,
    power: Annotated[float, typer.Option(help="Chance to find a true difference.")] = 0.8,
    alpha: Annotated[
        float, typer.Option(help="Chance to find a difference where there is none.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Print what an A/B test could find, by how long it runs, from the project's own log."""
    from tamis.jobs import plan_experiment

    found = plan_experiment(project, metric, effect=effect, share=share, power=power, alpha=alpha)
    if as_json:
        return print_json(found.to_dict())
    console.print(
        f"[bold]{escape(metric)}[/] · {share:.0%} of users in the treatment · power {power:.0%} · "
        f"level {alpha:g}",
        highlight=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("days", "users", "value", "smallest difference", "with CUPED"):
        table.add_column(heading, justify="right")
    for one in found.plans:
        adjusted = "–" if one.with_before is None else f"{one.with_before:.1%}"
        table.add_row(
            str(one.days), f"{one.users:,}", f"{one.value:.4g}", f"{one.detectable:.1%}", adjusted
        )
    console.print(table)
    console.print(
        "Smallest relative difference that is found with that power. CUPED takes off what each "
        "user did before the test; – where the log is too short for that.",
        style="dim",
    )
    if effect is not None:
        if found.days is None:
            console.print(
                f"None of these durations finds {effect:.1%}: run longer, or choose a metric with "
                "less spread between users."
            )
        else:
            console.print(f"[bold]{found.days} days[/] find {effect:.1%}.", highlight=False)
    return None
