"""Evaluation protocols: training data, evaluated users, known history, and target items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tamis.data import UNKNOWN, Dataset, Ragged
from tamis.runtime import Bool, Int32, Int64
from tamis.schema import ConfigError, DataError, one_of, whole_number
from tamis.schema import share as check_share
from tamis.splitting.time_split import cuts


@dataclass(frozen=True, eq=False)
class Holdout:
    """One query per evaluated user, and its target items."""

    train: Dataset
    """Training data. Its tables are complete: a held-out item without a training event is a new
    item, and counts as a miss for models that cannot find it."""
    known: Dataset
    """Data known at the time of the queries, for histories: `train`, or more than it."""
    users: Int32
    """(Q,) rows of the evaluated users, ascending."""
    time: Int64
    """(Q,) time of each query, ms: the time of the held-out event or of the cut, never earlier than
    the known events of the user."""
    targets: Ragged
    """Target item rows of each query, sorted and without duplicates."""
    protocol: str
    """Description of the protocol, for reports."""

    def __len__(self) -> int:
        return len(self.users)

    def sample(self, most: int, seed: int = 0) -> Holdout:
        """At most `most` queries, drawn at random; `protocol` mentions it."""
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

    Strict (`refit=False`): for both stages, the training data is all before the validation item. In
    the test, the validation item is in the user's history, but was not trained on. `refit=True`
    (test only): the training data is all before the test item.

    Users with fewer than 3 positive events are not evaluated; all of their events are training
    data. Events of other behaviours are cut at the same positions. Equal times have the order of
    the log. A target that the user has already had is a miss if seen items are masked.

    Raises:
        ConfigError: stage="valid" with refit=True.
        DataError: no user has 3 positive events.
    """
    _check_data(data)
    one_of("stage", stage, "valid", "test")
    if stage == "valid" and refit:
        raise ConfigError(
            "refit=True needs stage='test': settings are chosen on validation items before it"
        )
    events = data.events
    last, before = _last_two(data)
    evaluated = np.flatnonzero(before < len(events)).astype(np.int32)
    if not len(evaluated):
        raise DataError(
            f"no user of {len(data.users):,} has 3 positive events: one to train on, one to "
            "validate, one to test. Split by time, or give train and test files."
        )
    place = np.arange(len(events))
    strict = replace(data, events=events.take(place < before[events.user]))
    whole = replace(data, events=events.take(place < last[events.user]))
    at = (last if stage == "test" else before)[evaluated]
    many = f"{len(evaluated):,} of {len(data.users):,} users (at least 3 positive events)"
    description = {
        ("valid", False): "the second last event of each user, the last one unknown",
        ("test", False): "the last event of each user, strict: the event before it is in the "
        "history, but was not trained on",
        ("test", True): "the last event of each user, after a refit on all events before it",
    }[stage, refit]
    return Holdout(
        train=whole if refit else strict,
        known=whole if stage == "test" else strict,
        users=evaluated,
        time=events.time[at],
        targets=Ragged(np.arange(len(evaluated) + 1, dtype=np.int64), events.item[at]),
        protocol=f"leave-one-out: {description}; evaluated at the time of that event; {many}",
    )


def given(train: Dataset, test: Dataset) -> Holdout:
    """A given split: the users of `test` are evaluated at the end of `train`.

    Both must have the same users and items, as those of `read_pairs` do. Only positive events of
    `test` are targets.

    Raises:
        DataError: the tables differ, or `test` has no positive event.
    """
    _check_data(train)
    _check_data(test)
    for name in ("users", "items"):
        ours, theirs = getattr(train, name).ids, getattr(test, name).ids
        if not ours.equals(theirs):
            raise DataError(
                f"train and test have different {name} ({len(ours):,} and {len(theirs):,}): their "
                "row numbers differ. Read both with `read_pairs`."
            )
    users, targets = _targets(test, test.positive)
    return Holdout(
        train=train,
        known=train,
        users=users,
        time=np.full(len(users), train.end, np.int64),
        targets=targets,
        protocol=f"given train and test files; {len(users):,} users with a test item",
    )


