"""`tamis experiment`, with its commands, and `tamis estimate`: A/B tests, and what comes before."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import AsJson, ProjectDir, console, errors, names, print_json

if TYPE_CHECKING:
    from tamis.jobs import ExperimentResult
    from tamis.service import ExperimentLine


class ReportPhase(StrEnum):
    """What is compared."""

    test = "test"
    rollout = "rollout"


_METHODS = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}
_COLOURS = {"ship": "green", "roll back": "red", "not healthy": "red"}

experiment = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Plan, run and read A/B tests.",
)


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
    value: Annotated[
        float | None,
        typer.Option(help="The metric, where it is known. If omitted: that of the project's log."),
    ] = None,
    variance: Annotated[
        float | None,
        typer.Option(
            help="Variance of a known metric between users. It may be omitted only for a metric "
            "that is 0 or 1 for each user, the retention: value x (1 - value)."
        ),
    ] = None,
    users_per_day: Annotated[
        float | None,
        typer.Option(
            help="Users that join the test each day, for the days of a known metric. Of a "
            "retention those count who joined long enough before the end to be observed."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what an A/B test could find, by how long it runs.

    The figures are those of the project's own log, or the given --value.
    """
    from tamis.jobs import plan_experiment

    found = plan_experiment(
        project,
        metric,
        effect=effect,
        share=share,
        power=power,
        alpha=alpha,
        value=value,
        variance=variance,
        users_per_day=users_per_day,
    )
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
    if found.plans:
        console.print(table)
        console.print(
            "Smallest relative difference that is found with that power. CUPED takes off what each "
            "user did before the test; – where the log is too short for that.",
            style="dim",
        )
    if effect is not None and found.planned is not None:
        console.print(f"{found.planned:,} users of both arms find {effect:.1%}.", highlight=False)
    if effect is not None and found.plans and found.days is None:
        console.print(
            f"None of these durations finds {effect:.1%}: run longer, or choose a metric with "
            "less spread between users."
        )
    elif effect is not None and found.days is not None:
        days = "1 day finds" if found.days == 1 else f"{found.days} days find"
        console.print(f"[bold]{days}[/] {effect:.1%}.", highlight=False)
    return None


Name = Annotated[str, typer.Argument(help="Name of the experiment: [experiments.NAME].")]
Traffic = Annotated[
    float, typer.Option(help="Share of the layer's users that take part, such as 0.05.")
]
Store = Annotated[
    str,
    typer.Option(help="Journal: redis://host:port/db. If omitted: that of the project."),
]
Who = Annotated[
    str, typer.Option(help="Who takes the step, for the audit trail. If omitted: this user.")
]
Note = Annotated[str, typer.Option(help="Why, in words.")]


def _step(take: Callable[..., Any]) -> Callable[..., None]:
    """The command of a step, from a function that takes it: adds the options of every step, which
    it takes as `how`, and prints the `ExperimentLine` that it returns."""

    @wraps(take)
    def command(*, by: str, as_json: bool, **given: Any) -> None:
        _print_line(take(**given, by=_by(by)), as_json)

    def common(by: Who = "", note: Note = "", store: Store = "", as_json: AsJson = False) -> None:
        """What every step has."""

    own = signature(take, eval_str=True).parameters.values()
    options = signature(common, eval_str=True).parameters.values()
    parameters = [*(one for one in own if one.kind != one.VAR_KEYWORD), *options]
    command.__signature__ = Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return command


@experiment.command()
@_step
def start(project: ProjectDir, name: Name, traffic: Traffic, **how: str) -> Any:
    """Start an experiment of tamis.toml with a share of its layer's users.

    A running service takes it up within a second. The declaration stays as it is now to the end.
    """
    from tamis.jobs import start_experiment

    return start_experiment(project, name, traffic, **how)


@experiment.command()
@_step
def ramp(project: ProjectDir, name: Name, traffic: Traffic, **how: str) -> Any:
    """Change the share of users that take part. When it grows, nobody changes arm."""
    from tamis.jobs import ramp_experiment

    return ramp_experiment(project, name, traffic, **how)


@experiment.command()
@_step
def full(
    project: ProjectDir,
    name: Name,
    arm: Annotated[str, typer.Option(help="The arm that everybody gets.")],
    reverse: Annotated[
        float, typer.Option(help="Share of users that keep the control arm, to watch the effect.")
    ] = 0.0,
    **how: str,
) -> Any:
    """Give an arm to everybody, but a reverse bucket that keeps the control arm."""
    from tamis.jobs import roll_out_experiment, unfinished_test

    if problem := unfinished_test(project, name, store=how.get("store", "")):
        errors.print(f"[yellow]warning[/]: {escape(problem)}", highlight=False)
    return roll_out_experiment(project, name, arm, reverse=reverse, **how)


