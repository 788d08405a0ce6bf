"""Protocols: what may be learnt from, who is asked, what is known then, what should be found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tamis.data import UNKNOWN, Dataset, Ragged
from tamis.runtime import Bool, Int32, Int64
from tamis.schema import ConfigError, DataError
from tamis.splitting.time_split import cuts


@dataclass(frozen=True, eq=False)
class Holdout:
    """One question per user, and its answer."""

    train: Dataset
    """What may be learnt from. Its tables are the whole ones: a held-out item that no event of it
    names is cold, and counts as a miss for whoever cannot find it."""
    known: Dataset
    """What is known when the users are asked: their histories. `train`, or more than it."""
    users: Int32
    """(Q,) rows of the users asked, ascending."""
    time: Int64
    """(Q,) ms, when each asks: the moment of the held-out event or of the cut, never before what is
    known of the user."""
    targets: Ragged
    """Per query the item rows that should be found; sorted, each once."""
    protocol: str
    """The protocol in words."""

    def __len__(self) -> int:
        return len(self.users)

    def sample(self, most: int, seed: int = 0) -> Holdout:
        """At most `most` of the questions, drawn at random; the protocol says so."""
        if len(self) <= most:
            return self
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        owner = np.full(len(self), UNKNOWN)
        owner[rows] = np.arange(most)
        query = owner[self.targets.query]
        kept = query >= 0
        return replace(
            self,
            users=self.users[rows],
            time=self.time[rows],
            targets=Ragged.from_pairs(query[kept], self.targets.values[kept], most),
            protocol=f"{self.protocol}; {most:,} of them drawn at random (seed {seed})",
        )


def leave_one_out(
    data: Dataset, stage: Literal["valid", "test"] = "test", *, refit: bool = False
) -> Holdout:
    """Each user's last positive event is the test item, the one before it the validation item.

    Strict (`refit=False`): for both stages, all before the validation item is learnt from. When the
    test item is asked for, the validation item is in the user's history, but was not trained on.
    `refit=True` (test only): all before the test item is learnt from too.

    Users with fewer than 3 positive events are not asked; all they did is learnt from. Events of
    other behaviours are cut at the same places. Equal times are taken in the log's order. An item
    that its user has had before cannot be found where seen items are masked: it is a miss.

    Raises:
        ConfigError: stage="valid" with refit=True.
        DataError: no user has 3 positive events.
    """
    if stage == "valid" and refit:
        raise ConfigError("refit=True is for stage='test': validation is what settings are for")
    events = data.events
    last, before = _last_two(data)
    asked = np.flatnonzero(before < len(events)).astype(np.int32)
    if not len(asked):
        raise DataError(
            f"no user of {len(data.users):,} has 3 positive events: one to learn from, one to "
            "validate by, one to test by. Split by time, or give train and test files."
        )
    place = np.arange(len(events))
    strict = replace(data, events=events.take(place < before[events.user]))
    whole = replace(data, events=events.take(place < last[events.user]))
    at = (last if stage == "test" else before)[asked]
    many = f"{len(asked):,} of {len(data.users):,} users (at least 3 positive events)"
    told = {
        ("valid", False): "the last event but one of each user, the last one unknown",
        ("test", False): "the last event of each user, strict: the event before it is in the "
        "history when the last one is asked for, but was not trained on",
        ("test", True): "the last event of each user, after a refit on all events before it",
    }[stage, refit]
    return Holdout(
        train=whole if refit else strict,
        known=whole if stage == "test" else strict,
        users=asked,
        time=events.time[at],
        targets=Ragged(np.arange(len(asked) + 1, dtype=np.int64), events.item[at]),
        protocol=f"leave-one-out: {told}; asked at the moment of that event; {many}",
    )


def given(train: Dataset, test: Dataset) -> Holdout:
    """A split that was made elsewhere: the users of `test` are asked at the end of `train`.

    Both have the same users and items, as `read_pairs` makes them. Only positive events of `test`
    are targets.

    Raises:
        DataError: the tables differ, or `test` has no positive event.
    """
    for name in ("users", "items"):
        ours, theirs = getattr(train, name).ids, getattr(test, name).ids
        if not ours.equals(theirs):
            raise DataError(
                f"train and test have different {name} ({len(ours):,} and {len(theirs):,}): their "
                "row numbers would not mean the same. Read both with `read_pairs`."
            )
    users, targets = _wanted(test, test.positive)
    return Holdout(
        train=train,
        known=train,
        users=users,
        time=np.full(len(users), train.end, np.int64),
        targets=targets,
        protocol=f"given train and test files; {len(users):,} users with a test item",
    )


def carve(data: Dataset, share: float = 0.1, *, seed: int = 0) -> Holdout:
    """A validation set out of data without times: a random share of every user's positive pairs.

    A user with n >= 2 distinct positive items gives max(1, round(share · n)) of them, all events of
    the pair with it; users with one are not asked.

    Raises:
        ConfigError: share is not in (0, 1).
        DataError: no user has two positive items.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share = {share}: the part that is held out lies between 0 and 1")
    events = data.events
    base = max(len(data.items), 1)
    key = events.user.astype(np.int64) * base + events.item
    pairs = np.unique(key[data.positive])
    owner = pairs // base
    n = np.bincount(owner, minlength=len(data.users))
    take = np.where(n >= 2, np.maximum(1, np.rint(share * n)), 0).astype(np.int64)
    order = np.lexsort((np.random.default_rng(seed).random(len(pairs)), owner))
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(n) - n, n)
    held = pairs[place < take[owner]]
    if not len(held):
        raise DataError("no user has two positive items: nothing can be held out to validate by")
    targets = Ragged.from_pairs(held // base, (held % base).astype(np.int32), len(data.users))
    users, targets = _asked(targets)
    train = replace(data, events=events.take(~np.isin(key, held)))
    return Holdout(
        train=train,
        known=train,
        users=users,
        time=np.full(len(users), train.end, np.int64),
        targets=targets,
        protocol=f"a random {share:.0%} of each user's items held out (seed {seed}); "
        f"{len(users):,} users",
    )


def by_time(
    data: Dataset,
    share: float = 0.9,
    *,
    first: int | None = None,
    repeats: bool = False,
    strangers: bool = False,
) -> Holdout:
    """The global time split: what had arrived before one moment is known, the rest is asked for.

    share: the part of the events before the cut. first: of each user's positive events after the
    cut only so many count; None = all. repeats: whether items that the user has met before the cut
    may be targets (masking seen items makes them misses). strangers: whether users without an event
    before the cut are asked too.

    Raises:
        ConfigError: share is not in (0, 1).
        DataError: nothing lies before the cut, or nobody did anything positive after it.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share = {share}: the part before the cut lies between 0 and 1")
    events = data.events
    (cut,) = cuts(events, [share])
    train = data.as_of(cut)
    if not len(train.events):
        raise DataError(
            f"nothing of {len(events):,} events lies before the cut at {share:g}: they bear one "
            "time. Give real times, or leave one out."
        )
    after = data.positive & (events.time >= cut) & (events.arrival >= cut)
    if not repeats:
        seen = train.events.take(train.seen)
        met = Ragged.from_pairs(seen.user.astype(np.int64), seen.item, len(data.users))
        after &= ~met.contains(events.user.astype(np.int64), events.item)
    if not strangers:
        after &= np.bincount(train.events.user, minlength=len(data.users))[events.user] > 0
    if first is not None:
        after = _first(data, after, first)
    users, targets = _wanted(data, after)
    return Holdout(
        train=train,
        known=train,
        users=users,
        time=np.full(len(users), cut, np.int64),
        targets=targets,
        protocol=_time_words(share, cut, len(users), first, repeats, strangers),
    )


def _time_words(
    share: float, cut: int, users: int, first: int | None, repeats: bool, strangers: bool
) -> str:
    moment = np.datetime64(cut, "ms").astype("datetime64[s]")
    what = "positive events" if first is None else f"first {first} positive event(s)"
    new = "" if repeats else " of items not met before"
    return (
        f"global time split at {share:.0%} of the events ({moment}): {what} after it{new}; "
        f"{users:,} users{'' if strangers else ' with a past'}"
    )


def _last_two(data: Dataset) -> tuple[Int64, Int64]:
    """(users,) places in the log of each user's last positive event and of the one before it.

    Both are the log's length for users with fewer than 3.
    """
    positive = np.flatnonzero(data.positive)
    user = data.events.user[positive]
    positive = positive[np.argsort(user, kind="stable")]
    n = np.bincount(user, minlength=len(data.users))
    end = np.cumsum(n)
    last = np.full(len(data.users), len(data.events), np.int64)
    before = last.copy()
    enough = n >= 3
    last[enough] = positive[end[enough] - 1]
    before[enough] = positive[end[enough] - 2]
    return last, before


def _first(data: Dataset, among: Bool, most: int) -> Bool:
    """Of the events `among`, each user's first `most`."""
    at = np.flatnonzero(among)
    user = data.events.user[at]
    order = np.argsort(user, kind="stable")
    n = np.bincount(user, minlength=len(data.users))
    place = np.arange(len(at)) - np.repeat(np.cumsum(n) - n, n)
    kept = np.zeros(len(among), np.bool_)
    kept[at[order][place < most]] = True
    return kept


def _wanted(data: Dataset, where: Bool) -> tuple[Int32, Ragged]:
    """The users of those events, and each one's distinct items.

    Raises:
        DataError: there is no such event.
    """
    user, item = data.events.user[where], data.events.item[where]
    known = (user != UNKNOWN) & (item != UNKNOWN)
    if not known.any():
        raise DataError(
            "nothing positive is held out: there is nothing to judge by. Check which behaviours "
            "are positive, and the share before the cut."
        )
    pairs = Ragged.from_pairs(user[known].astype(np.int64), item[known], len(data.users))
    return _asked(pairs)


def _asked(targets: Ragged) -> tuple[Int32, Ragged]:
    """The numbers of the lists that are not empty, and these lists."""
    sizes = np.diff(targets.indptr)
    users = np.flatnonzero(sizes).astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(sizes[users])]).astype(np.int64)
    return users, Ragged(bounds, targets.values)
