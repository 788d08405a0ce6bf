"""EASE on Gowalla: 40,981 items, one matrix of 6.7 GB, made, inverted and kept in place.

λ is chosen on a tenth of every user's training items, on the part of the catalogue that is liked
most; then the whole matrix is fitted on all of the training file. The files know no order, so every
like votes alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import judge_channel
from tamis.events import Holdout, carve, given, read_pairs, read_sequences
from tamis.recall import EASE
from tamis.train import peak_mb

PROTOCOL = (
    "given train and test files; λ chosen on a tenth of every user's training items, then fitted "
    "on all of them; full ranking, training items masked; recall = found / test items"
)
KS = (10, 20, 50)
TUNE_ITEMS = 12_000


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed, which draws the items that λ is chosen by."""
    test = split(data or standard(), seed)
    say(f"{len(test.train.users):,} users, {len(test.train.items):,} items: {test.protocol}")
    began = perf_counter()
    part = carve(test.train, 0.1, seed=seed)
    config = EASE(tune_items=TUNE_ITEMS, max_gb=16).chosen(
        part.train, FitContext(seed=seed, valid=valid_of(part))
    )
    chosen = perf_counter()
    say(f"chosen in {chosen - began:.0f} s: l2 {config.l2:g}; peak {peak_mb():,.0f} MB")
    before = peak_mb()
    channel = EASE(config).fit(test.train)
    fitted = perf_counter()
    say(f"fit {fitted - chosen:.0f} s; peak {peak_mb():,.0f} MB")
    judged = judge_channel(channel, test, KS)
    say(f"recall {judged.users_per_second:,.0f} users/s; peak {peak_mb():,.0f} MB")
    return {
        **judged.metrics,
        "choose_seconds": chosen - began,
        "fit_seconds": fitted - chosen,
        "users_per_second": judged.users_per_second,
        "peak_mb": peak_mb(),
        "peak_mb_before_fit": before,
    }


def split(path: Path, seed: int) -> Holdout:
    """The split in a folder of train.txt and test.txt, or of such a train file; of a file alone, a
    fifth of every user's items is the test."""
    train = path / "train.txt" if path.is_dir() else path
    other = train.with_name("test.txt")
    if other.exists() and other != train:
        return given(*read_pairs(train, other))
    return carve(read_sequences(train), 0.2, seed=seed)


def standard() -> Path:
    """Where the set lies: under TAMIS_DATA, or in the folder shared beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("TAMIS_DATA", beside)) / "gowalla"
