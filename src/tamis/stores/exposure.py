"""Exposure filters: the items shown to each user, as one Bloom filter per user and month."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Bool, Int64
from tamis.runtime.compiled import njit
from tamis.schema import ConfigError, VersionError

Words = NDArray[np.uint64]

_BITS, _ABOUT = "exposure.npy", "exposure.json"
_FORMAT = 1
_MOST_MONTHS = 64


@dataclass(frozen=True)
class BloomShape:
    """Sizes of the filters: m bits and k hashes for n items per user and month."""

    per_month: int
    """n: most distinct items shown to a user in a month for which the target holds."""
    months: int
    """Number of months kept; older ones are dropped."""
    target: float
    """Probability that an item that was not shown counts as shown, over all months together."""
    bits: int
    """m: bits of a filter, a multiple of 64."""
    hashes: int
    """k: hash functions of a filter."""

    @classmethod
    def of(cls, per_month: int, months: int = 2, target: float = 0.01) -> Self:
        """The smallest filters that reach `target`.

        With m bits and the best integer k, a filter of n items has a false positive rate of
        `p = (1 − e^{−kn/m})^k`; the union of the months must have `1 − (1 − p)^months <= target`.
        Bloom 1970; the best k is near (m/n) ln 2 (Broder and Mitzenmacher 2004).

        Raises:
            ConfigError: `per_month` or `months` is below 1, there are too many months, or `target`
                is not in (0, 1).
        """
        if per_month < 1 or months < 1:
            raise ConfigError(
                f"exposure filter: per_month = {per_month} and months = {months}: both must be >= 1"
            )
        if months > _MOST_MONTHS:
            raise ConfigError(f"exposure filter: months = {months}: at most {_MOST_MONTHS}")
        if not 0 < target < 1:
            raise ConfigError(f"exposure filter: target = {target}: choose between 0 and 1")
        each = 1 - (1 - target) ** (1 / months)
        words = max(1, int(-per_month * math.log(each) / math.log(2) ** 2) // 64)
        while True:
            hashes, error = _best_hashes(per_month, 64 * words)
            if error <= each:
                return cls(per_month, months, target, 64 * words, hashes)
            words += 1

    def error(self, shown: int) -> float:
        """The false positive rate of the union of the months if each holds `shown` items."""
        each = _error(shown, self.bits, self.hashes)
        return 1 - (1 - each) ** self.months

    @property
    def row_bytes(self) -> int:
        """Bytes per user: the bits of each month, and a word for its number and count."""
        return 8 * self.months * (1 + self.bits // 64)


class BloomMonths:
    """Bloom filters of U users × months in one (U, 1 + words, months) array of 64-bit words.

    A month's filter lives in slot `month mod months`, side by side with the other months', so that
    one access tests them all; its first word holds the month (high half) and how many items were
    added (low half). A filter whose month is no longer among the last `months` counts as empty and
    is overwritten by a later month of its user, so that dropping old months needs no pass over the
    array. There are no false negatives among the months kept.

    Files: `exposure.npy` (the array; sparse, so users without exposures take no disk) and
    `exposure.json` (the shape). Items and users are row numbers, months come from `month_of`.
    """

    def __init__(self, shape: BloomShape, words: Words) -> None:
        self.shape = shape
        self._words = words

    @classmethod
    def create(cls, shape: BloomShape, users: int, directory: Path | None = None) -> Self:
        """Empty filters for `users`, in memory or mapped from new files in `directory`."""
        size = (users, 1 + shape.bits // 64, shape.months)
        if directory is None:
            return cls(shape, np.zeros(size, np.uint64))
        directory.mkdir(parents=True, exist_ok=True)
        _write_about(directory, shape, users)
        if users == 0:  # an empty file cannot be mapped
            np.save(directory / _BITS, np.zeros(size, np.uint64))
            return cls(shape, np.zeros(size, np.uint64))
        mapped = np.lib.format.open_memmap(
            directory / _BITS, mode="w+", dtype=np.uint64, shape=size
        )
        return cls(shape, mapped)

    @classmethod
    def open(cls, directory: Path, *, writable: bool = False) -> Self:
        """Maps the files of `create` or `save`. Raises VersionError if they are incomplete."""
        directory = Path(directory)
        try:
            about = json.loads((directory / _ABOUT).read_text("utf-8"))
            if about.pop("format") != _FORMAT:
                raise ValueError("written by another version of the package")
            users = about.pop("users")
            shape = BloomShape(**about)
            words = np.load(directory / _BITS, mmap_mode="r+" if writable else "r")
            if words.dtype != np.uint64:
                raise ValueError(f"the array holds {words.dtype}, not uint64")
            if words.shape != (users, 1 + shape.bits // 64, shape.months):
                raise ValueError(f"the array is {words.shape}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VersionError(
                f"{directory} does not hold a complete exposure filter ({error}); create it again"
            ) from error
        return cls(shape, words)

    def save(self, directory: Path) -> None:
        """Writes a copy of the filters."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / _BITS, self._words)
        _write_about(directory, self.shape, len(self))

    def flush(self) -> None:
        """Writes additions to a mapped file to the disk."""
        if isinstance(self._words, np.memmap):
            self._words.flush()

    def __len__(self) -> int:
        return len(self._words)

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return int(self._words.nbytes)

    def add(self, user: NDArray[np.integer], item: NDArray[np.integer], month: Int64) -> None:
        """Adds exposures: user[i] was shown item[i] in month[i] (all (n,), or one month).

        Unknown users and items (-1) are ignored, as are months older than the one that occupies
        their slot.

        Raises:
            ConfigError: the file is open for reading only.
        """
        if not self._words.flags.writeable:
            raise ConfigError("this exposure filter is open for reading: open it writable=True")
        _add(
            np.asarray(self._words),
            user.astype(np.int64),
            item.astype(np.int64),
            np.broadcast_to(month, user.shape).astype(np.int64),
            self.shape.bits,
            self.shape.hashes,
        )

    def check(
        self, user: NDArray[np.integer], indptr: Int64, item: NDArray[np.integer], month: Int64
    ) -> Bool:
        """(n,) whether each item was shown to its user in the last months.

        Args:
            user: (Q,) user rows; items of unknown users (-1) count as not shown.
            indptr: (Q + 1,) bounds: user q is tested with the items `[indptr[q], indptr[q + 1])`.
            item: (n,) item rows.
            month: (Q,) or one current month; it and the `months - 1` before it are tested.
        """
        out = np.zeros(len(item), np.bool_)
        _check(
            np.asarray(self._words),
            user.astype(np.int64),
            indptr,
            item,
            np.broadcast_to(month, user.shape).astype(np.int64),
            self.shape.bits,
            self.shape.hashes,
            out,
        )
        return out

    def shown(self, user: int, month: int) -> int:
        """Number of distinct items added for a user and month, for `shape.error`."""
        head = int(self._words[user, 0, month % self.shape.months])
        return head & 0xFFFFFFFF if head >> 32 == month else 0


