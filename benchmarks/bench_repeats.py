"""What the channel `again` and the inputs of own items are worth where users buy again, or do not.

    python -m benchmarks.bench_repeats [--users 800] [--items 1500] [--seed 1]

Two simulated shops: in one, users come back for nine in ten of the consumables that they bought; in
the other, nobody does. In each, the same cascade is trained without `again` and with
`repeats = false`, and with both. No filter removes seen items, so an item that the user knows is a
target like any other. Both cascades recommend to the users with a history at the test cut; NDCG@10
against their positive events after it, with 95 % bootstrap intervals over users (2,000 resamples),
of the difference paired by user. Writes build/bench/repeats.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.bundle import Kind
from tamis.data import Ragged, read_dataset
from tamis.evaluate import bootstrap_mean, ndcg, paired_bootstrap
from tamis.jobs import simulate, train
from tamis.service import Recommender

BUILD = Path(__file__).parent.parent / "build" / "bench"
RATES = (0.9, 0.0)
DEPTH = 10
BLOCK = 128


def declared(text: str, *, repeats: bool) -> str:
    """The shop's tamis.toml without a filter of seen items, and with or without `again`."""
    wanted = "[cascade.channels.again]\nquota = 100\n\n" if repeats else ""
    sections: list[str] = []
    for section in text.split("\n["):
        if section.startswith(("cascade.filters.seen]", "cascade.channels.again]")):
            continue
        sections.append(section)
    text = "\n[".join(sections).replace("= 1000", "= 300")
    text = text.replace("[cascade.prerank]", f"{wanted}[cascade.prerank]")
    return f"repeats = {str(repeats).lower()}\n{text}"


def made(folder: Path, words: argparse.Namespace, rate: float, *, repeats: bool) -> Path:
    """A trained project with its evaluation version; made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    simulate(
        folder,
        users=words.users,
        items=words.items,
        days=words.days,
        seed=words.seed,
        eagerness=1.5,
        repeat_rate=rate,
        repeat_gap_days=4.0,
    )
    file = folder / "tamis.toml"
    file.write_text(declared(file.read_text("utf-8"), repeats=repeats), "utf-8")
    train(folder, only=Kind.EVALUATION)
    return folder


def qualities(folder: Path) -> tuple[NDArray[np.float64], float]:
    """(users,) NDCG@10 of the users with a history, and the share of known items among targets."""
    recommender = Recommender.open(folder, Kind.EVALUATION)
    parts, cut = recommender.parts, recommender.manifest.data_until
    data = read_dataset(parts.config, folder)[0]
    events = data.events
    after = data.positive & (events.time >= cut) & (events.arrival >= cut)
    known = data.as_of(cut)
    returns = np.unique(known.events.user[known.positive])
    after &= np.isin(events.user, returns)
    names, query = np.unique(events.user[after], return_inverse=True)
    items = parts.items.rows(data.items.ids)[events.item[after]]
    targets = Ragged.from_pairs(query, items, len(names))
    had = Ragged.from_pairs(
        known.events.user[known.positive].astype(np.int64),
        known.events.item[known.positive],
        len(data.users),
    )
    pairs = events.take(after)
    repeated = float(had.contains(pairs.user.astype(np.int64), pairs.item).mean())
    users = parts.users.rows(data.users.ids)[names]
    slates = []
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        queries = parts.queries(block, np.full(len(block), cut, dtype=np.int64))
        queries = recommender.cascade.retrieval.with_exclusions(queries)
        slates.append(recommender.cascade.run(queries, DEPTH).slate.matrix(DEPTH))
    return ndcg(np.concatenate(slates), targets, DEPTH), repeated


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("users", 800), ("items", 1500), ("days", 30), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    words = parser.parse_args()
    result: dict[str, Any] = {"arguments": vars(words), "shops": []}
    print("| repeat rate | known items among targets | users | without | with both | difference |")
    print("|---|---|---|---|---|---|")
    for rate in RATES:
        found: list[NDArray[np.float64]] = []
        share = 0.0
        for repeats in (False, True):
            folder = BUILD / f"repeats-{rate:g}-{'with' if repeats else 'without'}"
            each, share = qualities(made(folder, words, rate, repeats=repeats))
            found.append(each)
        without, both = (bootstrap_mean(each) for each in found)
        gain = paired_bootstrap(found[1], found[0])
        print(
            f"| {rate:g} | {share:.1%} | {len(found[0])} | "
            f"{without.mean:.4f} [{without.low:.4f}, {without.high:.4f}] | "
            f"{both.mean:.4f} [{both.low:.4f}, {both.high:.4f}] | "
            f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] |",
            flush=True,
        )
        intervals = {"without": without, "with": both, "difference": gain}
        result["shops"].append(
            {"repeat_rate": rate, "known_share": share, "users": len(found[0])}
            | {name: interval.to_dict() for name, interval in intervals.items()}
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "repeats.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
