"""Inputs that are looked up: attributes of users and items, and histories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.features._gathering_kernels import last_codes
from tamis.features._lists import History
from tamis.features.windows import opened
from tamis.runtime import Bool, Float32, Int32


@dataclass(frozen=True, eq=False)
class Attributes:
    """The encoded attributes of N users or items, and in a last row those of an unknown one."""

    ids: Int32
    """(N + 1, w) fused-table rows."""
    dense: Float32
    """(N + 1, d) numbers."""

    def place(self, rows: NDArray[np.integer]) -> Int32:
        """Rows of `ids` and `dense` of table rows; N for -1 and for rows added after the fit."""
        unknown = len(self.ids) - 1
        known = (rows >= 0) & (rows < unknown)
        return np.where(known, rows, unknown).astype(np.int32)

    def save(self, directory: Path, name: str) -> None:
        """Writes `NAME_ids.npy` and `NAME_dense.npy`."""
        np.save(directory / f"{name}_ids.npy", self.ids)
        np.save(directory / f"{name}_dense.npy", self.dense)

    @classmethod
    def load(cls, directory: Path, name: str) -> Attributes:
        """Opens what `save` wrote, memory-mapped."""
        ids = opened(directory / f"{name}_ids.npy", np.int32, (None, None))
        return cls(ids, opened(directory / f"{name}_dense.npy", np.float32, (len(ids), None)))


@dataclass(frozen=True, eq=False)
class HistoryLookup:
    """A history feature: the ids of the items of a user's last events of some behaviours."""

    name: str
    wanted: Bool
    """(B,) the behaviours whose events count."""
    codes: Int32
    """(N + 1, w) fused-table rows of each item; `pad` where an item has fewer than w."""
    pad: int
    """Fused-table row that fills lists up."""
    max_len: int
    """Length of a list."""

    def write(self, history: History, out: Int32) -> None:
        """Writes the rows of the last ids, oldest first, into `out` (Q, max_len)."""
        last_codes(
            bounds=history.indptr,
            item=history.item,
            behaviour=history.behaviour,
            wanted=self.wanted,
            codes=self.codes,
            pad=self.pad,
            out=out,
        )
