"""The trace of an answer as a few kilobytes, from which each item's place is explained later."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.runner import Cascade, Outcome, with_factors
from tamis.cascade.tracing import Found, Trace
from tamis.runtime import Float32, Int32
from tamis.schema import StoreError

MOST = 3_000
"""Candidates that a record keeps: the ranked ones, then the first of recall."""
MOST_EXCLUDED = 20_000
"""Excluded items that a record keeps for each reason."""
MOST_NEW = 1_000
"""Excluded new items of which a record keeps the ids; those of new candidates are all kept."""


class _StoredRecord(Struct, frozen=True):
    """What is stored. Arrays are bytes; those of float32 numbers are `_packed`, and exact for the
    items of the slate."""

    items: bytes
    """(n,) int32 item rows of the candidates, by bytes of equal weight."""
    left_out: int
    """Further candidates, which are not kept."""
    channels: dict[str, int]
    """Channel → its quota."""
    found: list[int]
    """Items that each channel contributed to the candidates, the left out ones included."""
    ranks: bytes
    """(channels, n) uint16; 0 = not found by it, 65,535 = that rank or a later one."""
    scores: bytes
    """float32 of each rank that is not 0."""
    filters: list[tuple[str, str]]
    """(name, reason) of each filter."""
    removed: bytes
    """(n,) uint8 number of the filter that removed the candidate, from 1; 0 = none."""
    prerank: bytes
    """(n,) float32; empty without a pre-ranker."""
    prerank_place: bytes
    """(n,) uint16, from 1; 0 = removed by a filter."""
    keep: int
    """Candidates that pre-rank keeps."""
    ranked: bytes
    """(m,) uint16 candidates, best first."""
    predictions: dict[str, bytes]
    """Task → (m,) float32."""
    value: bytes
    """(m,) float32 that ordered them."""
    fused: bytes
    """(m,) float32; empty where it is `value`."""
    boost: bytes
    """(m,) float32 factors of the request; empty where it has none."""
    slate: list[int]
    """Candidates in the order of the slate."""
    rerank: dict[str, bytes]
    """Rule → (slate,) float32 notes, not packed."""
    order: str
    """What `value` is made of, in words."""
    excluded: dict[str, bytes]
    """Why items could not be recalled → uint32 differences of their ascending item rows."""
    new: dict[int, str] = {}
    """Item row → id, of candidates and excluded items that the version's table does not hold."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_StoredRecord)


def recorded(
    cascade: Cascade,
    outcome: Outcome,
    excluded: Mapping[str, Int32] | None = None,
    new_ids: Callable[[Int32], Mapping[int, str]] | None = None,
) -> bytes:
    """The record of the outcome of one query.

    Numbers of items that were not shown keep two to three digits.

    Args:
        excluded: further reasons why items could not be recalled → their rows.
        new_ids: of item rows (n,), those that came after the version was made, with their ids, by
            which other versions find them; None: there are none.
    """
    reasons = dict(excluded or {})
    for name, rows in outcome.excluded.items():
        reasons[f"filter {name}: {cascade.retrieval.filters[name].reason}"] = rows[0]
    at = _kept_candidates(outcome)
    part = outcome.recalled if len(at) == len(outcome.recalled) else outcome.recalled.take(at)
    place = _CandidateNumbers(part.item)
    ranked, slate = place(outcome.ranked.item), place(outcome.slate.item)
    shown = np.zeros(len(at), np.bool_)
    shown[slate] = True
    channels, columns = cascade.retrieval.channels, outcome.ranked.columns
    ranks = _matrix(part, [f"rank:{name}" for name in channels], np.int64)
    scores = _matrix(part, [f"score:{name}" for name in channels], np.float32)
    found = ranks > 0
    prerank, prerank_place = _preranked(outcome, place, shown)
    stored = _StoredRecord(
        items=part.item.astype(np.int32).view(np.uint8).reshape(-1, 4).T.tobytes(),
        left_out=len(outcome.recalled) - len(at),
        channels={name: cascade.config.channels[name].quota for name in channels},
        found=[_count(outcome.recalled, f"rank:{name}") for name in channels],
        ranks=np.minimum(ranks, 65_535).astype(np.uint16).tobytes(),
        scores=_packed(scores[found], np.broadcast_to(shown, found.shape)[found]),
        filters=[(name, rule.reason) for name, rule in cascade.retrieval.filters.items()],
        removed=_removed(cascade, outcome, at).tobytes(),
        prerank=prerank,
        prerank_place=prerank_place,
        keep=cascade.config.prerank_keep,
        ranked=ranked.tobytes(),
        predictions={
            task: _packed(p, shown[ranked]) for task, p in outcome.ranked.predictions.items()
        },
        value=_packed(columns["value"], shown[ranked]),
        fused=_packed(columns["fused"], shown[ranked]) if "fused" in columns else b"",
        boost=_packed(columns["boost"], shown[ranked]) if "boost" in columns else b"",
        slate=slate.tolist(),
        rerank={
            name.removeprefix("rerank:"): np.asarray(notes, np.float32).tobytes()
            for name, notes in outcome.slate.columns.items()
            if name.startswith("rerank:")
        },
        order=cascade.order_text(outcome.queries),
        excluded={why: _packed_rows(rows) for why, rows in reasons.items() if len(rows)},
        new={} if new_ids is None else _new(new_ids, part.item, list(reasons.values())),
    )
    return zlib.compress(_ENCODER.encode(stored), 1)


