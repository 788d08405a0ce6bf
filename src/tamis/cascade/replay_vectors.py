"""Adds vectors of a recall channel, as of each row's time, to the training rows of a pre-ranker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamis.cascade.protocols import Embeds
from tamis.cascade.replay import Replay
from tamis.cascade.vector_inputs import beside, block_of, rotation
from tamis.features import Rows
from tamis.splitting import Window

ChannelAt = Callable[[int], Embeds]
"""Gives the channel fitted on the events before a time in ms."""


def with_vectors(
    rows: Rows,
    name: str,
    replays: Sequence[tuple[Window, Replay]],
    channel_at: ChannelAt,
    cut: int,
) -> Rows:
    """The rows of the windows, joined in order, with two blocks of vectors.

    The vectors of a window are those of the channel fitted before it, so they have seen no label;
    they are rotated to the axes of the channel fitted at `cut`, which is the one that serves.
    """
    wanted = channel_at(cut).item_vectors()
    users: list[np.ndarray] = []
    items: list[np.ndarray] = []
    whose: list[np.ndarray] = []
    at: list[np.ndarray] = []
    for window, replay in replays:
        channel = channel_at(window.start)
        turn = rotation(channel.item_vectors(), wanted)
        whose.append(replay.candidates.query + sum(len(u) for u in users))
        at.append(replay.candidates.item + len(wanted) * len(items))
        users.append(channel.user_vectors(replay.queries) @ turn)
        items.append(channel.item_vectors() @ turn)
    return beside(
        rows,
        name,
        block_of(np.concatenate(users), np.concatenate(whose)),
        block_of(np.concatenate(items), np.concatenate(at)),
    )