@experiment.command()
@_step
def close(project: ProjectDir, name: Name, **how: str) -> Any:
    """End an experiment: its users get what the project declares."""
    from tamis.jobs import close_experiment

    return close_experiment(project, name, **how)


@experiment.command()
def status(project: ProjectDir, name: Name, store: Store = "", as_json: AsJson = False) -> None:
    """Print the stage of an experiment, and who did what, when and why."""
    from tamis.jobs import list_experiments

    _print_line(list_experiments(project, name, store=store)[0], as_json)


@experiment.command("list")
def list_all(project: ProjectDir, store: Store = "", as_json: AsJson = False) -> None:
    """List the experiments that were started, and the drafts in tamis.toml."""
    from tamis.jobs import list_experiments

    lines = list_experiments(project, store=store)
    if as_json:
        return print_json({"experiments": [line.to_dict() for line in lines]})
    if not lines:
        console.print("No experiment is declared or was started.")
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("experiment", "stage", "layer", "traffic", "arms", "goal", "started"):
        table.add_column(heading)
    for line in lines:
        table.add_row(
            escape(line.name),
            line.stage,
            escape(line.layer),
            f"{line.traffic:.2%}",
            escape(", ".join(line.arms)),
            escape(line.goal),
            _date(line.started),
        )
    console.print(table)
    return None


def _by(by: str) -> str:
    """The given name, or that of the user of this machine."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has no name
        raise typer.BadParameter("say who takes the step: --by NAME") from None


def _date(time: int | None) -> str:
    moment = None if time is None else datetime.fromtimestamp(time / 1000, UTC)
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _print_line(line: ExperimentLine, as_json: bool) -> None:
    """An experiment and its steps."""
    if as_json:
        return print_json(line.to_dict())
    console.print(
        f"[bold]{escape(line.name)}[/]  {line.stage}, {line.traffic:.2%} of layer "
        f"{escape(line.layer)}, arms {escape(', '.join(line.arms))}, goal {escape(line.goal)}",
        highlight=False,
    )
    for step in line.steps:
        what = {
            "start": f"started with {step.traffic:.2%}",
            "ramp": f"traffic {step.traffic:.2%}",
            "full": f"arm {step.arm} for all but {step.reverse:.2%}",
            "close": "closed",
        }[step.step]
        note = f": {step.note}" if step.note else ""
        console.print(
            f"  {_date(step.time)}  {escape(what)}, by {escape(step.by)}{escape(note)}",
            highlight=False,
        )
    return None


@experiment.command()
def read(
    file: Annotated[Path, typer.Argument(help="Table with one row per user, or rows that add up.")],
    control: Annotated[str, typer.Option(help="The arm that others are compared with.")],
    goal: Annotated[
        str,
        typer.Option(help="The metric that decides: a column, or a ratio such as clicks/shown."),
    ],
    arm: Annotated[str, typer.Option(help="Column of the arms.")] = "arm",
    unit: Annotated[
        str | None, typer.Option(help="Column of the users, where they have several rows.")
    ] = None,
    secondary: Annotated[
        str | None, typer.Option(help="Further metrics, separated by commas.")
    ] = None,
    guardrail: Annotated[
        str | None, typer.Option(help="Metrics that must not get worse, separated by commas.")
    ] = None,
    lower: Annotated[
        str | None, typer.Option(help="Metrics of which less is better, separated by commas.")
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(help="Declared share of each arm, by the order of their names: 0.9,0.1."),
    ] = None,
    planned: Annotated[
        int | None, typer.Option(help="Users of all arms that were planned before the start.")
    ] = None,
    watched: Annotated[
        bool, typer.Option("--watched", help="Decide by intervals that hold at every look.")
    ] = False,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Print the result of an A/B test from a table of its users: health, effects, what to do.

    A column NAME_before holds the metric before the experiment, for CUPED.
    """
    from tamis.jobs import read_experiment

    found = read_experiment(
        file,
        control=control,
        goal=goal,
        arm=arm,
        unit=unit,
        secondary=names(secondary),
        guardrail=names(guardrail),
        lower=names(lower),
        shares=_numbers(shares),
        planned=planned,
        watched=watched,
        confidence=confidence,
    )
    return print_json(found.to_dict()) if as_json else _print_result(found)