class _CandidateNumbers:
    """Finds item rows among those of the kept candidates."""

    def __init__(self, items: Int32) -> None:
        self._order = np.argsort(items)
        self._sorted = items[self._order]

    def __call__(self, items: Int32) -> NDArray[np.uint16]:
        """(m,) numbers of the candidates with the item rows (m,), which must be among them."""
        return self._order[np.searchsorted(self._sorted, items)].astype(np.uint16)

    def has(self, items: Int32) -> NDArray[np.bool_]:
        """(m,) whether each item row is among them."""
        at = np.minimum(np.searchsorted(self._sorted, items), max(len(self._sorted) - 1, 0))
        return self._sorted[at] == items if len(self._sorted) else np.zeros(len(items), np.bool_)


def _kept_candidates(outcome: Outcome) -> NDArray[np.intp]:
    """Indices of the candidates after recall that a record keeps, in their order."""
    n = len(outcome.recalled)
    if n <= MOST:
        return np.arange(n)
    ranked = np.isin(outcome.recalled.item, outcome.ranked.item)
    others = np.flatnonzero(~ranked)[: max(MOST - int(ranked.sum()), 0)]
    return np.sort(np.concatenate([np.flatnonzero(ranked), others]))


def _new(
    new_ids: Callable[[Int32], Mapping[int, str]], items: Int32, excluded: Sequence[Int32]
) -> dict[int, str]:
    """The ids of the new items among candidates and excluded items."""
    rows = np.unique(np.concatenate([*excluded, np.zeros(0, np.int32)])).astype(np.int32)
    return dict(list(new_ids(rows).items())[:MOST_NEW]) | dict(new_ids(items))


def _matrix(candidates: Candidates, names: Sequence[str], dtype: type[np.generic]) -> NDArray[Any]:
    """(names, n) columns of candidates; none where no channel answered."""
    known = [np.asarray(candidates.columns[name], dtype) for name in names if len(candidates)]
    return np.array(known, dtype).reshape(len(names), len(candidates))


def _count(candidates: Candidates, column: str) -> int:
    return int(np.count_nonzero(candidates.columns[column])) if len(candidates) else 0


def _removed(cascade: Cascade, outcome: Outcome, at: NDArray[np.intp]) -> NDArray[np.uint8]:
    out = np.zeros(len(at), np.uint8)
    for number, name in enumerate(cascade.retrieval.filters, start=1):
        if name in outcome.removed:
            out[outcome.removed[name][at]] = min(number, 255)
    return out


def _preranked(
    outcome: Outcome, place: _CandidateNumbers, shown: NDArray[np.bool_]
) -> tuple[bytes, bytes]:
    """The scores and the places (from 1; 0 = removed by a filter) of pre-rank, (n,) each."""
    kept = outcome.kept
    if "prerank" not in kept.columns:
        return b"", b""
    places = np.empty(len(kept), np.int64)
    places[kept.best("prerank", len(kept))] = np.arange(1, len(kept) + 1)
    known = place.has(kept.item)
    at = place(kept.item[known])
    score, where = np.full(len(shown), np.nan, np.float32), np.zeros(len(shown), np.uint16)
    score[at] = kept.columns["prerank"][known]
    where[at] = np.minimum(places[known], 65_535)
    return _packed(score, shown), where.tobytes()


