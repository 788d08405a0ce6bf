"""Watch time on items of known medians: what exp(z) ranks by, and how far the seconds are off.

Every item has a duration, a median watch time and a spread of its own; watch times are log-normal
around the median. So E[t/(1+t)], by which exp(z) should rank, is known to any precision, and so is
the best that a monotone map of the score to seconds could do on the test rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from tamis.rank import MMoE
from tamis.schema import DenseFeat, SparseFeat, TaskConfig
from tamis.train import monotone, xauc

ITEMS, USERS, ROWS = 1_000, 2_000, 240_000
SCALE = 20.0
PROTOCOL = (
    "1,000 items with a median watch time of exp(N(3, 1)) seconds and a log-spread of .4 to .9, "
    "seen in 240,000 rows 8:1:1; mmoe with defaults on user id, item id and the item's duration; "
    "xauc_items: exp(z), averaged per item over the test rows, against E[t/(1+t)]; mae: of the "
    "seconds, mapped on the validation rows; best_mae: of the monotone map of the same scores that "
    "is fitted on the test rows themselves"
)
TASK = TaskConfig(name="watch", kind="watch_time", scale=SCALE)


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """XAUC over items and over rows, MAE in seconds and its ratio to the best map's."""
    table, share = watched(seed)
    parts = [table[: int(0.8 * ROWS)], table[int(0.8 * ROWS) : int(0.9 * ROWS)]]
    test = table[int(0.9 * ROWS) :]
    features = [SparseFeat(name="user_id"), SparseFeat(name="item_id"),
                DenseFeat(name="duration", transform="log1p", side="item")]  # fmt: skip
    model = MMoE(features=features, seed=seed).fit(parts[0], parts[1], [TASK])
    scores = model.score_rows(model.labelled(test))
    item, seconds = test["item"].to_numpy(), test["watch"].to_numpy()
    mean = np.bincount(item, scores["watch"], ITEMS) / np.maximum(np.bincount(item), 1)
    best = monotone(scores["watch"], seconds, "median")
    assert best is not None
    found = {
        "xauc_items": xauc(share, mean),
        "xauc_rows": xauc(seconds, scores["watch"]),
        "ideal_xauc_rows": xauc(seconds, share[item]),
        "mae": float(np.abs(scores["watch_seconds"] - seconds).mean()),
        "best_mae": float(np.abs(best(scores["watch"]) - seconds).mean()),
    }
    found["mae_ratio"] = found["mae"] / found["best_mae"]
    say("  ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return found


def watched(seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of who watched what for how long, in a random order; and E[t/(1+t)] per item."""
    draw = np.random.default_rng(seed)
    median = np.exp(draw.normal(3, 1, ITEMS))
    spread = draw.uniform(0.4, 0.9, ITEMS)
    duration = median * np.exp(draw.normal(0.7, 0.5, ITEMS))  # tells a part of it
    item = draw.integers(0, ITEMS, ROWS)
    seconds = median[item] * np.exp(spread[item] * draw.normal(size=ROWS))
    table = pl.DataFrame(
        {
            "user_id": draw.integers(0, USERS, ROWS),
            "item_id": item,
            "item": item,
            "duration": duration[item],
            "watch": seconds,
        }
    )
    normal = draw.normal(size=(1, 20_000))
    t = median[:, None] * np.exp(spread[:, None] * normal) / SCALE
    return table, (t / (1 + t)).mean(1)
