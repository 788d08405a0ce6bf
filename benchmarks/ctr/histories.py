"""What DIN's runners share beside `common`: each row's past."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import pandas as pd

ATTENTION, LAST = (64, 32), 50


@dataclass
class Coded(common.Coded):
    """The coded rows with their histories."""

    H: object
    """int32 (n, LAST) items of the past, oldest first, padded at the end."""
    lengths: object


def coded(data: Path) -> Coded:
    """Everything encoded by hand, as these libraries' examples do it."""
    rows = common.coded(data)
    events, _, users = common.tables(data)
    at_user = pd.Index(users.user_id).get_indexer(events.user_id)
    order, first, length = past(at_user, events.timestamp.to_numpy())
    place = np.arange(LAST)
    at = np.minimum(first[:, None] + place, len(order) - 1)
    item = rows.X[:, common.SINGLE.index("item_id")]
    H = np.empty((len(order), LAST), np.int32)
    H[order] = np.where(place < length[:, None], item[order][at], 0)
    lengths = np.empty(len(order), np.int32)
    lengths[order] = length
    return Coded(**vars(rows), H=H, lengths=lengths)


def past(user, time):
    """Which of the rows, sorted by (user, time), are each row's past: its user's last LAST rows of
    a strictly earlier time. Returns (order, first, length): row `order[k]` has the past
    `order[first[k]:first[k] + length[k]]`, oldest first."""
    n = len(user)
    order = np.lexsort((np.arange(n), time, user))
    own, when = user[order], time[order]
    new_user = np.r_[True, own[1:] != own[:-1]]
    new_time = new_user | np.r_[True, when[1:] != when[:-1]]
    place = np.arange(n)
    begins = np.maximum.accumulate(np.where(new_user, place, 0))
    before = np.maximum.accumulate(np.where(new_time, place, 0))
    length = np.minimum(before - begins, LAST)
    return order, before - length, length
