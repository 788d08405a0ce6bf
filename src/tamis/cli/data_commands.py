"""`tamis init`, `fetch`, `doctor` and `simulate`: the tables and the declaration of a project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.prompt import IntPrompt
from rich.table import Table

from tamis.cli._console import AsJson, ProjectDir, console, print_json, print_next, wants_progress

if TYPE_CHECKING:
    from tamis.data import RoleChoice
    from tamis.features import TableCoverage
    from tamis.jobs import Estimate, LiveReport

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def _column(what: str) -> Any:
    return typer.Option(metavar="COL", help=f"Column of the events: {what}. If omitted: detected.")


def _file(what: str) -> Any:
    return typer.Option(metavar="FILE", help=f"File of the {what}. If omitted: detected.")


def init(
    folder: Annotated[Path, typer.Argument(help="Folder with your tables (CSV, Parquet, JSONL).")],
    name: Annotated[
        str | None, typer.Option(help="Name of the project. If omitted: the folder's name.")
    ] = None,
    events: Annotated[str | None, _file("event log")] = None,
    items: Annotated[str | None, _file("table of items")] = None,
    users: Annotated[str | None, _file("table of users")] = None,
    user: Annotated[str | None, _column("the user's id")] = None,
    item: Annotated[str | None, _column("the item's id")] = None,
    time: Annotated[str | None, _column("the time, or none")] = None,
    behaviour: Annotated[str | None, _column("names of behaviours")] = None,
    value: Annotated[str | None, _column("ratings, seconds or amounts")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; take the likeliest reading.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing tamis.toml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented tamis.toml for the tables of a folder.

    Where two readings of the tables are near, a terminal is asked.
    """
    from tamis.jobs import init as job

    asks = not (yes or as_json) and _is_terminal()
    report = job(
        folder,
        name=name,
        force=force,
        ask=_ask if asks else None,
        events=events,
        items=items,
        users=users,
        user=user,
        item=item,
        time=time,
        behaviour=behaviour,
        value=value,
    )
    if as_json:
        return print_json(report.to_dict())
    console.print(f"Wrote [bold]{report.config}[/]. What was found:")
    for note in report.notes:
        console.print(f"  • {escape(note)}", highlight=False)
    print_next(["doctor", report.project], ["train", report.project])
    return None


def _is_terminal() -> bool:
    """Whether somebody can answer questions."""
    return sys.stdin.isatty() and console.is_terminal


