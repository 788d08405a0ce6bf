"""What further inputs of two_tower and fm and hard negatives bring, each one on and off.

    python -m benchmarks.bench_towers [--model fm] [--users 600] [--items 400] [--seed 1]
                                      [--only shop] [--data FOLDER]

Two logs: a simulated shop, split by time, and a sample of MovieLens-1M's users, split by each
user's last likes. From each training part all events of a tenth of the items, drawn at random, are
removed, so that these items are new. The channel is fitted on it with the histories of
declared features alone (none is declared), and with one or two options changed. Options are judged
on the validation part, which ends where the test part begins; both are reported: NDCG@10 over all
targets, and recall@50 over the targets that are new items, with 95 % intervals (2,000 bootstrap
resamples, paired by user).

Hard negatives are compared within a cascade that recalls by hot and two_tower, as `tamis train`
makes them: the channel two_tower of the evaluation version, with a sampled softmax, with and
without them; on the simulated shop, and on the clicks of KuaiRand in the project that `tamis init`
writes. For the validation part, the project has the events before the test cut alone.

Writes build/bench/towers-MODEL-LOG.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.bench_init import clicks
from numpy.typing import NDArray

from tamis.bundle import Kind, Versions
from tamis.cascade import FitContext
from tamis.data import Dataset, Ragged
from tamis.evaluate import evaluate_channel, ndcg, paired_bootstrap, recall
from tamis.jobs import fetch, init, simulate, train
from tamis.recall import FM, TwoTower
from tamis.service import Parts, ProjectFolder
from tamis.splitting import Holdout, by_time, leave_one_out

BUILD = Path(__file__).parent.parent / "build" / "bench"
MODELS = {"two_tower": TwoTower, "fm": FM}
PLAIN: dict[str, Any] = {"histories": "declared"}
PER_BEHAVIOUR: dict[str, Any] = {"histories": "behaviours"}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "histories per behaviour": (PER_BEHAVIOUR, PLAIN),
    "statistics of users": (PLAIN | {"statistics": "user"}, PLAIN),
    "statistics of items": (PLAIN | {"statistics": "item"}, PLAIN),
    "id dropout 0.2": (PLAIN | {"item_id_dropout": 0.2}, PLAIN),
    "statistics of items, with histories": (
        PER_BEHAVIOUR | {"statistics": "item"},
        PER_BEHAVIOUR,
    ),
    "id dropout 0.2, with histories": (PER_BEHAVIOUR | {"item_id_dropout": 0.2}, PER_BEHAVIOUR),
}
"""{name: (options, the options that they are compared with)}."""
NEW = 0.1
"""Share of the items that the training part does not know."""
PARTS = ("validation", "test")


def shop(words: argparse.Namespace) -> ProjectFolder:
    """The simulated shop; made anew."""
    folder = BUILD / "towers-shop"
    shutil.rmtree(folder, ignore_errors=True)
    simulate(folder, users=words.users, items=words.items, days=20, seed=words.seed, eagerness=1.5)
    return ProjectFolder(folder)


def films() -> ProjectFolder:
    """MovieLens-1M as a project."""
    folder = BUILD / "towers-films"
    if not (folder / "events.csv").exists():
        fetch("movielens-1m", folder)
    init(folder, force=True)
    return ProjectFolder(folder)


def sample(data: Dataset, users: int, seed: int) -> Dataset:
    """The events of some users."""
    chosen = np.random.default_rng(seed).permutation(len(data.users))[:users]
    return replace(data, events=data.events.take(np.isin(data.events.user, chosen)))


def parts(name: str, data: Dataset, new: NDArray[np.int64]) -> Iterator[Holdout]:
    """The validation and the test part, whose training data do not know the items `new`."""
    if name == "shop":
        test = by_time(data, 0.85)
        halves = [by_time(test.train, 0.82), test]
    else:
        halves = [leave_one_out(data, "valid"), leave_one_out(data)]
    for half in halves:
        events = half.train.events
        known = replace(half.train, events=events.take(~np.isin(events.item, new)))
        yield replace(half, train=known, known=known)


def judged(
    channel: TwoTower | FM, half: Holdout, new: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) NDCG@10 over all targets, and recall@50 over new ones; NaN for users without any."""
    lists = evaluate_channel(channel, half, (10, 50)).lists
    at = half.targets
    kept = np.isin(at.values, new)
    cold = Ragged.from_pairs(at.query[kept], at.values[kept], len(half))
    fresh = recall(lists, cold, 50)
    fresh[np.diff(cold.indptr) == 0] = np.nan
    return ndcg(lists, at, 10), fresh


def compared(with_it: NDArray[np.float64], without: NDArray[np.float64]) -> dict[str, float]:
    """Both means, and their difference with its interval, over users with a value."""
    some = np.isfinite(with_it)
    gain = paired_bootstrap(with_it[some], without[some])
    return {
        "users": int(some.sum()),
        "without": float(without[some].mean()),
        "with": float(with_it[some].mean()),
        "difference": gain.mean,
        "low": gain.low,
        "high": gain.high,
    }


def opened(
    name: str, words: argparse.Namespace, text: str = ""
) -> tuple[Dataset, FitContext, NDArray[np.int64]]:
    """A log, what its fits receive without declared features, and the items that are new.

    text: lines of tamis.toml.
    """
    project = shop(words) if name == "shop" else films()
    if text:
        with open(project.root / "tamis.toml", "a", encoding="utf-8") as file:
            file.write(text)
        project = ProjectFolder(project.root)
    data, config = project.data, project.config
    if name != "shop":
        data = sample(data, words.users, words.seed)
    random = np.random.default_rng(words.seed)
    new = random.permutation(len(data.items))[: int(NEW * len(data.items))]
    context = FitContext(seed=words.seed, items=config.items, users=config.users, config=config)
    return data, context, new