@experiment.command()
def report(
    project: ProjectDir,
    name: Annotated[str, typer.Argument(help="An experiment that was started.")],
    segment: Annotated[
        str | None,
        typer.Option(help="Column of the users by whose values effects are read as well."),
    ] = None,
    phase: Annotated[
        ReportPhase | None,
        typer.Option(
            help="test: the arms side by side. rollout: the arm that everybody got against the "
            "reverse bucket. If omitted: rollout where there is a reverse bucket."
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(help="Address of the journal. If omitted: that of tamis.toml.")
    ] = "",
    html: Annotated[
        Path | None, typer.Option(help="Also write the report as an HTML page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the result of an experiment from the journal: state, health, effects, raw counts."""
    from tamis._version import __version__
    from tamis.evaluate import render_experiment, write_experiment_report
    from tamis.jobs import report_experiment

    found = report_experiment(
        project, name, store, segment=segment, phase=None if phase is None else phase.value
    ).to_dict()
    if html is not None:
        write_experiment_report(found, html, __version__)
    if as_json:
        return print_json(found)
    render_experiment(found, console)
    if html is not None:
        console.print(f"wrote {escape(str(html))}", highlight=False)
    return None


def estimate(
    project: ProjectDir,
    policy: Annotated[
        Path,
        typer.Option(help="TOML file with the other [cascade]: its fusion, and the rule sample."),
    ],
    metric: Annotated[
        str, typer.Option(help="What an answer earns: a behaviour, or sum(behaviour).")
    ],
    places: Annotated[
        int | None, typer.Option(help="First places that count. If omitted: all.")
    ] = None,
    most: Annotated[int, typer.Option(help="Latest answers that are read.")] = 20_000,
    store: Annotated[
        str, typer.Option(help="Address of the journal. If omitted: that of tamis.toml.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Estimate what another order would have earned.

    The other policy has another fusion or temperature; drawn slates are weighed anew. The re-rank
    rule sample draws slates and logs the probability of each choice.
    """
    from tamis.jobs import estimate_policy

    found = estimate_policy(project, policy, metric, places=places, most=most, store=store)
    if as_json:
        return print_json(found.to_dict())
    drawn = "draws nothing" if found.temperature is None else f"temperature {found.temperature:g}"
    console.print(
        f"[bold]{escape(found.metric)}[/] per answer · fusion "
        f"{escape(found.fusion or 'the first task')} · {drawn} · {found.answers:,} answers, "
        f"{found.users:,} users",
        highlight=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for heading in ("per answer", "interval", "effective"):
        table.add_column(heading, justify="right")
    table.add_row("as logged", f"{found.logged:.4g}", "", f"{found.answers * found.places:,.0f}")
    for one in found.estimates:
        interval = f"{one.low:.4g} to {one.high:.4g}"
        table.add_row(_METHODS[one.method], f"{one.value:.4g}", interval, f"{one.effective:,.0f}")
    console.print(table)
    by_place = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("place", "effective answers", "mean weight"):
        by_place.add_column(heading, justify="right")
    for one in found.weights:
        by_place.add_row(str(one.place), f"{one.effective:,.0f}", f"{one.mean_weight:.3f}")
    console.print(by_place)
    console.print(
        "Weights are products over the places down to each, and are not clipped; a mean far from 1 "
        "says that the log does not support the policy.",
        style="dim",
    )
    for reason, number in found.left_out.items():
        console.print(f"{number:,} answers {escape(reason)}", highlight=False)
    if found.note:
        console.print(f"[yellow]note[/]: {escape(found.note)}", highlight=False)
    return None


def _numbers(text: str | None) -> list[float] | None:
    """The numbers of an option value that separates them by commas."""
    if text is None:
        return None
    try:
        return [float(part) for part in names(text)]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give numbers separated by commas") from None


def _print_result(found: ExperimentResult) -> None:
    """The state, the health and the effects."""
    result = found.result
    colour = _COLOURS.get(result.state, "yellow")
    console.print(f"[bold {colour}]{result.state}[/]  {escape(result.text)}", highlight=False)
    for check in result.checks:
        mark = "[green]ok[/]" if check.sound else "[red]bad[/]"
        console.print(f"{mark}  {escape(check.name)}: {escape(check.text)}", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("metric", "arm"):
        table.add_column(heading)
    for heading in (found.control, "arm", "change", "interval", "p", "variance"):
        table.add_column(escape(heading), justify="right")
    for one in result.findings:
        effect = one.effect
        colour = {True: "green", False: "red", None: ""}[one.better]
        change, low, high = effect.relative, effect.relative_low, effect.relative_high
        named = change == change
        shown = (
            f"{x:+.1%}" if named else f"{x:+.4g}"
            for x in (
                (change, low, high) if named else (effect.difference, effect.low, effect.high)
            )
        )
        first, least, most = shown
        table.add_row(
            f"{escape(one.measure)} ({one.role})",
            escape(one.arm),
            f"{effect.control:.4g}",
            f"{effect.treatment:.4g}",
            f"[{colour}]{first}[/]" if colour else first,
            f"{least} to {most}",
            f"{one.adjusted_p:.2g}",
            f"{effect.variance_kept:.0%}",
        )
    if result.findings and result.state != "not healthy":
        console.print(table)
        console.print(
            "p is corrected for several metrics and arms (Holm). Variance: what CUPED leaves.",
            style="dim",
        )
