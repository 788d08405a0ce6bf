"""Scores rows with a ranker's exported network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.features import Layout, Rows
from tamis.rank._engine.example import example
from tamis.rank._engine.gather import Gather, UserRows
from tamis.rank._engine.session import FOLDER, Session
from tamis.rank._network import Network
from tamis.runtime import Index
from tamis.schema import VersionError

MAX_CANDIDATES = 4096
"""Candidates per run; more are scored in several runs."""


class Engine:
    """Scores requests with the file that `export` wrote.

    Args:
        directory: directory of the saved ranker.
        layout: layout of its rows.
        network: its network, whose embedding table is read.
        threads: threads of one run.

    Raises VersionError if the file is missing, damaged or of another ranker, MissingExtraError
    without the package onnxruntime.
    """

    def __init__(self, directory: Path, layout: Layout, network: Network, threads: int = 1) -> None:
        self._session = Session(directory, threads)
        self._gather = Gather(layout, network)
        warm = example(layout, 500, layout.id_width)  # the first run allocates memory
        try:
            self._session.run(self._gather.user(warm, 0) | self._gather.candidates(warm, None))
        except Exception as error:  # errors of ONNX Runtime, or a missing input
            raise VersionError(
                f"{directory / FOLDER} does not fit this ranker's features and weights "
                f'({str(error).splitlines()[0]}); train again, or set engine = "torch"'
            ) from error

    def logits(self, rows: Rows) -> NDArray[np.float32] | None:
        """float32 (n, L) in the rows' order; None if the rows are not of few users with many
        candidates each (see `Gather.queries`)."""
        if not len(rows):
            return None
        queries = self._gather.queries(rows)
        if queries is None:
            return None
        return self._scored(rows, queries)

    def _scored(self, rows: Rows, queries: list[UserRows]) -> NDArray[np.float32]:
        out: NDArray[np.float32] | None = None
        for query in queries:
            user = self._gather.user(rows, query.user)
            for which in _chunks(query.rows, len(rows)):
                logits = self._session.run(user | self._gather.candidates(rows, which))
                if which is None:
                    return logits
                if out is None:
                    out = np.empty((len(rows), logits.shape[1]), np.float32)
                out[which] = logits
        assert out is not None
        return out


def _chunks(which: Index | None, n: int) -> Sequence[Index | None]:
    """The rows, at most `MAX_CANDIDATES` at a time."""
    if which is None and n <= MAX_CANDIDATES:
        return [None]
    every = np.arange(n) if which is None else which
    return [every[at : at + MAX_CANDIDATES] for at in range(0, len(every), MAX_CANDIDATES)]