def texts(name: str, words: argparse.Namespace) -> dict[str, Any]:
    """The channel that reads the vectors of the items' titles against that without them."""
    lines = '\n[items.text]\ncolumns = ["title"]\n'
    result: dict[str, Any] = {}
    for part in PARTS:
        found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for text in ("", lines):
            data, context, new = opened(name, words, text)
            half = list(parts(name, data, new))[PARTS.index(part)]
            found.append(judged(MODELS[words.model]().fit(half.train, context), half, new))
        pairs = zip(("all", "new"), found[1], found[0], strict=True)
        result[part] = {key: compared(other, plain) for key, other, plain in pairs}
        show(name, "vectors of titles", part, result[part])
    return {"vectors of titles": result}


def inputs(name: str, words: argparse.Namespace) -> dict[str, Any]:
    """Each variant against the defaults, on both parts of one log."""
    data, context, new = opened(name, words)
    found: dict[str, Any] = {variant: {} for variant in VARIANTS}
    for part, half in zip(PARTS, parts(name, data, new), strict=True):
        wanted = {json.dumps(o): o for pair in VARIANTS.values() for o in pair}
        make = MODELS[words.model]
        fits = {
            key: judged(make(**options).fit(half.train, context), half, new)
            for key, options in wanted.items()
        }
        for variant, pair in VARIANTS.items():
            other, plain = (fits[json.dumps(options)] for options in pair)
            found[variant][part] = {
                "all": compared(other[0], plain[0]),
                "new": compared(other[1], plain[1]),
            }
            show(name, variant, part, found[variant][part])
    return found


def kuairand(words: argparse.Namespace) -> ProjectFolder:
    """The clicks and likes of KuaiRand, in the project that `tamis init` writes."""
    folder = BUILD / "towers-kuairand"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clicks(folder, argparse.Namespace(users=10**6, seed=words.seed, data=words.data))
    init(folder, force=True)
    return ProjectFolder(folder)


def without_test(folder: Path, data: Dataset) -> None:
    """Keeps the events that arrived before the test cut alone."""
    cut = by_time(data, 0.9).train.end
    file = next(folder.glob("events.*"))
    if file.suffix == ".parquet":
        events = pl.read_parquet(file)
        events.filter(pl.col("arrival") < cut).write_parquet(file)
    else:
        events = pl.read_csv(file, infer_schema_length=None)
        events.filter(pl.col("time") < cut).write_csv(file)


def rejections(name: str, words: argparse.Namespace) -> dict[str, Any]:
    """The channel of a cascade's evaluation version with hard negatives against that without."""
    make = shop if name == "shop" else kuairand
    result: dict[str, Any] = {}
    for part in PARTS:
        found = [trained(make(words), part, extra) for extra in ("", HARD)]
        result[part] = {"all": compared(found[1], found[0])}
        show(name, "hard negatives", part, result[part])
    return {"hard negatives": result}


HARD = 'hard_negatives = "replays"\n'


def trained(project: ProjectFolder, part: str, extra: str) -> NDArray[np.float64]:
    """(Q,) NDCG@10 of the channel of a trained evaluation version."""
    folder = project.root
    if part == "validation":
        without_test(folder, project.data)
    file = folder / "tamis.toml"
    text = file.read_text("utf-8").replace("= 1000", "= 200").replace("epochs = 3\n", "")
    head, *sections = text.split("\n[")
    dropped = "cascade.channels."
    kept = ("cascade.channels.hot]", "cascade.channels.two_tower]")
    chosen = [s for s in sections if not s.startswith(dropped) or s.startswith(kept)]
    text = "\n[".join([head, *chosen])
    anchor = "[cascade.channels.two_tower]\n"
    file.write_text(text.replace(anchor, f"{anchor}negatives = 1000\n{extra}"), "utf-8")
    train(folder, only=Kind.EVALUATION)
    version = Versions(folder).current(Kind.EVALUATION)
    project = ProjectFolder(folder)
    cut = version.manifest.data_until
    half = by_time(project.data, float((project.data.events.time < cut).mean()))
    channel = Parts.open(version).channels["two_tower"]
    return ndcg(evaluate_channel(channel, half, (10,)).lists, half.targets, 10)


def show(log: str, variant: str, part: str, values: dict[str, Any]) -> None:
    """Prints one row of the table of the page."""
    cells = [
        f"{v['without']:.4f} | {v['with']:.4f} | {v['difference']:+.4f} "
        f"[{v['low']:+.4f}, {v['high']:+.4f}] ({v['users']} users)"
        for v in values.values()
    ]
    print(f"| {log} | {variant} | {part} | {' | '.join(cells)} |", flush=True)


RUNS = {"": inputs, "rejections": rejections, "texts": texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("users", 600), ("items", 400), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", choices=list(MODELS), default="two_tower")
    runs = ["shop", "films", "rejections shop", "rejections kuairand", "texts shop", "texts films"]
    parser.add_argument("--only", choices=runs, nargs="*", default=runs)
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TAMIS_DATA", shared)))
    words = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    for run in words.only:
        *kind, log = run.split()
        result = RUNS[kind[0] if kind else ""](log, words)
        file = BUILD / f"towers-{words.model}-{run.replace(' ', '-')}.json"
        file.write_text(json.dumps(result | {"arguments": str(words)}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
