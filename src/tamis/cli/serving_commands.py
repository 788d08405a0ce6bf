"""`tamis recall`, `recommend`, `similar`, `serve` and `demo`: answers of the serving version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._answers import print_answer
from tamis.cli._console import (
    AsJson,
    Device,
    ProjectDir,
    console,
    names,
    print_json,
    print_next,
    wants_progress,
)
from tamis.cli.evaluation_commands import print_evaluation
from tamis.cli.training_commands import print_training
from tamis.schema import RequestError

if TYPE_CHECKING:
    from tamis.jobs import LiveDemo


def recall(
    project: ProjectDir,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Items per list. If omitted: the channel's quota plus 50."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="redis://host:port/db or env:NAME. If omitted: the store that the channels read."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Channels, separated by commas. If omitted: those declared offline, or all."
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version. If omitted: the serving version.")
    ] = None,
    keep: Annotated[int, typer.Option(help="Number of versions whose lists are kept.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Write the recall lists of all users to files or Redis.

    The vectors of the users are written, too.

    Requests then read the lists from the store instead of computing them.
    """
    from tamis.jobs import recall as job

    report = job(
        project,
        k=k,
        store=store,
        channels=names(channels),
        version=version,
        keep=keep,
        progress=wants_progress(as_json),
    )
    if as_json:
        return print_json(report.to_dict())
    table = Table("channel", title="tamis recall", title_justify="left")
    for heading in ("k", "users", "items", "vectors", "seconds"):
        table.add_column(heading, justify="right")
    for name, lists in report.channels.items():
        width = str(lists.vectors) if lists.vectors else ""
        seconds = f"{lists.seconds:.2f}" if lists.seconds else ""
        counts = (f"{lists.k:,}", f"{lists.users:,}", f"{lists.items:,}")
        table.add_row(escape(name), *counts, width, seconds)
    console.print(table)
    console.print(
        f"Version [bold]{report.version}[/] → {escape(report.store)}: {report.users:,} users in "
        f"{report.seconds:.1f} s, {report.users_per_second:,.0f} per second.",
        highlight=False,
        soft_wrap=True,
    )
    if report.dropped:
        console.print(f"Deleted the lists of {', '.join(report.dropped)}.", highlight=False)
    for note in report.notes:
        console.print(f"  • {escape(note)}", highlight=False)
    return None


