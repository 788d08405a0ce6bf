"""What the lines of neighbourhood channels share: options chosen on a tenth of the train items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.recall import gowalla, peak_mb

from tamis.data import Dataset
from tamis.evaluate import evaluate_channel
from tamis.splitting import carve

PROTOCOL = (
    "given train and test files; options chosen on a tenth of every user's training items, then "
    "fitted on all of them; full ranking, training items masked; recall = found / test items"
)
KS = (10, 20, 50)
Options = dict[str, Any]


def chosen(
    kind: type[Any],
    train: Dataset,
    turns: Iterable[list[Options]],
    seed: int,
    say: Callable[[str], None],
) -> Options:
    """The options of best recall@20 on held-out items: turn by turn, each from the best so far."""
    part = carve(train, 0.1, seed=seed)
    best: Options = {}
    tried: dict[str, float] = {}
    for turn in turns:
        for change in turn:
            options = {**best, **change}
            if str(options) not in tried:
                evaluated = evaluate_channel(kind(**options).fit(part.train), part, (20,))
                tried[str(options)] = evaluated.metrics["recall@20"]
                say(f"validation recall@20 {tried[str(options)]:.4f} with {options}")
        best = max(({**best, **change} for change in turn), key=lambda o: tried[str(o)])
    return best


def line(
    kind: type[Any],
    turns: Iterable[list[Options]],
    seed: int,
    data: Path | None,
    say: Callable[[str], None],
) -> dict[str, float]:
    """One seed, which draws the items that the options are chosen by."""
    split = gowalla(data)
    say(f"{len(split.train.users):,} users, {len(split.train.items):,} items: {split.protocol}")
    began = perf_counter()
    options = chosen(kind, split.train, turns, seed, say)
    ready = perf_counter()
    channel = kind(**options).fit(split.train)
    fitted = perf_counter()
    evaluated = evaluate_channel(channel, split, KS)
    say(f"chosen {options}; recall@20 {evaluated.metrics['recall@20']:.4f}")
    plain = evaluate_channel(kind().fit(split.train), split, KS)
    say(f"with the package's defaults {plain.metrics['recall@20']:.4f}")
    return {
        **evaluated.metrics,
        "defaults_recall@20": plain.metrics["recall@20"],
        "choose_seconds": ready - began,
        "fit_seconds": fitted - ready,
        "users_per_second": evaluated.users_per_second,
        "peak_mb": peak_mb(),
    }