def carve(data: Dataset, share: float = 0.1, *, seed: int = 0) -> Holdout:
    """A validation split of data without times: a random share of each user's positive items.

    Of n >= 2 distinct positive items, max(1, round(share · n)) are held out, with all events of the
    user and item; users with one item are not evaluated.

    Raises:
        ConfigError: share is not in (0, 1).
        DataError: no user has two positive items.
    """
    _check_data(data)
    share = check_share("share", share, 0.1)
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
        raise DataError(
            "no user has two positive items: nothing can be held out; give more events per user"
        )
    targets = Ragged.from_pairs(held // base, (held % base).astype(np.int32), len(data.users))
    users, targets = _nonempty(targets)
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
    new_users: bool = False,
) -> Holdout:
    """The global time split: events that arrived before the cut are known, later ones are targets.

    Args:
        data: the whole log.
        share: share of the events before the cut, in (0, 1).
        first: number of each user's first positive events after the cut that count; None = all.
        repeats: whether items that the user has seen before the cut may be targets; they are misses
            if seen items are masked.
        new_users: whether users without an event before the cut are evaluated too.

    Raises:
        ConfigError: share is not in (0, 1).
        DataError: no event is before the cut, or no positive event after it.
    """
    _check_data(data)
    share = check_share("share", share, 0.9)
    if first is not None:
        first = whole_number("first", first)
    events = data.events
    (cut,) = cuts(events, [share])
    train = data.as_of(cut)
    if not len(train.events):
        raise DataError(
            f"none of {len(events):,} events is before the cut at {share:g}: they have the same "
            "time. Give real times, or use leave-one-out."
        )
    after = data.positive & (events.time >= cut) & (events.arrival >= cut)
    if not repeats:
        seen = train.events.take(train.seen)
        seen_items = Ragged.from_pairs(seen.user.astype(np.int64), seen.item, len(data.users))
        after &= ~seen_items.contains(events.user.astype(np.int64), events.item)
    if not new_users:
        after &= np.bincount(train.events.user, minlength=len(data.users))[events.user] > 0
    if first is not None:
        after = _first(data, after, first)
    if not repeats and not after.any():
        raise DataError(
            "no positive event after the cut is on an item that its user has not seen before, so "
            "there are no targets. Let known items be targets (repeats=True; --keep-seen), or "
            "check which behaviours are positive."
        )
    users, targets = _targets(data, after)
    return Holdout(
        train=train,
        known=train,
        users=users,
        time=np.full(len(users), cut, np.int64),
        targets=targets,
        protocol=_time_description(share, cut, len(users), first, repeats, new_users),
    )


def _check_data(data: Any) -> None:
    """Raises DataError for what is no data set, such as a frame."""
    if not isinstance(data, Dataset):
        raise DataError(
            f"expected a Dataset, got {type(data).__name__}; make one of a frame by "
            "tamis.dataset_from_frame(frame)"
        )


def _time_description(
    share: float, cut: int, users: int, first: int | None, repeats: bool, new_users: bool
) -> str:
    moment = np.datetime64(cut, "ms").astype("datetime64[s]")
    targets = "positive events" if first is None else f"first {first} positive event(s)"
    new = "" if repeats else " of items not seen before"
    return (
        f"global time split at {share:.0%} of the events ({moment}): {targets} after it{new}; "
        f"{users:,} users{'' if new_users else ' with a history'}"
    )


def _last_two(data: Dataset) -> tuple[Int64, Int64]:
    """(users,) positions in the log of each user's last positive event and of the one before it.

    Both are the length of the log for users with fewer than 3 positive events.
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
    """(n,) bool: each user's first `most` events of those where `among` (n,)."""
    at = np.flatnonzero(among)
    user = data.events.user[at]
    order = np.argsort(user, kind="stable")
    n = np.bincount(user, minlength=len(data.users))
    place = np.arange(len(at)) - np.repeat(np.cumsum(n) - n, n)
    kept = np.zeros(len(among), np.bool_)
    kept[at[order][place < most]] = True
    return kept


def _targets(data: Dataset, where: Bool) -> tuple[Int32, Ragged]:
    """The users of the events where `where` (n,), and the distinct items of each.

    Raises:
        DataError: there is no such event.
    """
    user, item = data.events.user[where], data.events.item[where]
    known = (user != UNKNOWN) & (item != UNKNOWN)
    if not known.any():
        raise DataError(
            "no positive event is held out, so there are no targets. Check which behaviours are "
            "positive, and the share before the cut."
        )
    pairs = Ragged.from_pairs(user[known].astype(np.int64), item[known], len(data.users))
    return _nonempty(pairs)


def _nonempty(targets: Ragged) -> tuple[Int32, Ragged]:
    """The numbers of the lists that are not empty, and these lists."""
    sizes = np.diff(targets.indptr)
    users = np.flatnonzero(sizes).astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(sizes[users])]).astype(np.int64)
    return users, Ragged(bounds, targets.values)
