"""The command line: each command reads its words, calls one documented function, prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tamis.cli import show
from tamis.schema import ConfigError, TamisError

app = typer.Typer(
    name="tamis",
    help="From raw event logs to explained slates: recall, filter, pre-rank, rank, re-rank.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

ProjectDir = Annotated[Path, typer.Argument(help="The project's folder (holds tamis.toml).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Device = Annotated[str, typer.Option(help="Where models train: cpu, cuda, cuda:1 …")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with your tables (CSV, Parquet, JSONL).")],
    name: Annotated[str | None, typer.Option(help="Project's name; default: the folder's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing tamis.toml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at the tables of a folder and write a commented tamis.toml for them."""
    from tamis.jobs import init as job

    show.init(job(folder, name=name, force=force), as_json)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="movielens-100k or movielens-1m; with --from amazon-beauty, gowalla, foursquare, "
            "frappe, kuairand, or funnel (any log of views, carts and purchases)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write events, items and users to.")],
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the files of a set that is not downloaded."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set (terms and citation shown) and write it as plain tables."""
    from tamis.jobs import fetch as job

    show.fetch(job(name, out, folder=folder, progress=show.wants_progress(as_json)), as_json)


@app.command()
def doctor(project: ProjectDir, as_json: AsJson = False) -> None:
    """Say what is wrong or suspicious in a project's data before hours are spent on it."""
    from tamis.jobs import doctor as job

    findings = job(project)
    show.doctor(findings, as_json)
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