def recommend(
    project: ProjectDir,
    user_id: Annotated[
        str | None,
        typer.Option(help="User id. If omitted or unknown: non-personalised items."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Number of items to recommend.")] = None,
    exclude_item_ids: Annotated[
        list[str] | None, typer.Option(help="Id of an item to leave out; may be repeated.")
    ] = None,
    interests: Annotated[
        list[str] | None,
        typer.Option(help="A declared interest (a category of the items); may be repeated."),
    ] = None,
    latitude: Annotated[
        float | None, typer.Option(min=-90, max=90, help="Degrees north; needs --longitude.")
    ] = None,
    longitude: Annotated[
        float | None, typer.Option(min=-180, max=180, help="Degrees east; needs --latitude.")
    ] = None,
    city: Annotated[str | None, typer.Option(help="City of the request.")] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="A declared column of context and its value, such as device=ios; may be repeated."
        ),
    ] = None,
    condition: Annotated[
        str,
        typer.Option(
            "--filter", help="Condition on the items, such as 'price <= 30 and not used'."
        ),
    ] = "",
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            help="A value that conditions read as request.NAME, such as budget=30 or "
            'regions=["FR","BE"]; may be repeated.',
        ),
    ] = None,
    boost: Annotated[
        list[str] | None,
        typer.Option(
            help="A factor on the value of items, as JSON: "
            '{"category": "Comedy", "factor": 2}, or item_id or where; may be repeated.'
        ),
    ] = None,
    diversity: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="0: order by value; 1: by difference. Needs a re-rank rule `mmr`."
        ),
    ] = None,
    pins: Annotated[
        list[str] | None,
        typer.Option(
            "--pin",
            help="An item and its place in the slate, such as i7=1; may be repeated.",
        ),
    ] = None,
    scene: Annotated[
        str, typer.Option(help="Value of the declared column of context `scene`.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show for each item why it is recommended.")
    ] = False,
    why_not: Annotated[
        str | None, typer.Option(help="Id of an item: show the stage that removed it.")
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            help="Journal of events: redis://host:port/db. If omitted: a file of the project."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user.

    The answer is by the serving version, and the events since.
    """
    from tamis.jobs import open as open_project

    opened = open_project(project)
    opened.recommender.recommend()  # warm-up: the time shown is that of a request, not of start-up
    answer = opened.recommend(
        user_id,
        n,
        store=store,
        exclude_item_ids=exclude_item_ids or (),
        interests=interests or (),
        latitude=latitude,
        longitude=longitude,
        city=city,
        context=_pairs(context or (), "--context", "COLUMN=VALUE, such as device=ios"),
        filter=condition,
        values={
            name: _read(text)
            for name, text in _pairs(
                values or (), "--value", "NAME=VALUE, such as budget=30"
            ).items()
        },
        boost=[_read(text) for text in boost or ()],
        diversity=diversity,
        pins={
            item: _read(place)
            for item, place in _pairs(pins or (), "--pin", "ITEM=PLACE, such as i7=1").items()
        },
        scene=scene,
        explain=explain,
        why_not=why_not,
    )
    if as_json:
        return print_json(answer.to_dict())
    print_answer(answer)
    return None


def _pairs(given: Sequence[str], option: str, form: str) -> dict[str, str]:
    """{name: value} of texts `name=value`; other texts are a RequestError that shows the form."""
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise RequestError(f"{option} {text}: give {form}")
        if name.strip() in pairs:
            raise RequestError(f"{option} {text}: {name.strip()} is given twice; give it once")
        pairs[name.strip()] = value
    return pairs


def similar(
    project: ProjectDir,
    item_id: Annotated[str | None, typer.Option(help="Id of an item; or give --text.")] = None,
    text: Annotated[
        str | None, typer.Option(help="A text; needs [items.text] in tamis.toml.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Number of items.")] = 10,
    by: Annotated[
        str | None,
        typer.Option(
            help="Of an item: vectors to compare, text or a channel. If omitted: text, if the "
            "version has texts, else the first channel with vectors of items."
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version. If omitted: the serving version.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the items nearest to an item or to a text.

    They are compared by the vectors of a version.
    """
    from tamis.jobs import similar as job

    found = job(project, item_id=item_id, text=text, n=n, by=by, version=version)
    if as_json:
        return print_json(found.to_dict())
    titled = any(line.title != line.item_id for line in found.items)
    what = f"text “{found.text}”" if found.item_id is None else f"item {found.item_id}"
    if found.title not in (None, found.item_id):
        what += f": {found.title}"
    console.print(
        f"[bold]{escape(what)}[/] · by {escape(found.by)} · version {found.version}",
        highlight=False,
    )
    if not found.items:
        console.print("No item is similar to it.")
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in ("", *(["title"] if titled else []), "item"):
        table.add_column(heading, overflow="fold")
    table.add_column("similarity", justify="right")
    for line in found.items:
        title = [escape(line.title)] if titled else []
        table.add_row(
            f"[bold]{line.place}[/]", *title, f"[dim]{escape(line.item_id)}[/]", f"{line.score:.3f}"
        )
    if found.items:
        console.print(table)
    return None


def lookalike(
    project: ProjectDir,
    item_id: Annotated[
        str | None,
        typer.Option(
            "--item-id", "--item", help="Id of an item, or of an ad that is an item; or --seeds."
        ),
    ] = None,
    seeds: Annotated[
        Path | None,
        typer.Option(help="Table of users, or a .txt file with one user id per line."),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of users.")] = 1000,
    channel: Annotated[
        str,
        typer.Option(
            help="Channel whose vectors are compared. If omitted: two_tower, or the first with "
            "vectors."
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="File for the users: .parquet, .csv, .tsv or .jsonl."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the users most like given ones, or for an item.

    The lift against random users is measured on held-out events.
    """
    from tamis.jobs import lookalike as job

    report = job(project, item_id=item_id, seeds=seeds, n=n, channel=channel, out=out)
    if as_json:
        return print_json(report.to_dict())
    found, lift = report.found, report.expected_lift
    of = f"{found.seeds:,} users" if found.seeds else "the item's own vector"
    console.print(
        f"{len(found.users):,} users like {of} · by {escape(found.channel)} · version "
        f"{found.version}",
        highlight=False,
    )
    if found.unknown_user_ids:
        some = ", ".join(found.unknown_user_ids[:3])
        count = len(found.unknown_user_ids)
        console.print(f"Nothing is known of {count:,} given users, such as {escape(some)}.")
    if lift is None:
        console.print(f"No lift was measured: {escape(found.note)}", highlight=False)
    else:
        console.print(
            f"Expected lift {lift.lift:.2f} (95 % interval {lift.low:.2f} to {lift.high:.2f}): "
            f"{lift.rate:.2%} of such users liked an item in the held-out events, "
            f"{lift.random_rate:.2%} of random users; measured on {lift.items:,} items.",
            highlight=False,
            soft_wrap=True,
        )
    if report.out is not None:
        console.print(f"Wrote {escape(report.out)}.", highlight=False)
        return None
    table = Table("rank", "user", box=None, padding=(0, 1), pad_edge=False)
    table.add_column("score", justify="right")
    for user in found.users[:20]:
        table.add_row(f"{user.rank}", escape(user.user_id), f"{user.score:.3f}")
    console.print(table)
    return None


def _read(text: str) -> Any:
    """A value written as JSON, such as 30, true or ["FR"]; any other text is itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def serve(
    project: ProjectDir,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    store: Annotated[
        str,
        typer.Option(
            help="Journal of events: redis://host:port/db. If omitted: a file of the project."
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that answer on the port.")
    ] = 1,
    keys: Annotated[
        Path | None,
        typer.Option(help="File of API keys. If omitted: `[serve] keys`, or TAMIS_KEYS."),
    ] = None,
    log_user_ids: Annotated[
        bool | None,
        typer.Option(
            "--log-user-ids/--no-log-user-ids",
            help="Name users in the log. If omitted: as [serve] says.",
        ),
    ] = None,
) -> None:
    """Serve recommendations and take events over HTTP.

    An event counts in the next answer; a version that is published takes over. Other machines need
    an API key: see `tamis keys`.
    """
    from tamis.serve import serve as run

    run(
        project,
        host=host,
        port=port,
        store=store,
        workers=workers,
        keys=keys,
        log_user_ids=log_user_ids,
    )


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of the demo project. If omitted: tamis-demo or tamis-live."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Serve a simulated shop, with and without updates, instead."),
    ] = False,
    minutes: Annotated[float, typer.Option(help="With --live: how long users visit.")] = 5.0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Run the whole cascade on MovieLens-1M.

    Fetch, train, evaluate, recommend, explain. With --live, in the folder tamis-live: two services
    of one simulated world, one of which learns from events every 30 s; the report shows what their
    slates are worth.
    """
    if live:
        return _demo_live(folder, minutes, as_json)
    from tamis.jobs import demo as job

    folder = folder or Path("tamis-demo")

    made = job(folder, device=device, progress=wants_progress(as_json))
    if as_json:
        return print_json(made.to_dict())
    console.print(f"[dim]{escape(made.terms)}\n{escape(made.citation)}[/]\n")
    print_training(made.training)
    console.print()
    result = {k: v for k, v in made.evaluation.to_dict().items() if k != "training"}
    print_evaluation(result, made.evaluation.report)
    console.print()
    print_answer(made.answer)
    print_next(
        ["recommend", made.project, "--user-id", "42", "--explain"],
        ["recommend", made.project, "--user-id", "1", "--why-not", "260"],
        ["serve", made.project],
    )
    return None


def _demo_live(folder: Path | None, minutes: float, as_json: bool) -> None:
    """The live demo, with a table that is renewed as visits come."""
    from rich.live import Live

    from tamis.jobs import demo_live

    place, wanted = folder or Path("tamis-live"), wants_progress(as_json)
    screen = Live(console=console, refresh_per_second=2, transient=True)

    def show(now: LiveDemo) -> None:
        if not screen.is_started and console.is_terminal and not as_json:
            screen.start()  # not before: the preparations show their own progress
        screen.update(_live_table(now))

    try:
        found = demo_live(place, minutes=minutes, on_change=show, progress=wanted)
    finally:
        screen.stop()
    if as_json:
        return print_json(found.to_dict())
    console.print(_live_table(found))
    console.print(f"report: {escape(str(found.report))}", highlight=False, soft_wrap=True)
    print_next(["serve", found.project], ["versions", found.project])
    return None


def _live_table(found: LiveDemo) -> Table:
    """Both services: now, and since the start."""
    elapsed = max((line.periods[-1].seconds for line in found.lines if line.periods), default=0.0)
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title=f"{elapsed:.0f} of {found.seconds:.0f} s · version {escape(found.version)}",
        title_justify="left",
    )
    table.add_column("service")
    headings = ("worth now", "since the start", "of the best", "new items", "delta", "fresh to")
    for heading in (*headings, "p50 ms"):
        table.add_column(heading, justify="right")
    for line in found.lines:
        visited = [period for period in line.periods if period.visits > period.failed]
        if not visited:
            table.add_row(line.name, *("–",) * 7)
            continue
        last = visited[-3:]
        worth = sum(p.reward for p in visited) / len(visited)
        best = sum(p.best for p in visited) / len(visited)
        table.add_row(
            line.name,
            f"{sum(p.reward for p in last) / len(last):.3f}",
            f"{worth:.3f}",
            f"{worth / best:.1%}",
            f"{sum(p.new_items for p in last) / len(last):.1%}",
            str(line.delta or "–"),
            "–" if line.delta_age is None else f"{line.delta_age:.0f} s ago",
            f"{visited[-1].milliseconds:.0f}",
        )
    return table