def _packed(numbers: NDArray[Any], exact: NDArray[np.bool_]) -> bytes:
    """float32 numbers (n,): the upper 16 bits of each, rounded, and the lower of the exact ones."""
    numbers = np.ascontiguousarray(numbers, np.float32)
    bits = numbers.view(np.uint32)
    rounded = np.where(exact | ~np.isfinite(numbers), bits, bits + np.uint32(0x8000))
    high = (rounded >> 16).astype(np.uint16)
    halves = high.view(np.uint8).reshape(-1, 2).T  # equal bytes side by side compress better
    return halves.tobytes() + bits[exact].astype(np.uint16).tobytes()


def _unpacked(stored: bytes, exact: NDArray[np.bool_]) -> Float32:
    """The numbers (n,) that `_packed` stored, with the same `exact` (n,)."""
    n = len(exact)
    halves = np.frombuffer(stored, np.uint8, 2 * n).reshape(2, n).T
    bits = np.ascontiguousarray(halves).view(np.uint16)[:, 0].astype(np.uint32) << 16
    bits[exact] |= np.frombuffer(stored, np.uint16, offset=2 * n)
    return bits.view(np.float32)


def _packed_rows(rows: Int32) -> bytes:
    kept = np.sort(rows)[:MOST_EXCLUDED].astype(np.int64)
    return np.diff(kept, prepend=0).astype(np.uint32).tobytes()


@dataclass(frozen=True, eq=False)
class RankedRecord:
    """The candidates (m,) that were ranked, best first. Numbers of those that were not shown have
    two to three digits."""

    items: Int32
    """(m,) item rows."""
    predictions: Mapping[str, Float32]
    """Task → (m,)."""
    value: Float32
    """(m,) that ordered them."""
    fused: Float32
    """(m,) the fusion of the predictions, before the order and the factors of the request."""
    boost: Float32 | None
    """(m,) factors of the request; None where it has none."""
    order: str
    """What `value` is made of, in words."""
    places: Mapping[str, NDArray[np.int64]]
    """Channel → (m,) places in its list, from 1; 0 = not found by it."""
    slate: NDArray[np.int64]
    """(places,) the ranked candidates of the slate; it ends before one that was not ranked."""


