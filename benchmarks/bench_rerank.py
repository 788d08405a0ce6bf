"""Re-rank: 500 candidates to a slate of 20, with MMR alone, with all kinds of rules, and by NumPy.

    python -m benchmarks.bench_rerank
    python -m benchmarks.bench_rerank --rounds 2000 --width 64

MMR, and DPP with two limits, a quota, a pin and advertisements, run as in a request: by
`tamis.cascade.arrange`. The NumPy versions are a DPP without any rule: the kernel as one matrix,
and the greedy choice by determinants (of all candidates at once), or by one row of a Cholesky
factor per place, as published by Chen et al. (2018). They take turns, so that a slower moment of
the machine meets all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from tamis.cascade import Candidates, Queries, arrange
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import DPP, MMR, Ads, AtMost, Pins, Quota

NAMES = ("MMR alone", "all rules", "NumPy DPP, determinants", "NumPy DPP, Cholesky")
ITEMS, CANDIDATES, PLACES, THETA = 20_000, 500, 20, 10.0


def catalogue(width: int) -> Dataset:
    """Items with a vector, a category, an author, a price, and one advertisement in twenty."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(50, width))
    group = draw.integers(0, 50, ITEMS)
    vectors = (centres[group] + draw.normal(size=(ITEMS, width))).astype(np.float32)
    frame = pl.DataFrame(
        {
            "vector": vectors.tolist(),
            "category": group % 20,
            "author": draw.integers(0, 3_000, ITEMS),
            "price": draw.integers(1, 100, ITEMS),
            "sponsored": np.arange(ITEMS) % 20 == 0,
            "bid": draw.random(ITEMS),
        }
    )
    ids = pl.Series([f"i{k}" for k in range(ITEMS)])
    none: list[Any] = [np.zeros(0, t) for t in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")]
    events = Events(*none)
    users = Table("users", ids[:0], pl.DataFrame())
    return Dataset(users, Table("items", ids, frame), events, ())


def ranked(seed: int) -> tuple[Queries, Candidates]:
    """A ranked list of one request, with predicted clicks; item 7 is among it."""
    draw = np.random.default_rng(seed)
    others = draw.choice(np.arange(8, ITEMS), CANDIDATES - 1, replace=False)
    item = draw.permutation(np.append(others, 7)).astype(np.int32)
    value = np.sort(draw.random(CANDIDATES).astype(np.float32))[::-1].copy()
    one = np.zeros(1, np.int64)
    queries = Queries(np.zeros(1, np.int32), one, History.empty(1), Ragged.empty(1))
    predictions = {"click": value * np.float32(0.1)}
    indptr = np.array([0, CANDIDATES])
    return queries, Candidates(indptr, item, {"value": value}, predictions)


def kernel_of(vectors: Any, value: Any) -> Any:
    """The matrix L of the DPP."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    quality = np.exp(THETA * (value - value.min()) / (value.max() - value.min()) / 2)
    return quality[:, None] * (unit @ unit.T) * quality[None, :]


def by_determinants(vectors: Any, value: Any) -> list[int]:
    """The greedy choice as defined: the largest log det L of the placed items and one more."""
    kernel = kernel_of(vectors, value).astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < PLACES:
        left = np.setdiff1d(np.arange(len(value)), chosen)
        placed = np.broadcast_to(np.array(chosen, np.int64), (len(left), len(chosen)))
        sets = np.concatenate([placed, left[:, None]], axis=1)
        gains = np.linalg.slogdet(kernel[sets[:, :, None], sets[:, None, :]])[1]
        chosen.append(int(left[np.argmax(gains)]))
    return chosen


def by_cholesky(vectors: Any, value: Any) -> list[int]:
    """Greedy MAP inference as published: the whole kernel, then one row of Cholesky per place."""
    kernel = kernel_of(vectors, value)
    factor, gain = np.zeros((PLACES, len(value))), kernel.diagonal().copy()
    chosen = [int(np.argmax(gain))]
    while len(chosen) < PLACES:
        k, last = len(chosen) - 1, chosen[-1]
        row = (kernel[last] - factor[:k, last] @ factor[:k]) / np.sqrt(gain[last])
        factor[k] = row
        gain -= row**2
        gain[last] = -np.inf
        chosen.append(int(np.argmax(gain)))
    return chosen


def measured(rounds: int, width: int) -> dict[str, list[float]]:
    """Seconds of each way, one after another for each ranked list."""
    data = catalogue(width)
    vector = {"similarity": "vector", "column": "vector"}
    mmr = {"mmr": MMR(theta=0.7, **vector).fit(data)}
    rules = {
        "dpp": DPP(theta=THETA, **vector).fit(data),
        "cheap": Quota(where="price < 30", share=0.3).fit(data),
        "authors": AtMost(column="author", limit=None, slate=2).fit(data),
        "categories": AtMost(limit=2, window=5).fit(data),
        "ads": Ads(places=[4, 12], value="bid * click").fit(data),
        "pins": Pins(items=["i7"], places=[1]).fit(data),
    }
    table = np.stack(data.items.frame["vector"].to_list()).astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = perf_counter()
        result = work()
        seconds[name].append(perf_counter() - start)
        return result

    for seed in range(rounds):
        queries, lists = ranked(seed)
        timed("MMR alone", lambda q=queries, c=lists: arrange(mmr, q, c, PLACES))
        whole = timed("all rules", lambda q=queries, c=lists: arrange(rules, q, c, PLACES))
        value = lists.columns["value"].astype(np.float64)
        found = timed(NAMES[3], lambda c=lists, v=value: by_cholesky(table[c.item], v))
        if seed % 20 == 0:
            defined = timed(NAMES[2], lambda c=lists, v=value: by_determinants(table[c.item], v))
            assert found == defined
        assert not whole.broken(), whole.broken()
    return {name: times[len(times) // 10 :] for name, times in seconds.items()}  # after warm-up


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1_000, help="ranked lists (default: 1000)")
    parser.add_argument("--width", type=int, default=64, help="length of vectors (default: 64)")
    given = parser.parse_args()
    seconds = measured(given.rounds, given.width)
    print(f"{CANDIDATES} candidates, {PLACES} places, vectors of {given.width} numbers")
    print(f"{'':<28}{'p50 µs':>9}{'p95 µs':>9}")
    p50 = {}
    for name, times in seconds.items():
        p50[name], p95 = np.percentile(np.array(times) * 1e6, [50, 95])
        print(f"{name:<28}{p50[name]:>9.0f}{p95:>9.0f}")
    mmr, rules, naive, fast = (p50[name] for name in NAMES)
    print(f"all rules ÷ MMR alone: {rules / mmr:.2f} (target: at most 1.5)")
    print(f"all rules ÷ NumPy by determinants: {rules / naive:.3f} (target: at most 0.1)")
    print(f"all rules ÷ NumPy by Cholesky: {rules / fast:.2f}")


if __name__ == "__main__":
    main()