def _ask(choice: RoleChoice) -> str:
    """Asks in the terminal which of the near readings is right; Enter takes the likeliest."""
    kind = "file is the event log" if choice.key == "events" else f"column is the {choice.key}"
    options = [choice.chosen, *choice.others]
    console.print(f"Which {kind}?", highlight=False)
    for number, option in enumerate(options, start=1):
        why = f" [dim]({escape(choice.why)})[/]" if number == 1 and choice.why else ""
        console.print(f"  {number}  {escape(option)}{why}", highlight=False)
    answer = IntPrompt.ask(
        "Number", console=console, default=1, choices=[str(n + 1) for n in range(len(options))]
    )
    return options[answer - 1]


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="movielens-100k or movielens-1m; with --from: amazon-beauty, gowalla, foursquare, "
            "frappe, kuairand, or funnel (any log of views, carts and purchases)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write the tables to. If omitted: a folder named NAME."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the files of a data set that is not downloaded."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set and write it as plain tables.

    Its terms and citation are shown.
    """
    from tamis.jobs import fetch as job

    report = job(name, out or Path(name), folder=folder, progress=wants_progress(as_json))
    if as_json:
        return print_json(report.to_dict())
    console.print(f"Wrote {', '.join(report.files)} to [bold]{report.folder}[/].")
    console.print(f"[dim]{escape(report.terms)}[/]\n[dim]{escape(report.citation)}[/]")
    if report.rows:
        train, valid = (report.folder / f"{stem}.csv" for stem in ("train", "valid"))
        print_next(["compare", "--table", train, "--valid", valid])
    else:
        print_next(["init", report.folder])
    return None


def doctor(project: ProjectDir, as_json: AsJson = False) -> None:
    """Report errors in the data and what a training costs.

    Suspicious values and the coverage of the features are reported, too.
    Exit code 1 if there is an error.
    """
    from tamis.jobs import doctor as job

    findings = job(project)
    if as_json:
        features = [vars(feature) for feature in findings.features]
        cost = None if findings.cost is None else findings.cost.to_dict()
        print_json({"findings": [vars(f) for f in findings], "features": features, "cost": cost})
    elif not findings:
        console.print("[green]No problems found.[/]")
    else:
        table = Table("", "where", "what", "how to fix", title="tamis doctor", title_justify="left")
        for f in findings:
            severity = f"[{_COLOURS.get(f.severity, 'white')}]{f.severity}[/]"
            table.add_row(severity, escape(f.where), escape(f.what), escape(f.fix))
        console.print(table)
    if findings.features and not as_json:
        console.print(_coverage_table(findings.features))
    if findings.cost is not None and not as_json:
        console.print(_cost_table(findings.cost))
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


def _cost_table(cost: Estimate) -> Table:
    """One row per stage: fits, time and memory, and the counts that decide them."""
    from tamis.jobs import span

    title = f"What a training costs, about: {span(cost.seconds)}, {cost.peak_mb / 1000:.1f} GB"
    table = Table("stage", title=title, title_justify="left", caption=cost.protocol)
    for heading in ("fits", "time", "MB", "because of"):
        table.add_column(heading, justify="left" if heading == "because of" else "right")
    for stage in cost.stages:
        time = span(stage.seconds)
        table.add_row(stage.stage, str(stage.fits), time, f"{stage.mb:,.0f}", stage.why)
    return table


def _coverage_table(features: Sequence[TableCoverage]) -> Table:
    """One row per feature: who has a value, how many there are, and how many are new."""
    table = Table("feature", title="Coverage of the features", title_justify="left")
    for heading in ("of", "rows", "events", "values", "unseen later"):
        table.add_column(heading, justify="left" if heading == "of" else "right")
    for f in features:
        shares = ["" if s is None else f"{s:.1%}" for s in (f.rows, f.events, f.unseen)]
        table.add_row(escape(f.feature), f.side, *shares[:2], f"{f.distinct:,}", shares[2])
    return table


def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the new project.")] = Path("simulated"),
    items: Annotated[int, typer.Option(min=1, help="Number of items.")] = 200_000,
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 50_000,
    days: Annotated[int, typer.Option(min=1, help="Days of traffic.")] = 30,
    seed: Annotated[
        int, typer.Option(help="Random seed; the same seed gives the same tables.")
    ] = 0,
    eagerness: Annotated[
        float,
        typer.Option(help="Added to the log-odds of every action; 2 gives many purchases."),
    ] = 0.0,
    repeat_rate: Annotated[
        float,
        typer.Option(
            help="Probability that a user who has bought a consumable comes back for it; 0: nobody."
        ),
    ] = 0.0,
    repeat_gap_days: Annotated[
        float,
        typer.Option(
            "--repeat-gap", help="Median days after which users come back for a consumable."
        ),
    ] = 7.0,
    until_now: Annotated[
        bool,
        typer.Option(
            "--until-now", help="The log ends at this moment, for a service and live traffic."
        ),
    ] = False,
    live: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Make nothing: play the users of the project --out against the service at this "
            "address, for a bounded time.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="With --live: visits per second.")] = 20.0,
    seconds: Annotated[float, typer.Option(help="With --live: how long.")] = 60.0,
    speed: Annotated[
        float,
        typer.Option(
            help="With --live: how much faster than the clock tastes, items and users change; at "
            "1440, a day a minute."
        ),
    ] = 1.0,
    key: Annotated[
        str | None, typer.Option(help="With --live: API key of the service.", envvar="TAMIS_KEY")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a project of a simulated shop, or play its users.

    Its true probabilities are written, too. Its users play against a running service.
    """
    if live is not None:
        from tamis.jobs import live_traffic

        played = live_traffic(
            out,
            live,
            rate=rate,
            seconds=seconds,
            speed=speed,
            key=key,
            progress=wants_progress(as_json),
        )
        return print_json(played.to_dict()) if as_json else _print_traffic(played)
    from tamis.jobs import simulate as job

    progress = wants_progress(as_json)
    options = {"items": items, "users": users, "days": days, "seed": seed}
    result = job(
        out,
        **options,
        eagerness=eagerness,
        repeat_rate=repeat_rate,
        repeat_gap_days=repeat_gap_days,
        until_now=until_now,
        progress=progress,
    )
    if as_json:
        return print_json(result.to_dict())
    report = result.report
    console.print(
        f"[bold]{report.users:,}[/] users and [bold]{report.items:,}[/] items in "
        f"{report.requests:,} requests ({report.seconds:.0f} s): {result.project}",
        highlight=False,
    )
    if report.returns:
        console.print(
            f"{report.returns:,} of the requests are returns for an item", highlight=False
        )
    table = Table("behaviour")
    table.add_column("events", justify="right")
    table.add_column("rate", justify="right")
    for name, count in report.events.items():
        share = report.rates.get(name)
        table.add_row(name, f"{count:,}", f"{share:.1%}" if share is not None else "")
    console.print(table)
    if until_now:
        print_next(["train", result.project, "--only", "serving"], ["serve", result.project])
    else:
        print_next(["train", result.project], ["evaluate", result.project])
    return None


def _print_traffic(played: LiveReport) -> None:
    """The table of live traffic."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    headings = ("seconds", "visits", "failed", "reward", "best", "clicks", "new items", "ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in played.periods:
        clicked = one.clicks / max(one.impressions, 1)
        table.add_row(
            f"{one.seconds:.0f}",
            f"{one.visits:,}",
            f"{one.failed:,}",
            f"{one.reward:.3f}",
            f"{one.best:.3f}",
            f"{clicked:.1%}",
            f"{one.new_items:.1%}",
            f"{one.milliseconds:.1f}",
        )
    console.print(table)
    console.print(
        f"[bold]{played.visits:,}[/] visits in {played.seconds:.0f} s, {played.failed:,} failed · "
        f"reward [bold]{played.reward:.3f}[/] of {played.best:.3f} · "
        f"p50 {played.p50_ms:.1f} ms, p99 {played.p99_ms:.1f} ms",
        highlight=False,
    )
    console.print(
        "Reward: mean true worth of a slate (click 1, like .5, cart 2, purchase 4); best: that of "
        "the best slate there was.",
        style="dim",
    )
    for reason, count in played.refused.items():
        console.print(f"[yellow]{count:,} ×[/] {escape(reason)}", highlight=False)