@app.command()
def train(
    project: ProjectDir,
    only: Annotated[
        str | None, typer.Option(help="evaluation or serving; default: both versions.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="rank: refit the ranker alone, in the versions there are."),
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train the whole cascade: an evaluation version, and a serving version on all data."""
    from tamis.jobs import train as job
    from tamis.train import allow_kept_memory

    allow_kept_memory()
    report = job(
        project, only=only, stage=stage, device=device, progress=show.wants_progress(as_json)
    )
    show.train(report, as_json)


@app.command()
def compare(
    stage: Annotated[str, typer.Argument(help="What is compared: rank.")],
    project: Annotated[
        Path | None, typer.Argument(help="The project's folder; not with --table.")
    ] = None,
    models: Annotated[
        str, typer.Option(help="Rankers, by commas: deepfm,dcnv2,din,mmoe,ple; default: a few.")
    ] = "",
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, for every ranker that has the option."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A table of labelled rows, instead of a project.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="With --table: judging rows; default: a random tenth.")
    ] = None,
    label: Annotated[
        str, typer.Option(help="With --table: label columns of 0 and 1, by commas.")
    ] = "label",
    features: Annotated[
        Path | None,
        typer.Option(help="With --table: TOML file of [[features]]; default: guessed."),
    ] = None,
    key: Annotated[
        str, typer.Option(help="With --table: columns that name a row, by commas.")
    ] = "",
    group: Annotated[
        str | None, typer.Option(help="With --table: column of the request, for NDCG.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --table: folder to leave the best ranker in.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture; default: compare-rank.png in PROJECT or --out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="With --table: of the fits and the held-out rows.")] = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Fit several rankers on the same rows: quality, training speed, latency, size in one table.

    On a project: the rows by which `train` chooses its settings; nothing is published. With
    --table: the rows of a file (`--table train.csv --valid valid.csv --label label`); --out keeps
    the best ranker for `tamis score`.
    """
    from tamis.cli import show_rank

    comparison = show_rank.run_comparison(
        stage,
        project,
        models=models,
        options=options or [],
        table=table,
        rows={
            "valid": valid,
            "label": label,
            "features": features,
            "keys": key,
            "group": group,
            "out": out,
            "seed": seed,
        },
        plot=plot,
        device=device,
        progress=show.wants_progress(as_json),
    )
    show_rank.comparison(comparison, as_json)


@app.command()
def score(
    folder: Annotated[
        Path, typer.Argument(help="A trained project, or what `compare rank --out` left.")
    ],
    table: Annotated[Path, typer.Argument(help="Rows to score (CSV, TSV, Parquet, JSONL).")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .tsv, .parquet or .jsonl.")],
    version: Annotated[str, typer.Option(help="Of a project: serving or evaluation.")] = "serving",
    as_json: AsJson = False,
) -> None:
    """Score the rows of a table by the ranker: their keys and scores are written, in order.

    A project's rows name a user, an item and (if wanted) a time, in the columns of its [events].
    """
    from tamis.cli import show_rank
    from tamis.jobs import score as job

    done = job(folder, table, out, version=version, progress=show.wants_progress(as_json))
    show_rank.scored(done, as_json)


@app.command()
def versions(
    project: ProjectDir,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file against its checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of a project; a star marks those in use."""
    from tamis.jobs import versions as job

    show.versions(job(project, verify=verify), as_json, verify)


@app.command()
def evaluate(
    project: ProjectDir,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML report; default: PROJECT/report.html, channels.html or rank.html."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="rank: judge the ranker alone, per task and segment, and calibration."),
    ] = None,
    channels: Annotated[
        bool,
        typer.Option("--channels", help="Fit and judge every recall channel alone and merged."),
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(
            help="With --channels: time (the test cut), leave-one-out (strict: the validation "
            "item is not trained on), leave-one-out-refit, or given (--train, --test)."
        ),
    ] = "time",
    train: Annotated[
        Path | None, typer.Option(help="With --protocol given: events to learn from.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="With --protocol given: events to be found.")
    ] = None,
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="With --channels: do not mask seen items.")
    ] = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Judge the evaluation version on what came after the test cut; write an HTML report.

    With --channels nothing trained is used: every channel of tamis.toml is fitted on the
    protocol's train part and judged by what it recalls of the rest. With --stage rank the
    evaluation version's ranker (and pre-ranker) is held against the rows of the test window.
    """
    if stage is not None:
        if stage != "rank":
            raise ConfigError(f"--stage {stage}: it is rank; --channels judges recall")
        if channels:
            raise ConfigError("--stage rank and --channels judge different things: give one")
        from tamis.jobs import evaluate_rank

        ranked = evaluate_rank(project, report=report, progress=show.wants_progress(as_json))
        return show.evaluate_rank(ranked, as_json)
    if channels:
        from tamis.jobs import evaluate_channels
        from tamis.train import allow_kept_memory

        allow_kept_memory()
        judged = evaluate_channels(
            project,
            protocol=protocol,
            train=train,
            test=test,
            mask_seen=not keep_seen,
            report=report,
            device=device,
            progress=show.wants_progress(as_json),
        )
        return show.evaluate_channels(judged, as_json)
    if protocol != "time" or train or test or keep_seen:
        raise ConfigError(
            "--protocol, --train, --test and --keep-seen are for --channels: the evaluation "
            "version of the whole cascade knows what it knew at the test cut"
        )
    from tamis.jobs import evaluate as job

    return show.evaluate(
        job(project, report=report, progress=show.wants_progress(as_json)), as_json
    )


@app.command()
def recall(
    project: ProjectDir,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="For everybody; must be said.")
    ] = False,
    k: Annotated[
        int | None, typer.Option("--k", help="Items per list; default: the channel's quota + 50.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="redis://host:port/db or env:NAME; default: where the channels read."),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Names, by commas; default: those declared offline, or all.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Default: the serving version.")] = None,
    keep: Annotated[int, typer.Option(help="Of how many versions lists are kept.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Recall for all users at once: write lists and vectors to a store that requests read."""
    from tamis.jobs import recall as job

    report = job(
        project,
        all_users=all_users,
        k=k,
        store=store,
        channels=[name.strip() for name in channels.split(",")] if channels else (),
        version=version,
        keep=keep,
        progress=show.wants_progress(as_json),
    )
    show.recall(report, as_json)


@app.command()
def recommend(
    project: ProjectDir,
    user: Annotated[
        str | None, typer.Option(help="External id; unknown users get hot items.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Places of the slate.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An item id to leave out.")] = None,
    interests: Annotated[
        list[str] | None, typer.Option(help="A declared interest: a category of the items.")
    ] = None,
    latitude: Annotated[
        float | None, typer.Option(min=-90, max=90, help="Degrees north; goes with --longitude.")
    ] = None,
    longitude: Annotated[
        float | None, typer.Option(min=-180, max=180, help="Degrees east; goes with --latitude.")
    ] = None,
    city: Annotated[str | None, typer.Option(help="Where the request comes from.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for each item why it is there.")
    ] = False,
    why_not: Annotated[str | None, typer.Option(help="Say where this item was lost.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user from the serving version."""
    from tamis.jobs import open as open_project

    found = open_project(project)
    found.recommender.recommend()  # warm: the time shown is a request's, not that of starting up
    answer = found.recommend(
        user,
        n,
        exclude=exclude or (),
        interests=interests or (),
        latitude=latitude,
        longitude=longitude,
        city=city,
        explain=explain,
        why_not=why_not,
    )
    show.answer(answer, as_json)


@app.command()
def serve(
    project: ProjectDir,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Answer POST /v1/recommend over HTTP from the serving version."""
    from tamis.serve import serve as run

    run(project, host=host, port=port)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the new project.")],
    items: Annotated[int, typer.Option(min=1, help="Items.")] = 200_000,
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 50_000,
    days: Annotated[int, typer.Option(min=1, help="Days of traffic.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same tables.")] = 0,
    eagerness: Annotated[
        float, typer.Option(help="Added to the log-odds of every action; 2 = many purchases.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Make a project of a simulated shop and feed, with its true probabilities beside it."""
    from tamis.jobs import simulate as job

    made = job(
        out,
        items=items,
        users=users,
        days=days,
        seed=seed,
        eagerness=eagerness,
        progress=show.wants_progress(as_json),
    )
    show.simulate(made, as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder of the demo project.")] = Path(
        "tamis-demo"
    ),
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """The whole cascade on MovieLens-1M: fetch, train, evaluate, recommend, explain."""
    from tamis.jobs import demo as job
    from tamis.train import allow_kept_memory

    allow_kept_memory()
    show.demo(job(folder, device=device, progress=show.wants_progress(as_json)), as_json)


def main() -> None:
    """Entry point of the `tamis` command: errors made to be read, exit code 1."""
    try:
        app()
    except TamisError as error:
        show.error(error)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        sys.exit(1)