def month_of(time: NDArray[np.int64]) -> Int64:
    """(n,) the calendar month (UTC) of times in ms: 12 · year + month, January = 0."""
    months = np.asarray(time, np.int64).astype("datetime64[ms]").astype("datetime64[M]")
    return months.astype(np.int64) + 12 * 1970


def _error(shown: int, bits: int, hashes: int) -> float:
    return (1 - math.exp(-hashes * shown / bits)) ** hashes


def _best_hashes(shown: int, bits: int) -> tuple[int, float]:
    about = bits / shown * math.log(2)
    options = {max(1, math.floor(about)), max(1, math.ceil(about))}
    return min(((k, _error(shown, bits, k)) for k in options), key=lambda both: both[1])


def _write_about(directory: Path, shape: BloomShape, users: int) -> None:
    about = {"format": _FORMAT, "users": users, **asdict(shape)}
    (directory / _ABOUT).write_text(json.dumps(about, indent=1), "utf-8")


@njit(cache=True, nogil=True, inline="always")
def _mixed(user: int, item: int) -> np.uint64:
    """64 well-mixed bits of a pair (the finaliser of splitmix64, Steele et al. 2014)."""
    x = np.uint64(item) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(user) * np.uint64(
        0xD1B54A32D192ED03
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _add(words: Words, user: Int64, item: Int64, month: Int64, bits: int, hashes: int) -> None:
    """Sets the bits of exposures.

    words: (U, 1 + bits / 64, months) uint64, changed; user, item, month: (n,) int64.
    """
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for e in range(len(user)):
        u = user[e]
        if u < 0 or u >= len(words) or item[e] < 0:
            continue
        block = words[u, :, month[e] % words.shape[2]]
        now, there = np.uint64(month[e]), block[0] >> shift
        if there > now:
            continue  # its slot belongs to a later month already
        if there < now:
            block[:] = np.uint64(0)
            block[0] = now << shift
        mixed = _mixed(u, item[e])
        place, step = mixed & low, (mixed >> shift) | np.uint64(1)
        fresh = False
        for _ in range(hashes):
            bit = (place * np.uint64(bits)) >> shift  # a number below `bits`, without dividing
            at, mask = np.int64(bit >> np.uint64(6)) + 1, np.uint64(1) << (bit & np.uint64(63))
            if not block[at] & mask:
                block[at] |= mask
                fresh = True
            place = (place + step) & low
        if fresh and (block[0] & low) < low:
            block[0] += np.uint64(1)


@njit(cache=True, nogil=True)
def _kept(heads: Words, month: int) -> np.uint64:
    """One bit per slot whose filter is of `month` or the months kept before it.

    heads: (months,) uint64, the first words of the filters of a user.
    """
    slots, kept = len(heads), np.uint64(0)
    for back in range(slots):
        slot = (month - back) % slots
        if heads[slot] >> np.uint64(32) == np.uint64(month - back):
            kept |= np.uint64(1) << np.uint64(slot)
    return kept


@njit(cache=True, nogil=True)
def _check(
    words: Words,
    user: Int64,
    indptr: Int64,
    item: NDArray[np.integer],
    month: Int64,
    bits: int,
    hashes: int,
    out: Bool,
) -> None:
    """Tests items of users; the arguments are those of `BloomMonths.check`.

    words: (U, 1 + bits / 64, months) uint64; user, month: (Q,) int64; indptr: (Q + 1,) int64; item:
    (n,) integers; out: (n,) bool, changed.
    """
    low, shift, one = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(1)
    slots = words.shape[2]
    for q in range(len(user)):
        u = user[q]
        if u < 0 or u >= len(words):
            continue
        kept = _kept(words[u, 0], month[q])
        if not kept:
            continue
        for c in range(indptr[q], indptr[q + 1]):
            mixed = _mixed(u, item[c])
            place, step = mixed & low, (mixed >> shift) | one
            alive = kept  # the months that may hold the item, all tested at once
            for _ in range(hashes):
                bit = (place * np.uint64(bits)) >> shift
                at, here = np.int64(bit >> np.uint64(6)) + 1, bit & np.uint64(63)
                hit = np.uint64(0)
                for slot in range(slots):
                    hit |= ((words[u, at, slot] >> here) & one) << np.uint64(slot)
                alive &= hit
                if not alive:
                    break
                place = (place + step) & low
            out[c] = alive != 0
