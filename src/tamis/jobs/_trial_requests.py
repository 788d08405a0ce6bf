"""TrialResult requests to a version before it is published."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from tamis.bundle import Version
from tamis.schema import TamisError
from tamis.service import Recommender

NOBODY = "\x00nobody"
"""An id that no user has."""
WARM_UP = 3
"""Requests before those that are timed."""


@dataclass(frozen=True)
class TrialResult:
    """The answers of a version to trial requests."""

    requests: int
    faults: tuple[str, ...]
    """What was wrong with an answer, one text per request."""
    milliseconds: float
    """Median time of a request."""
    ratio: float | None
    """This time ÷ that of the serving version; None where that could not be measured."""


def try_out(version: Version, serving: Recommender | None, requests: int, seed: int) -> TrialResult:
    """Asks a version for slates of known users and of an unknown one, and the serving version for
    the same ones, to compare the times.

    What an answer had to do without is a fault unless the serving version's answers do without it,
    too, or it is a channel whose lists are computed after the publication. A version that cannot be
    opened has failed all requests.
    """
    try:
        recommender = Recommender(version)
    except TamisError as error:
        return TrialResult(requests, (f"the version cannot be opened: {error}",), 0.0, None)
    parts = recommender.parts
    random, ids = np.random.default_rng(seed), parts.users.ids
    count = min(requests - 1, len(ids))
    known = ids.gather(np.sort(random.choice(len(ids), count, replace=False))).to_list()
    users = [*known, NOBODY]
    n = min(parts.config.cascade.slate, len(parts.items))
    channels = parts.config.cascade.channels
    expected = {f"recall:{name}" for name, c in channels.items() if (c.use or name) == "offline"}
    ratio = None
    if serving is not None:
        theirs = _asked(serving, users, n)
        expected |= {stage for one in theirs for stage in one.degraded}
    ours = _asked(recommender, users, n)
    took = median(one.seconds for one in ours)
    if serving is not None:
        ratio = took / max(median(one.seconds for one in theirs), 1e-9)
    faults = [text for one in ours if (text := one.fault(expected))]
    return TrialResult(len(users), tuple(faults), took * 1e3, ratio)


class _Asked(NamedTuple):
    """One trial request."""

    who: str
    seconds: float
    error: str
    """What is wrong with the answer; empty: nothing."""
    degraded: Mapping[str, str]
    """{stage: reason} of what the answer had to do without."""

    def fault(self, expected: Collection[str]) -> str:
        """What is wrong, in words; empty: nothing."""
        missing = [reason for stage, reason in self.degraded.items() if stage not in expected]
        found = self.error or (missing[0] if missing else "")
        return f"{self.who}: {found}" if found else ""


def _asked(recommender: Recommender, users: Sequence[str], n: int) -> list[_Asked]:
    """The requests, after some that are not timed."""
    for user in users[:WARM_UP]:
        _ask(recommender, user, n)
    return [_ask(recommender, user, n) for user in users]


def _ask(recommender: Recommender, user: str, n: int) -> _Asked:
    who = "an unknown user" if user == NOBODY else f"user {user}"
    start = perf_counter()
    try:
        answer = recommender.recommend(user, n, dry_run=True)
    except Exception as error:  # whatever a stage raises keeps the version from being published
        text = f"{type(error).__name__}: {error}"
        return _Asked(who, perf_counter() - start, text, {})
    took = perf_counter() - start
    error = ""
    if not answer.items:
        error = f"no item of {n}"
    elif not all(isfinite(place.score) for place in answer.items):
        error = "a score is not finite"
    degraded = {":".join(text.split(":")[:2]).split(" ")[0]: text for text in answer.degraded}
    return _Asked(who, took, error, degraded)
