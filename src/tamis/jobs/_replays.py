"""The ranking rows of a training: replayed queries or impressions, bounded in number.

Replayed queries bring hundreds of candidates each, nearly all of them negative. Of more than
`[split] max_rows` rows, negatives are sampled; the models correct their predictions for the share
that was kept. The rows that fits are validated on are complete lists, of fewer users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from numpy import datetime64

from tamis.cascade import (
    REPLAY_USERS,
    Replay,
    Retrieval,
    impression_window,
    join,
    replay_window,
    returning_users,
    tasks_of,
)
from tamis.data import Dataset
from tamis.features import POSITION, Histories
from tamis.runtime import Meter, Progress
from tamis.schema import ProjectConfig
from tamis.splitting import Window, horizon, replay_windows, test_cut, windows

IMPRESSIONS = 5_000_000
"""Most impressions per window that the ranker learns from: the latest ones."""
FEWEST_USERS = 200
"""Users that a window keeps where users, not negatives, are sampled."""


@dataclass(eq=False)
class Replays:
    """The labelled candidates of each window, made once and shared by the versions of a run."""

    config: ProjectConfig
    data: Dataset
    histories: Histories
    retrieval: Callable[[int], Retrieval]
    """Gives the channels and filters fitted on the events before a time in ms."""
    meter: Meter
    steps: Progress
    negatives: float = 1.0
    """Share of the negatives that the training rows hold."""
    most_users: int = REPLAY_USERS
    """Most users of a window's training rows."""
    valid_users: int = REPLAY_USERS
    """Most users of the validation rows."""
    _made: dict[tuple[Window, bool], Replay] = field(
        default_factory=dict[tuple[Window, bool], Replay]
    )

    def __post_init__(self) -> None:
        split, events = self.config.split, self.data.events
        self.impressions = self.data.has_impressions
        self.cut = test_cut(split, events)
        self.horizon = 0 if self.impressions else horizon(split, events)

    def windows(self, serving: bool = False) -> list[Window]:
        """The windows, oldest first; of replays, those with a user who returns."""
        split, events = self.config.split, self.data.events
        if self.impressions:
            return windows(split, events, serving)
        return [
            window
            for window in replay_windows(split, events, serving)
            if len(returning_users(self.known(window), self.histories, window))
        ]

    def of(self, shown: Sequence[Window]) -> Replay:
        """The training rows of those windows, joined."""
        return join([self.training(window) for window in shown])

    def training(self, window: Window) -> Replay:
        """The training rows of a window; of many negatives a share."""
        if self.impressions:
            return self._impressions(window)
        self._plan()
        return self._replay(window, valid=False)

    def valid(self, window: Window) -> Replay:
        """The validation rows of a window: complete lists, without positions, as in requests, and
        without sample weights, as metrics are not weighted."""
        if self.impressions:
            return replace(as_served(self._impressions(window)), weights=None)
        self._plan()
        return replace(self._replay(window, valid=True), weights=None)

    def complete(self, window: Window, most_users: int) -> Replay:
        """Complete lists of candidates of at least `most_users` of a window's users, or of all.

        Of logs with impressions, these are replayed queries as well, at the start of the window.
        """
        if not self.impressions:
            self._plan()
            if self.valid_users >= most_users:
                return self._replay(window, valid=True)
        retrieval = self.retrieval(window.start)
        with self.meter.stage("replay"):
            self.steps.begin("replay past queries")
            return replay_window(
                self.config,
                self.known(window),
                self.histories,
                retrieval,
                window,
                self.config.seed,
                most_users=most_users,
            )

    def notes(self) -> Iterator[str]:
        """What was left out to bound the rows."""
        if self.negatives < 1:
            yield (
                f"the ranker was trained on {self.negatives:.1%} of the negatives of replayed "
                f"queries ([split] max_rows = {self.config.split.max_rows:,}); its predictions are "
                "corrected for it"
            )
        what, most = ("impressions", IMPRESSIONS) if self.impressions else ("users", None)
        for (window, valid), replay in self._made.items():
            if replay.left_out and not valid:
                begin = datetime64(window.start, "ms").astype("datetime64[s]")
                yield (
                    f"the ranker was trained on {most or self.most_users:,} {what} of the window "
                    f"from {begin}; {replay.left_out:,} more were left out"
                )

    def known(self, window: Window) -> Dataset:
        """Labels are events known by the window's end, not those that arrived later."""
        return self.data.as_of(max(window.end, self.cut))

    def _impressions(self, window: Window) -> Replay:
        if (window, False) not in self._made:
            self._made[window, False] = impression_window(
                self.config,
                self.known(window),
                self.histories,
                window,
                IMPRESSIONS,
                positions=True,
            )
        return self._made[window, False]

    def _replay(self, window: Window, *, valid: bool) -> Replay:
        complete = self.negatives == 1 and self.most_users == self.valid_users
        key = (window, valid and not complete)
        if key not in self._made:
            retrieval = self.retrieval(window.start)
            with self.meter.stage("replay"):
                self.steps.begin("replay past queries")
                self._made[key] = replay_window(
                    self.config,
                    self.known(window),
                    self.histories,
                    retrieval,
                    window,
                    self.config.seed,
                    most_users=self.valid_users if key[1] else self.most_users,
                    negatives=1.0 if key[1] else self.negatives,
                )
        return self._made[key]

    def _plan(self) -> None:
        """Decides once how many users, and which share of their negatives, `max_rows` allows.

        The number of candidates of a query is at most the sum of the quotas, and less by what the
        channels have in common; it is measured on a few users of the first window.
        """
        if self._planned:
            return
        self._planned = True
        shown = self.windows()
        if not shown:
            return
        users = [
            min(REPLAY_USERS, len(returning_users(self.known(w), self.histories, w))) for w in shown
        ]
        first = shown[0]
        retrieval = self.retrieval(first.start)
        with self.meter.stage("replay"):
            self.steps.begin("estimate the number of ranking rows")
            sample = replay_window(
                self.config,
                self.known(first),
                self.histories,
                retrieval,
                first,
                self.config.seed,
                most_users=FEWEST_USERS,
            )
        per_query = max(1.0, len(sample.candidates) / len(sample.queries))
        share = self.config.split.max_rows / (sum(users) * per_query)
        if share >= 1:
            return
        per_window = self.config.split.max_rows / len(shown)
        self.valid_users = max(FEWEST_USERS, int(per_window / per_query))
        tasks = tasks_of(self.config)
        if all(task.kind == "binary" and not task.esmm for task in tasks):
            self.negatives = share
        else:  # rows of other tasks cannot be corrected for left out negatives
            self.most_users = self.valid_users

    _planned: bool = False


def as_served(replay: Replay) -> Replay:
    """The same rows without what a request does not know: the positions of shown items."""
    candidates = replay.candidates
    columns = {name: c for name, c in candidates.columns.items() if name != POSITION}
    return replace(replay, candidates=replace(candidates, columns=columns))
