# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that count events per pair, behaviour and time bucket, and sum the buckets of windows.

Arguments that several kernels take:

rings: `windows.Rings`, R kinds of buckets, read by W windows.
newest: int64 (R,), the newest bucket of any event. A bucket older than it by all slots of its ring
is in no window any more: it has expired.
cells: `_recent_counts.Cells`. A cell is one int64: bucket << 16 | ring << 8 | behaviour.
slot, added: a hash table of n keys, see `_pair_counting_kernels`. head: int32 (·,), the first cell
of each key, -1 without one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.features._pair_counting_kernels import base_row, slot_of
from tamis.runtime.compiled import inner_njit, njit

RING, BUCKET = 8, 16
"""Bits of a cell below its ring, and below its bucket."""
_CODE = 255


@njit(cache=True)
def _expired(rings: Any, newest: Any, cell: Any) -> Any:
    """Whether no window that is read from now on holds the bucket of a cell."""
    r = (cell >> RING) & _CODE
    return cell >> BUCKET <= newest[r] - rings.slots[r]


@njit(cache=True)
def add_recent(
    rings: Any,
    newest: Any,
    slot: Any,
    added: Any,
    head: Any,
    n: Any,
    cells: Any,
    used: Any,
    free: Any,
    key: Any,
    behaviour: Any,
    moment: Any,
) -> Any:
    """Counts events of pairs; returns the numbers of keys and of used cells, and the first free
    cell.

    In: key int64 (m,), behaviour uint8 and moment int64 (ms) of each event; n keys, `used` cells
    and the first of the cells that are free again (-1: none) before. There is space for m more keys
    and m R more cells. Expired cells of the keys are freed on the way.
    """
    for e in range(len(key)):
        place = slot_of(slot, added, key[e])
        if slot[place] < 0:
            slot[place], added[n], head[n] = n, key[e], -1
            n += 1
        row = slot[place]
        for r in range(len(rings.width)):
            bucket = moment[e] // rings.width[r]
            if bucket <= newest[r] - rings.slots[r]:
                continue
            wanted = (bucket << BUCKET) | (r << RING) | np.int64(behaviour[e])
            previous, at = -1, head[row]
            while at >= 0 and cells.cell[at] != wanted:
                after = cells.following[at]
                if not _expired(rings, newest, cells.cell[at]):
                    previous = at
                else:
                    if previous < 0:
                        head[row] = after
                    else:
                        cells.following[previous] = after
                    cells.following[at], free = free, at
                at = after
            if at >= 0:
                cells.number[at] += 1
                continue
            if free >= 0:
                at, free = free, cells.following[free]
            else:
                at, used = used, used + 1
            cells.cell[at], cells.number[at] = wanted, 1
            cells.following[at], head[row] = head[row], at
    return n, used, free


@njit(cache=True)
def pack_cells(
    rings: Any, newest: Any, head: Any, n: Any, cells: Any, bounds: Any, cell: Any, number: Any
) -> None:
    """Lays the cells of n keys end to end, without those that have expired.

    Out: bounds int64 (n + 1,) of each key's cells; cell int64 and number int32, with space for all.
    """
    bounds[0] = filled = 0
    for row in range(n):
        at = head[row]
        while at >= 0:
            if not _expired(rings, newest, cells.cell[at]):
                cell[filled], number[filled] = cells.cell[at], cells.number[at]
                filled += 1
            at = cells.following[at]
        bounds[row + 1] = filled


@inner_njit
def _tally(rings: Any, now: Any, cell: Any, number: Any, row: Any, out: Any) -> None:
    """Adds a cell to the windows of row `row` that hold its bucket; now int64 (R,) buckets."""
    r, behaviour = (cell >> RING) & _CODE, cell & _CODE
    if r >= len(now) or behaviour >= out.shape[2]:
        return
    age = now[r] - (cell >> BUCKET)
    for w in range(len(rings.ring)):
        if rings.ring[w] == r and 0 <= age < rings.length[w]:
            out[row, w, behaviour] += number


@njit(cache=True)
def read_recent(
    rings: Any,
    keys: Any,
    bounds: Any,
    base_cell: Any,
    base_number: Any,
    slot: Any,
    added: Any,
    head: Any,
    cells: Any,
    key: Any,
    time: Any,
    out: Any,
) -> None:
    """The window counts of n pairs as of n times: key int64 (n,), -1 for none; time int64 (n,) ms.

    In: the base of P pairs: keys int64 (P,), ascending, bounds int64 (P + 1,) of their cells,
    base_cell int64 and base_number int32; and the pairs counted since.
    Out: out int64 (n, W, B), zeros before. The window `all` is left as it is.
    """
    now = np.empty(len(rings.width), np.int64)
    for row in range(len(key)):
        if key[row] < 0:
            continue
        for r in range(len(now)):
            now[r] = time[row] // rings.width[r]
        k = base_row(keys, key[row])
        if k >= 0:
            for at in range(max(bounds[k], 0), min(bounds[k + 1], len(base_cell))):
                _tally(rings, now, base_cell[at], base_number[at], row, out)
        k = slot[slot_of(slot, added, key[row])]
        at = head[k] if k >= 0 else -1
        while at >= 0:
            _tally(rings, now, cells.cell[at], cells.number[at], row, out)
            at = cells.following[at]
