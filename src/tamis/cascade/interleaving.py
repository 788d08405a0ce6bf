"""Interleaving: one slate of two rankings, by which clicks compare them on every request.

Team draft (Radlinski, Kurup and Joachims 2008): in each round a fair coin decides which ranking
chooses first; each then adds its best item that is not in the slate yet. Neither ranking has better
places on average, so that a click is a vote for the one that placed the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tamis.cascade.arrangement import Slates
from tamis.cascade.runner import Outcome


def team_draft(
    first: Sequence[int], second: Sequence[int], n: int, seed: int
) -> tuple[list[int], list[int]]:
    """The drafted items, at most `n`, and which ranking placed each: 0 or 1.

    Args:
        first, second: items of the two rankings, best first, each once.
        seed: of the coins; the same seed draws the same slate.
    """
    coins: list[int] = np.random.default_rng(abs(seed)).integers(0, 2, n).tolist()
    lists: tuple[Sequence[int], Sequence[int]] = (first, second)
    at = [0, 0]
    drafted: dict[int, int] = {}
    for coin in coins:
        for team in (coin, 1 - coin):
            ranking = lists[team]
            while at[team] < len(ranking) and ranking[at[team]] in drafted:
                at[team] += 1
            if at[team] < len(ranking) and len(drafted) < n:
                drafted[ranking[at[team]]] = team
    return list(drafted), list(drafted.values())


def interleaved(outcome: Outcome, other: Slates, n: int, seed: int) -> tuple[Outcome, list[int]]:
    """The outcome of one query with a slate that both rankings fill, and each place's ranking.

    Args:
        other: the slate that another order of the same ranked candidates makes.
        n: places of the slate.
        seed: of the coins.
    """
    first, second = outcome.slate.item.tolist(), other.candidates.item.tolist()
    items, teams = team_draft(first, second, n, seed)
    place = {int(item): at for at, item in enumerate(outcome.ranked.item.tolist())}
    chosen = outcome.ranked.take(np.array([place[item] for item in items], np.intp))
    return replace(outcome, slates=Slates(chosen, outcome.ranked.item)), teams
