"""The values of an attribute of items or users, as codes by which events are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Table, item_categories
from tamis.features._growing import GrowingRows
from tamis.features._pair_counting_kernels import expand_sets, mean_of_sets, set_sizes
from tamis.features.encoders import numbers, untupled
from tamis.features.windows import opened
from tamis.runtime import Float32, Int32, Int64
from tamis.schema import reading as reading_of


@dataclass(frozen=True)
class Reading:
    """How the values of a column become the texts by which rows are grouped."""

    separator: str | None = None
    """Divides a text into values."""
    boundaries: tuple[float, ...] | None = None
    """Of a column of numbers: ascending bounds of the bands; None: the values are texts."""
    first: int = 0
    """Number of the band below the first boundary."""

    def lists(self, table: Table, column: str) -> pl.Series:
        """(N,) lists of the texts of each row; empty without a value."""
        if self.boundaries is None:
            return item_categories(table, column, self.separator)
        number = numbers(table.frame[column])[:, 0].astype(np.float64)
        code = np.searchsorted(np.array(self.boundaries), number, side="right") + self.first
        return code_lists(code, np.isfinite(number))


def code_lists(codes: NDArray[np.integer], known: NDArray[np.bool_]) -> pl.Series:
    """(n,) lists of one code as text, empty where `known` is false."""
    frame = pl.DataFrame({"code": codes, "known": known})
    text = pl.when("known").then(pl.col("code").cast(pl.String).str.zfill(6))
    return frame.select(code=pl.concat_list(text))["code"]


@dataclass(eq=False)
class Groups:
    """Which of the V values of an attribute each of N rows of a table has.

    Rows with the same values share one of M sets of values, as many movies share the genres
    "Action|Comedy". One set is that of rows without a value, and of unknown rows. Rows that are
    added later may have new sets, of the same values.
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
    """The codes of each set, end to end, each from 0 to V - 1; -1 alone in that without values."""
    names: pl.Series | None = None
    """(V,) the values as texts, by their codes; None in versions of earlier releases."""
    reading: Reading = Reading()

    @classmethod
    def of(cls, name: str, lists: pl.Series, reading: Reading | None = None) -> Groups:
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
            names=values.unique().sort().rename("value"),
            reading=reading or Reading(),
        )

    def __post_init__(self) -> None:
        self._sets: GrowingRows | None = None
        self._numbers: dict[tuple[int, ...], int] | None = None
        self._codes: dict[str, int] | None = None

    def __len__(self) -> int:
        """M, the number of sets."""
        return len(self.indptr) - 1

    def update(self, table: Table, rows: Int32) -> None:
        """Takes up new or changed rows (m,) of the table; values that it does not know are none.

        In a version of an earlier release, which has no names of the values, new rows have none.
        """
        none = int(self.sets[-1])
        if self._sets is None:
            self._sets = GrowingRows(self.sets)
        found = np.full(len(rows), none, np.int32)
        if self.names is not None and self.name in table:
            self._numbers_of_new_sets(self.reading.lists(table.part(rows), self.name), found)
        self.sets = self._sets.put(rows, found, len(table))

    def _numbers_of_new_sets(self, lists: pl.Series, found: Int32) -> None:
        """Fills `found` (m,) with the sets of lists of texts (m,), which are made where needed."""
        if self._codes is None:
            assert self.names is not None
            self._codes = {text: code for code, text in enumerate(self.names.to_list())}
        known = self._codes
        for place, texts in enumerate(lists.to_list()):
            codes = sorted({known[text] for text in texts or () if text in known})
            if codes:
                found[place] = self._number_of(tuple(codes))

    def _number_of(self, codes: tuple[int, ...]) -> int:
        """The number of a set, which is made if there is none."""
        if self._numbers is None:
            bounds = zip(self.indptr[:-1].tolist(), self.indptr[1:].tolist(), strict=True)
            every = self.code.tolist()
            self._numbers = {tuple(every[a:b]): n for n, (a, b) in enumerate(bounds)}
        number = self._numbers.setdefault(codes, len(self))
        if number == len(self):
            self.indptr = np.append(self.indptr, self.indptr[-1] + len(codes))
            self.code = np.append(self.code, np.array(codes, np.int32))
        return number

    @property
    def rows(self) -> int:
        """N, the number of rows of the table."""
        return len(self.sets) - 1

    def set_of(self, row: NDArray[np.integer]) -> Int32:
        """(n,) the sets of rows (n,): of -1 and of rows beyond the table, that without values."""
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
        """Writes files whose names begin with `stem`."""
        for name in ("sets", "indptr", "code"):
            np.save(directory / f"{stem}_{name}.npy", getattr(self, name))
        if self.names is not None:
            self.names.to_frame("value").write_ipc(directory / f"{stem}_names.arrow")

    @property
    def facts(self) -> dict[str, Any]:
        """The plain values for JSON, which `load` needs."""
        facts: dict[str, Any] = {"name": self.name, "size": self.size, "rows": self.rows}
        return facts if self.names is None else facts | {"reading": asdict(self.reading)}

    @classmethod
    def load(cls, directory: Path, stem: str, saved: Mapping[str, Any]) -> Groups:
        """Opens what `save` wrote, memory-mapped; `saved` is what `facts` was.

        Raises ValueError where the arrays contradict each other.
        """
        size, texts = int(saved["size"]), directory / f"{stem}_names.arrow"
        sets = opened(directory / f"{stem}_sets.npy", np.int32, (saved["rows"] + 1,))
        indptr = opened(directory / f"{stem}_indptr.npy", np.int64, (None,))
        code = opened(directory / f"{stem}_code.npy", np.int32, (None,))
        if len(indptr) < 2 or indptr[-1] != len(code) or (np.diff(indptr) < 1).any():
            raise ValueError(f"{stem}_indptr.npy does not divide the {len(code)} codes into sets")
        if int(code.max(initial=-1)) >= size or int(sets.max(initial=0)) >= len(indptr) - 1:
            raise ValueError(f"{stem} has codes or sets beyond their number")
        reading = saved.get("reading")  # earlier releases lack it, and the names
        names = None
        if reading is not None:
            with reading_of(texts):
                names = pl.read_ipc(texts)["value"]
                if len(names) != size:
                    raise ValueError(f"it has {len(names)} values, of {size}")
        how = Reading() if reading is None else Reading(**untupled(reading))
        return cls(str(saved["name"]), size, sets, indptr, code, names, how)