@dataclass(frozen=True, eq=False)
class Record:
    """A stored record, opened."""

    _stored: _StoredRecord

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Opens what `recorded` made; StoreError where it is damaged or of a later release."""
        try:
            return cls(_DECODER.decode(zlib.decompress(content)))
        except (zlib.error, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StoreError(f"the trace of the answer cannot be read: {error}") from error

    @property
    def candidates(self) -> Int32:
        """(n,) item rows of the candidates that it keeps, in the order of recall."""
        return self._items

    @property
    def slate(self) -> Int32:
        """(places,) item rows of the slate."""
        return self._items[self._stored.slate]

    @property
    def ranked(self) -> RankedRecord:
        """The candidates that were ranked."""
        stored, exact = self._stored, self._shown[self._ranked]
        place = np.full(len(self._items), -1, np.int64)
        place[self._ranked] = np.arange(len(self._ranked))
        slate = place[np.array(stored.slate, np.int64)]
        lost = np.flatnonzero(slate < 0)
        value = _unpacked(stored.value, exact)
        boost = _unpacked(stored.boost, exact) if stored.boost else None
        if stored.fused:
            fused = _unpacked(stored.fused, exact)
        else:  # the order is the fusion's, so that the value differs by the factors alone
            fused = value if boost is None else with_factors(value, np.float32(1) / boost)
        ranks = self._ranks[:, self._ranked].astype(np.int64)
        return RankedRecord(
            items=self._items[self._ranked],
            predictions={task: _unpacked(p, exact) for task, p in stored.predictions.items()},
            value=value,
            fused=fused,
            boost=boost,
            order=stored.order,
            places=dict(zip(stored.channels, ranks, strict=True)),
            slate=slate[: lost[0]] if len(lost) else slate,
        )

    @property
    def new_items(self) -> dict[str, int]:
        """Id → row of the candidates and excluded items that came after the version was made."""
        return {item_id: row for row, item_id in self._stored.new.items()}

    @property
    def not_shown(self) -> Int32:
        """Item rows that were ranked and not shown, best first."""
        return self._items[self._ranked[~self._shown[self._ranked]]]

    def trace(self, row: int | None) -> Trace:
        """What each stage did with an item, by its row in the version that answered; None: an item
        that was not in this version, and did not reach the answer after it came."""
        stored, found = self._stored, np.flatnonzero(self._items == (-1 if row is None else row))
        if row is None or not len(found):
            lost, detail = self._not_recalled(row)
            return Trace(-1 if row is None else row, None, lost, detail)
        at = int(found[0])
        place = stored.slate.index(at) + 1 if at in stored.slate else None
        where = np.flatnonzero(self._ranked == at)
        ranked = int(where[0]) if len(where) else None
        lost, detail = self._lost(at, place, ranked)
        scored = bool(self._prerank_place(at))
        return Trace(
            item=row,
            place=place,
            lost=lost,
            detail=detail,
            found=self._found(at),
            prerank=float(_unpacked(stored.prerank, self._shown)[at]) if scored else None,
            prerank_place=self._prerank_place(at) if scored else None,
            order=stored.order,
            rerank={}
            if place is None
            else {
                r: float(np.frombuffer(n, np.float32)[place - 1]) for r, n in stored.rerank.items()
            },
            **({} if ranked is None else self._values(ranked)),
        )

    def _values(self, ranked: int) -> dict[str, Any]:
        """What the ranker and the fusion said of the candidate at a place of the ranked list."""
        stored, exact = self._stored, self._shown[self._ranked]
        value = float(_unpacked(stored.value, exact)[ranked])
        return {
            "predictions": {
                task: float(_unpacked(numbers, exact)[ranked])
                for task, numbers in stored.predictions.items()
            },
            "value": value,
            "fused": float(_unpacked(stored.fused, exact)[ranked]) if stored.fused else value,
            "boost": float(_unpacked(stored.boost, exact)[ranked]) if stored.boost else None,
            "value_place": ranked + 1,
        }

    def _lost(self, at: int, place: int | None, ranked: int | None) -> tuple[str | None, str]:
        """The stage that removed candidate `at`, and how."""
        stored = self._stored
        if place is not None:
            return None, f"shown at place {place}"
        removed = int(np.frombuffer(stored.removed, np.uint8)[at])
        if removed:
            name, reason = stored.filters[removed - 1]
            return "filtered", f"filter {name}: {reason}"
        if ranked is None:
            where = self._prerank_place(at)
            return "prerank_cut", f"pre-rank placed it {where}; the first {stored.keep} are kept"
        if ranked + 1 > len(stored.slate):
            places = f"the slate has {len(stored.slate)} places"
            return "rank_cut", f"ranked {ranked + 1} by value; {places}"
        return "rerank_displaced", f"ranked {ranked + 1} by value, displaced by a re-rank rule"

    def _not_recalled(self, row: int | None) -> tuple[str, str]:
        stored = self._stored
        if row is None:
            return "not_recalled", (
                "not among the recalled items, and not in the data of the version that answered"
            )
        for why, rows in stored.excluded.items():
            if row in np.cumsum(np.frombuffer(rows, np.uint32)):
                return "filtered", why
        notes = [
            f"{name}: {n} of at most {quota} items"
            for (name, quota), n in zip(stored.channels.items(), stored.found, strict=True)
        ]
        if stored.left_out:
            notes.append(f"{stored.left_out} candidates that were not ranked are not recorded")
        return "not_recalled", "not among the recalled items (" + "; ".join(notes) + ")"

    def _found(self, at: int) -> tuple[Found, ...]:
        found = self._ranks > 0
        exact = np.broadcast_to(self._shown, found.shape)[found]
        scores = np.zeros(found.shape, np.float32)
        scores[found] = _unpacked(self._stored.scores, exact)
        names = enumerate(self._stored.channels)
        by = [
            Found(n, int(self._ranks[k, at]), float(scores[k, at]))
            for k, n in names
            if found[k, at]
        ]
        return tuple(sorted(by, key=lambda f: f.rank))

    def _prerank_place(self, at: int) -> int:
        places = self._stored.prerank_place
        return int(np.frombuffer(places, np.uint16)[at]) if places else 0

    @cached_property
    def _items(self) -> Int32:
        bytes_of = np.frombuffer(self._stored.items, np.uint8).reshape(4, -1).T
        return np.ascontiguousarray(bytes_of).view(np.int32)[:, 0]

    @cached_property
    def _shown(self) -> NDArray[np.bool_]:
        """(n,) whether each candidate was shown."""
        out = np.zeros(len(self._items), np.bool_)
        out[self._stored.slate] = True
        return out

    @cached_property
    def _ranks(self) -> NDArray[np.uint16]:
        flat = np.frombuffer(self._stored.ranks, np.uint16)
        return flat.reshape(len(self._stored.channels), len(self._items))

    @cached_property
    def _ranked(self) -> NDArray[np.uint16]:
        return np.frombuffer(self._stored.ranked, np.uint16)
