"""What further inputs of the two towers and hard negatives bring, each one on and off.

    python -m benchmarks.bench_towers [--users 600] [--items 400] [--seed 1] [--only shop]

Two logs: a simulated shop, split by time, and a sample of MovieLens-1M's users, split by each
user's last likes. From each training part all events of a tenth of the items, drawn at random, are
removed, so that these items are new. The channel two_tower is fitted on it with the histories of
declared features alone (none is declared), and with one or two options changed. Options are judged
on the validation part, which ends where the test part begins; both are reported: NDCG@10 over all
targets, and recall@50 over the targets that are new items, with 95 % intervals (2,000 bootstrap
resamples, paired by user).

Hard negatives are compared within a cascade of the simulated shop that recalls by hot and
two_tower, as `tamis train` makes them: the channel two_tower of the evaluation version, with a
sampled softmax, with and without them.

Writes build/bench/towers.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.bundle import Kind, Versions
from tamis.cascade import FitContext
from tamis.data import Dataset, Ragged
from tamis.evaluate import evaluate_channel, ndcg, paired_bootstrap, recall
from tamis.jobs import fetch, init, simulate, train
from tamis.recall import TwoTower
from tamis.service import Parts, ProjectFolder
from tamis.splitting import Holdout, by_time, leave_one_out

BUILD = Path(__file__).parent.parent / "build" / "bench"
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
    if not (folder / "tamis.toml").exists():
        fetch("movielens-1m", folder)
        init(folder)
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
    channel: TwoTower, half: Holdout, new: NDArray[np.int64]
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


def inputs(name: str, words: argparse.Namespace) -> dict[str, Any]:
    """Each variant against the defaults, on both parts of one log."""
    project = shop(words) if name == "shop" else films()
    data, config = project.data, project.config
    if name != "shop":
        data = sample(data, words.users, words.seed)
    random = np.random.default_rng(words.seed)
    new = random.permutation(len(data.items))[: int(NEW * len(data.items))]
    context = FitContext(seed=words.seed, items=config.items, users=config.users, config=config)
    found: dict[str, Any] = {variant: {} for variant in VARIANTS}
    for part, half in zip(PARTS, parts(name, data, new), strict=True):
        wanted = {json.dumps(o): o for pair in VARIANTS.values() for o in pair}
        fits = {
            key: judged(TwoTower(**options).fit(half.train, context), half, new)
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


def rejections(words: argparse.Namespace) -> dict[str, Any]:
    """The channel of a cascade's evaluation version with hard negatives against that without."""
    found: list[NDArray[np.float64]] = []
    for extra in ("", 'hard_negatives = "replays"\n'):
        folder = shop(words).root
        file = folder / "tamis.toml"
        head, *sections = file.read_text("utf-8").replace("= 1000", "= 200").split("\n[")
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
        found.append(ndcg(evaluate_channel(channel, half, (10,)).lists, half.targets, 10))
    result = {"test": {"all": compared(found[1], found[0])}}
    show("shop", "hard negatives", "test", result["test"])
    return {"hard negatives": result}


def show(log: str, variant: str, part: str, values: dict[str, Any]) -> None:
    """Prints one row of the table of the page."""
    cells = [
        f"{v['without']:.4f} | {v['with']:.4f} | {v['difference']:+.4f} "
        f"[{v['low']:+.4f}, {v['high']:+.4f}] ({v['users']} users)"
        for v in values.values()
    ]
    print(f"| {log} | {variant} | {part} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("users", 600), ("items", 400), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=["shop", "films", "rejections"], default=None)
    words = parser.parse_args()
    result: dict[str, Any] = {"arguments": vars(words)}
    for name in ("shop", "films"):
        if words.only in (None, name):
            result[name] = inputs(name, words)
    if words.only in (None, "rejections"):
        result["rejections"] = rejections(words)
    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / f"towers{'' if words.only is None else f'-{words.only}'}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
