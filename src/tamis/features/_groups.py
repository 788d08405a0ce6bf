"""The values of an attribute of items or users, as codes by which events are counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.features._pair_counting_kernels import expand_sets, mean_of_sets, set_sizes
from tamis.features.windows import opened
from tamis.runtime import Float32, Int32, Int64


@dataclass(frozen=True, eq=False)
class Groups:
    """Which of the V values of an attribute each of N rows of a table has.

    Rows with the same values share one of M sets of values, as many movies share the genres
    "Action|Comedy". The last set is that of rows without a value, and of unknown rows.
    """

    name: str
    """The column of the table."""
    size: int
    """V."""
    sets: Int32
    """(N + 1,) the set of each row; the last row stands for unknown ones."""
    indptr: Int64
    """(M + 1,) bounds of the codes of each set."""
    code: Int32
    """The codes of each set, end to end, each from 0 to V - 1; -1 alone in the last set."""

    @classmethod
    def of(cls, name: str, lists: pl.Series) -> Groups:
        """Groups by a series (N,) of lists of texts; a text that is repeated counts once."""
        kept = pl.element().filter(pl.element().is_not_null()).unique().sort()
        unique = lists.alias("set").to_frame().select(pl.col("set").list.eval(kept))["set"]
        full = unique.list.len().fill_null(0) > 0
        known = unique.filter(full)
        keys = known.list.join("\x1f")
        frame = pl.DataFrame({"key": keys, "set": known})
        frame = frame.unique("key", maintain_order=True).sort("key")
        numbers = frame.select("key", number=pl.int_range(pl.len(), dtype=pl.Int32))
        joined = keys.to_frame("key").join(numbers, on="key", how="left", maintain_order="left")
        sets = np.full(len(lists) + 1, len(frame), np.int32)
        sets[np.flatnonzero(full)] = joined["number"].to_numpy()
        values = frame["set"].explode(empty_as_null=False)
        codes = (values.rank("dense") - 1).cast(pl.Int32).to_numpy()
        sizes = np.append(frame["set"].list.len().to_numpy().astype(np.int64), 1)
        return cls(
            name=name,
            size=int(codes.max(initial=-1)) + 1,
            sets=sets,
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            code=np.append(codes, -1).astype(np.int32),
        )

    def __len__(self) -> int:
        """M, the number of sets."""
        return len(self.indptr) - 1

    @property
    def rows(self) -> int:
        """N, the number of rows of the table."""
        return len(self.sets) - 1

    def set_of(self, row: NDArray[np.integer]) -> Int32:
        """(n,) the sets of rows (n,): of -1 and of rows beyond the table, the last set."""
        unknown = len(self.sets) - 1
        return self.sets[np.where((row >= 0) & (row < unknown), row, unknown)]

    def expand(self, sets: NDArray[np.integer]) -> tuple[NDArray[np.intp], Int32]:
        """The codes of n sets: (p,) positions in `sets`, ascending, and (p,) codes."""
        bounds = self.bounds(sets)
        owner, code = np.empty(bounds[-1], np.int64), np.empty(bounds[-1], np.int32)
        expand_sets(
            indptr=self.indptr, code=self.code, sets=sets, bounds=bounds, owner=owner, out=code
        )
        return owner, code

    def bounds(self, sets: NDArray[np.integer]) -> Int64:
        """(n + 1,) bounds of the codes of n sets, laid end to end as by `expand`."""
        bounds = np.empty(len(sets) + 1, np.int64)
        set_sizes(indptr=self.indptr, sets=sets, bounds=bounds)
        return bounds

    def averaged(
        self, table: Float32, stride: int, first: NDArray[np.integer], sets: NDArray[np.integer]
    ) -> Float32:
        """(n, S) the mean of the rows of each set's values, of a table of all values.

        The row of value c for set r is `first[r] + stride * c`, with c = V for none.
        """
        out = np.empty((len(sets), table.shape[1]), np.float32)
        mean_of_sets(
            table=table,
            stride=stride,
            none=self.size,
            first=first.astype(np.int64),
            sets=sets,
            indptr=self.indptr,
            code=self.code,
            out=out,
        )
        return out

    def save(self, directory: Path, stem: str) -> None:
        """Writes three npy files whose names begin with `stem`."""
        for name in ("sets", "indptr", "code"):
            np.save(directory / f"{stem}_{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, directory: Path, stem: str, name: str, size: int, rows: int) -> Groups:
        """Opens what `save` wrote, memory-mapped; the other arguments are the fields' values.

        Raises ValueError where the arrays contradict each other.
        """
        sets = opened(directory / f"{stem}_sets.npy", np.int32, (rows + 1,))
        indptr = opened(directory / f"{stem}_indptr.npy", np.int64, (None,))
        code = opened(directory / f"{stem}_code.npy", np.int32, (None,))
        if len(indptr) < 2 or indptr[-1] != len(code) or (np.diff(indptr) < 1).any():
            raise ValueError(f"{stem}_indptr.npy does not divide the {len(code)} codes into sets")
        if int(code.max(initial=-1)) >= size or int(sets.max(initial=0)) >= len(indptr) - 1:
            raise ValueError(f"{stem} has codes or sets beyond their number")
        return cls(name, size, sets, indptr, code)
