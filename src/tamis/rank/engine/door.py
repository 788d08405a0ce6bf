"""The engine of one ranker: rows in, logits out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.features import Layout, Rows
from tamis.rank.backbone import Network
from tamis.rank.engine.gather import Gather, Query
from tamis.rank.engine.session import Session

MOST = 4096
"""Candidates of one run; more are scored in several."""


class Engine:
    """Scores requests with the file that `export` wrote.

    Args:
        directory: the ranker's.
        layout: its rows' layout.
        network: its module, whose tables are read.
        threads: threads of one run.

    Raises VersionError where the file is missing or damaged.
    """

    def __init__(self, directory: Path, layout: Layout, network: Network, threads: int = 1) -> None:
        self._session = Session(directory, threads)
        self._gather = Gather(layout, network.inputs)

    def logits(self, rows: Rows) -> NDArray[np.float32] | None:
        """(n, L) in the rows' order; None where these rows are not few users' candidates."""
        if not len(rows):
            return None
        queries = self._gather.queries(rows)
        if queries is None:
            return None
        return self._scored(rows, queries)

    def _scored(self, rows: Rows, queries: list[Query]) -> NDArray[np.float32]:
        out: NDArray[np.float32] | None = None
        for query in queries:
            user = self._gather.user(rows, query.user)
            for which in _slices(query.rows):
                logits = self._session.run({**user, **self._gather.candidates(rows, which)})
                if len(logits) == len(rows):
                    return logits
                if out is None:
                    out = np.empty((len(rows), logits.shape[1]), np.float32)
                out[which] = logits
        assert out is not None
        return out


def _slices(which: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [which[start : start + MOST] for start in range(0, len(which), MOST)]
