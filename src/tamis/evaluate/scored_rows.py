"""Scores labelled rows in blocks of complete requests, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, Hydrate, Queries, Replay
from tamis.features import Rows
from tamis.runtime import Float32

BLOCK = 32_768
"""Approximate number of rows that are hydrated and scored at once."""


@dataclass(frozen=True, eq=False)
class ScoredBlock:
    """The rows of some requests, with their labels and predictions."""

    labels: Float32
    """(n, T)."""
    scores: Mapping[str, Mapping[str, Float32]]
    """{model: {prediction: (n,)}}."""
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    requests: NDArray[np.int64]
    """(n,) each row's request, numbered through all blocks."""
    inputs: Rows
    """The model inputs of the rows."""


def scored_blocks(
    rows: Replay, hydrate: Hydrate, models: Mapping[str, Any]
) -> Iterator[ScoredBlock]:
    """The rows in their order with the predictions of `models`, each as of its request's time."""
    bounds, begin = rows.candidates.indptr, 0
    while begin < len(rows.queries):
        end = int(np.searchsorted(bounds, bounds[begin] + BLOCK, side="right")) - 1
        end = min(max(end, begin + 1), len(rows.queries))
        queries, candidates = _part(rows, begin, end)
        inputs = hydrate(queries, candidates)
        yield ScoredBlock(
            rows.labels[bounds[begin] : bounds[end]],
            {name: model.score_rows(inputs) for name, model in models.items()},
            queries.user[candidates.query],
            candidates.item,
            candidates.query + begin,
            inputs,
        )
        begin = end


def _part(rows: Replay, begin: int, end: int) -> tuple[Queries, Candidates]:
    """The requests [begin, end) with their candidates."""
    bounds = rows.candidates.indptr[begin : end + 1]
    here = slice(int(bounds[0]), int(bounds[-1]))
    columns = {name: values[here] for name, values in rows.candidates.columns.items()}
    candidates = Candidates(bounds - bounds[0], rows.candidates.item[here], columns)
    return rows.queries.part(begin, end), candidates
