"""What slates are truly worth, where the project is simulated: the truth does not depend on what
the log happened to show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis.evaluate import mean, paired_bootstrap
from tamis.jobs._rerank_effect import NEW_DAYS, new_share
from tamis.runtime import Float64, Int32
from tamis.service import Parts
from tamis.simulator import LifeConfig, LivingWorld, SimulationConfig, reward

FILE = "simulation.json"
STILL = LifeConfig(drift=0, births=0, deaths=0, signups=0, departures=0, fatigue=0)
BEST_OF = 200
"""Users for whom the best slate is searched, which looks at every item."""
DAY_MS = 86_400_000


class TrueWorth:
    """The truth of a project that `tamis simulate` wrote.

    Args:
        folder: of the project.
        parts: the version's tables, whose rows the slates have.
        time: ms, the moment that is judged.
    """

    def __init__(self, folder: Path, parts: Parts, time: int) -> None:
        config = json.loads((folder / FILE).read_text("utf-8"))["config"]
        self._world = LivingWorld(SimulationConfig.from_dict(config), STILL, time)
        self._users = self._world.user_rows(parts.users.ids.to_list())
        self._items = self._world.item_rows(parts.items.ids.to_list())
        self._time = time

    @staticmethod
    def known(folder: Path) -> bool:
        """Whether the project is simulated."""
        return (folder / FILE).is_file()

    def result(
        self,
        users: Int32,
        ranked: Int32,
        slates: Int32,
        channels: Mapping[str, Int32],
        seed: int,
    ) -> dict[str, Any]:
        """Compares the ranker's first items with the slates after re-rank, and with channels.

        Args:
            users: (Q,) user rows of the version.
            ranked: (Q, n) item rows, best first by value; -1: none.
            slates: (Q, n) item rows after the re-rank rules.
            channels: name → (Q, n) item rows of each channel alone.
        """
        before, after = self.worth(users, ranked), self.worth(users, slates)
        spread = np.linspace(0, len(users) - 1, min(BEST_OF, len(users))).astype(np.int64)
        rows = self._users[users[spread]]
        best = [self._world.best_slate(int(u), slates.shape[1], self._time)[1] for u in rows]
        return {
            "protocol": "expected worth of a slate at the cut by the simulation's probabilities: "
            "click 1, like 0.5, cart 2, purchase 4; users and slates as above",
            "ranked": {"reward": mean(before), **self._new(ranked)},
            "slate": {"reward": mean(after), **self._new(slates)},
            "channels": {
                name: {"reward": mean(self.worth(users, lists)), **self._new(lists)}
                for name, lists in channels.items()
            },
            "difference": paired_bootstrap(after, before, seed=seed).to_dict(),
            "best": {"reward": float(np.mean(best)), "users": len(best)},
        }

    def worth(self, users: Int32, lists: Int32) -> Float64:
        """(Q,) expected worth of each list."""
        query, place = np.nonzero(lists >= 0)
        user, item = self._users[users[query]], self._items[lists[query, place]]
        each = reward(self._world.expected(user, item, place + 1, self._time))
        return np.bincount(query, weights=each, minlength=len(lists)).astype(np.float64)

    def _new(self, lists: Int32) -> dict[str, float]:
        """Share of the places whose item was published lately, and its exposure."""
        age = self._time - self._world.published(self._items)
        new = age < NEW_DAYS * DAY_MS
        return {
            "new_items": new_share(lists, new),
            "new_exposure": new_share(lists, new, seen=True),
        }
