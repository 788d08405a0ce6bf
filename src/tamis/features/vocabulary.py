"""Vocabularies: ids as codes of an embedding table, by a dictionary or by a fixed hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import id_text, is_number, one_id, plain_types
from tamis.runtime import Int32
from tamis.schema import ConfigError, DataError, reading

PADDING = 0
"""Code of a missing value; its vector stays zero."""
UNSEEN = 1
"""Code of an id that occurred fewer than `min_count` times in training, or never."""
FIRST = 2
"""First code of a known id."""
FEW = 64
"""Most texts that are encoded one by one: below, a join with the vocabulary takes longer."""
_SEED = 0


def as_text(values: pl.Series) -> pl.Series:
    """Ids as text, as `tamis.data.id_text` reads them: 3, 3.0, "3" and "3.0" are one id.

    Missing values, NaN and blanks are null. Raises DataError for lists and Python objects.
    """
    values = plain_types(values)
    _check_type(values)
    return id_text(values, "the frame", missing=())


def _check_type(values: pl.Series) -> None:
    if values.dtype.is_nested():
        raise DataError(
            f"column {values.name!r} holds lists, but one id per row is wanted; "
            "declare it as a VarLenSparseFeat"
        )
    if values.dtype == pl.Object:
        raise DataError(f"column {values.name!r} holds Python objects; ids must be text or numbers")


def distinct(values: pl.Series) -> tuple[pl.Series, NDArray[np.int32]]:
    """The D distinct values, and int32 (N,) the index of each row's value among them."""
    unique = values.unique()
    places = pl.DataFrame({"value": unique, "place": np.arange(len(unique), dtype=np.int32)})
    joined = pl.DataFrame({"value": values}).join(
        places, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return unique, joined["place"].to_numpy()


class Vocabulary:
    """Maps ids (text) to codes 0 … size − 1: 0 missing, 1 unseen, 2… known.

    A dictionary holds every id seen at least `min_count` times in training, the most frequent
    first (ties by text), so that the rows of the embedding table that are read most are
    neighbours. A hashed one stores no ids: they map to `buckets` codes that are equal in every
    process, machine and version, and no id is unseen.
    """

    def __init__(self, ids: pl.Series | None, buckets: int = 0, spare: int = 0) -> None:
        self._ids = ids
        self._buckets = buckets
        self.spare = spare
        """Codes that are kept free for ids that come later."""
        self._given: dict[str, int] = {}
        """Ids that came later → their codes."""
        self._taken: Int32 = np.zeros(0, np.int32)
        """Codes of ids of the dictionary that are unseen now; ascending."""

    @classmethod
    def fit(cls, values: pl.Series, min_count: int = 1, spare: int = 0) -> Vocabulary:
        """The dictionary of the ids in `values` that occur at least `min_count` times, and `spare`
        codes for others that come later."""
        if is_number(values.dtype):
            counts = values.value_counts(name="n")
            counts = counts.with_columns(as_text(counts[values.name]).alias("id"))
            counts = counts.group_by("id").agg(pl.col("n").sum())
        else:
            counts = pl.DataFrame({"id": as_text(values)}).group_by("id").len(name="n")
        kept = counts.filter(pl.col("id").is_not_null() & (pl.col("n") >= min_count))
        return cls(kept.sort(["n", "id"], descending=[True, False])["id"], spare=spare)

    @classmethod
    def hashed(cls, buckets: int) -> Vocabulary:
        """A vocabulary that hashes ids to `buckets` codes. Raises ConfigError for fewer than 2."""
        if buckets < 2:
            raise ConfigError(f"buckets = {buckets}: a hashed vocabulary needs at least 2")
        return cls(None, buckets)

    def grown(self, values: Vocabulary) -> Vocabulary:
        """This vocabulary with the ids of another that it lacks, after its own: known ids keep
        their codes. A hashed one stays as it is."""
        if self._ids is None or values._ids is None:
            return self
        more = values._ids.filter(~values._ids.is_in(self._ids.implode()))
        ids = pl.concat([self._ids, more]) if len(more) else self._ids
        return Vocabulary(ids, spare=self.spare)

    def change(self, expired: Sequence[int], admitted: Mapping[str, int]) -> None:
        """Makes the ids of codes `expired` unseen, then gives spare codes to the ids `admitted`.
        What is saved does not change."""
        assert self._ids is not None
        gone = set(expired)
        given = {name: code for name, code in self._given.items() if code not in gone}
        known = [code for code in gone if code < FIRST + len(self._ids)]
        self._taken = np.union1d(self._taken, np.array(known, np.int32)).astype(np.int32)
        self._given = given | dict(admitted)

    def free_codes(self) -> list[int]:
        """The spare codes that no id has now, ascending. Codes of expired ids of the dictionary are
        none: other models have learnt vectors of these ids."""
        used = set(self._given.values())
        return [code for code in range(self.size - self.spare, self.size) if code not in used]

    def holds(self, code: int) -> bool:
        """Whether an id has a code now."""
        own = self._ids is not None and FIRST <= code < FIRST + len(self._ids)
        return (own and code not in self._taken) or code in self._given.values()

    def text_of(self, code: int) -> str | None:
        """The id that has a code now; None: none has."""
        for text, given in self._given.items():
            if given == code:
                return text
        place = code - FIRST
        if self._ids is None or not 0 <= place < len(self._ids) or code in self._taken:
            return None
        return self._ids[place]

    def _now(self, texts: Sequence[str | None] | pl.Series, codes: Int32) -> Int32:
        """Codes (n,) of texts (n,) by the dictionary, as `change` has changed them."""
        if len(self._taken):
            codes[np.isin(codes, self._taken)] = UNSEEN
        if self._given:
            for n in np.flatnonzero(codes == UNSEEN).tolist():
                text = texts[n]
                codes[n] = UNSEEN if text is None else self._given.get(text, UNSEEN)
        return codes

    @property
    def size(self) -> int:
        """Number of codes, and of rows of the embedding table: the ids, padding and unseen."""
        return FIRST + (self._buckets if self._ids is None else len(self._ids)) + self.spare

    @property
    def ids(self) -> pl.Series | None:
        """Known ids in the order of their codes (the first has code 2); None when hashed."""
        return self._ids

    def encode(self, values: pl.Series) -> Int32:
        """(N,) codes; unknown ids become 1. Raises DataError for a column of lists."""
        _check_type(values)
        kind = values.dtype
        if len(values) <= FEW and (kind == pl.String or kind == pl.Boolean or kind.is_integer()):
            return self._encode_few([one_id(value) for value in values.to_list()])
        unique, place = distinct(values)
        return self._encode_text(as_text(unique))[place]

    def _encode_few(self, texts: Sequence[str | None]) -> Int32:
        """(n,) codes of a few ids, without a pass over the vocabulary: a service encodes single
        rows."""
        if self._ids is None:
            return self._hash_text(pl.Series("id", texts, pl.String))
        hashes, places = self._hashes
        wanted = pl.Series("id", texts, pl.String).hash(_SEED).to_numpy()
        starts, codes = np.searchsorted(hashes, wanted), np.zeros(len(texts), np.int32)
        for n, at in enumerate(starts.tolist()):
            if texts[n] is None:
                continue
            codes[n] = UNSEEN
            while at < len(hashes) and hashes[at] == wanted[n]:  # hashes may be equal by chance
                if self._ids[int(places[at])] == texts[n]:
                    codes[n] = FIRST + places[at]
                    break
                at += 1
        return self._now(texts, codes)

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """The hashes of the known ids, ascending, and the place of each among the ids: 12 bytes
        per id."""
        assert self._ids is not None
        hashes = self._ids.hash(_SEED).to_numpy()
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order.astype(np.int32)

    def _encode_text(self, text: pl.Series) -> Int32:
        if self._ids is None:
            return self._hash_text(text)
        known = pl.DataFrame(
            {"id": self._ids, "code": np.arange(FIRST, FIRST + len(self._ids), dtype=np.int32)},
            schema={"id": pl.String, "code": pl.Int32},
        )
        joined = pl.DataFrame({"id": text}, schema={"id": pl.String}).join(
            known, on="id", how="left", maintain_order="left"
        )
        codes = joined["code"].fill_null(UNSEEN).to_numpy().astype(np.int32)
        codes[text.is_null().to_numpy()] = PADDING
        return self._now(text, codes)

    def _hash_text(self, text: pl.Series) -> Int32:
        unique, place = distinct(text)
        filled = unique.fill_null("")
        ends = np.cumsum(filled.str.len_bytes().to_numpy().astype(np.int64))
        joined = str(filled.str.join("").item()) if len(filled) else ""
        codes = np.zeros(len(filled), np.int32)
        from tamis.features._hashing_kernel import hash_codes  # imports numba

        hash_codes(np.frombuffer(joined.encode(), np.uint8), ends, self._buckets, codes)
        codes[unique.is_null().to_numpy()] = PADDING
        return codes[place]

    def save(self, directory: Path, name: str) -> dict[str, Any]:
        """Writes the dictionary (Arrow IPC); returns what `load` needs."""
        if self._ids is None:
            return {"buckets": self._buckets}
        pl.DataFrame({"id": self._ids}, schema={"id": pl.String}).write_ipc(
            directory / f"{name}.arrow"
        )
        spare = {"spare": self.spare} if self.spare else {}
        return {"file": f"{name}.arrow", **spare}

    @classmethod
    def load(cls, directory: Path, saved: dict[str, Any]) -> Vocabulary:
        """Opens what `save` wrote. Raises VersionError where the file is missing or damaged."""
        if "buckets" in saved:
            return cls.hashed(saved["buckets"])
        file = directory / saved["file"]
        with reading(file):
            ids = pl.read_ipc(file)["id"].cast(pl.String)
        return cls(ids, spare=int(saved.get("spare", 0)))
