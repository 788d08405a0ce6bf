"""Stage loss: the stage at which each held-out positive was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.data import Ragged
from tamis.evaluate._membership import member
from tamis.runtime import Bool

STAGES: tuple[str, ...] = (
    "not_recalled",
    "filtered",
    "prerank_cut",
    "rank_cut",
    "rerank_displaced",
    "shown",
)
"""In the order of a request; the keys of the report."""


@dataclass(frozen=True, eq=False)
class StageRecord:
    """Item rows that remain after each stage, as Q lists; their order does not matter."""

    recalled: Ragged
    """After the merge of the channels."""
    filtered: Ragged
    """Kept by the filters."""
    preranked: Ragged
    """Kept by pre-rank; the same as `filtered` where there is no pre-rank."""
    ranked: Ragged
    """The top n by fused value."""
    slate: Ragged
    """The n that were shown after re-rank."""
    excluded: Ragged | None = None
    """Item rows excluded by filters before recall; positives among them count as filtered."""


def lost_at(positives: Ragged, record: StageRecord) -> np.ndarray:
    """(positives,) uint8: index into STAGES of the stage at which each positive was lost or shown.

    A positive in the slate counts as shown, even if it was ranked below the top n. Every other one
    was lost at the first stage after which it is missing.
    """
    stage = np.full(len(positives.values), STAGES.index("rerank_displaced"), np.uint8)
    undecided = np.ones(len(stage), np.bool_)

    def settle(name: str, here: Bool) -> None:
        stage[undecided & here] = STAGES.index(name)
        undecided[here] = False

    settle("shown", member(positives, record.slate))
    if record.excluded is not None:
        settle("filtered", member(positives, record.excluded))
    settle("not_recalled", ~member(positives, record.recalled))
    settle("filtered", ~member(positives, record.filtered))
    settle("prerank_cut", ~member(positives, record.preranked))
    settle("rank_cut", ~member(positives, record.ranked))
    return stage


def stage_loss(positives: Ragged, record: StageRecord) -> dict[str, float]:
    """The share of the held-out positives that were lost or shown at each of STAGES; the sum is 1.

    All NaN without positives.
    """
    counts = np.bincount(lost_at(positives, record), minlength=len(STAGES))
    total = counts.sum()
    return {
        name: float(count / total) if total else float("nan")
        for name, count in zip(STAGES, counts, strict=True)
    }
