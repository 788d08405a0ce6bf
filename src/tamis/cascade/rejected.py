"""Candidates that pre-rank and rank reject: hard negatives of recall.

    kept by the filters ── pre-rank ──> preranked ── rank ──> ranked ── re-rank ──> slate
                           │ those it does not keep           │ the lower half, behind the slate

One rule for the replays of a training and for the answers of a service.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.insertion import INSERTED
from tamis.cascade.order import RECALL_ORDER
from tamis.cascade.runner import Cascade, Outcome
from tamis.runtime import Bool, Int32

REJECTING_STAGES = ("prerank", "rank")
"""The stages that reject candidates, in their order."""
_DRAW = 1
"""Keeps the draw apart from others of the same request, such as that of sampled slates."""


def rejected_by_rank(ranked: Candidates, slate: int) -> Bool:
    """(n,) whether rank rejects each candidate of ranked lists, which are best first.

    It rejects those in the lower half of a list, the first `slate` apart.
    """
    sizes = np.diff(ranked.indptr)
    place = np.arange(len(ranked)) - np.repeat(ranked.indptr[:-1], sizes)
    return place >= np.repeat(np.maximum(slate, -(-sizes // 2)), sizes)


def drawn_rejections(cascade: Cascade, outcome: Outcome, most: int) -> dict[str, Int32]:
    """Stage → at most `most` item rows that it rejected in the answer to one request.

    They are drawn uniformly, by the seed of the request. There are none where the stages did not
    judge the candidates by themselves: they or their features failed, the request boosts items, or
    recall orders the candidates of a new user. Items that a re-rank rule has brought along are not
    rejected, because recall did not choose them.
    """
    queries = outcome.queries
    failed = any(note.partition(":")[0] in _JUDGING for note in outcome.degraded)
    by_request = "boost" in outcome.ranked.columns
    if failed or by_request or cascade.order_text(queries) == RECALL_ORDER:
        return {}
    seed = 0 if queries.seed is None else int(queries.seed[0])
    random = np.random.default_rng([seed % 2**64, _DRAW])
    cut = ~np.isin(outcome.kept.item, outcome.preranked.item)
    low = rejected_by_rank(outcome.ranked, len(outcome.slate))
    low &= ~np.isin(outcome.ranked.item, outcome.slate.item)
    lists = ((outcome.kept, cut), (outcome.ranked, low))
    drawn = {
        stage: _drawn(candidates, rejected, most, random)
        for stage, (candidates, rejected) in zip(REJECTING_STAGES, lists, strict=True)
    }
    return {stage: rows for stage, rows in drawn.items() if len(rows)}


_JUDGING = ("features", *REJECTING_STAGES)
"""The stages that must not have failed."""


def _drawn(
    candidates: Candidates, rejected: NDArray[np.bool_], most: int, random: np.random.Generator
) -> Int32:
    """At most `most` item rows of the rejected candidates (n,), in a random order."""
    if INSERTED in candidates.columns:
        rejected = rejected & ~candidates.columns[INSERTED].astype(np.bool_)
    items = candidates.item[rejected]
    return random.choice(items, min(most, len(items)), replace=False)
