"""The authors whom users follow, read from a table of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tamis.data.dataset import Follows
from tamis.data.rejects import Rejects
from tamis.data.table import Table
from tamis.data.tables import form_of, read_declared, read_ids, require_columns, start_sieve
from tamis.data.times import parse_times
from tamis.schema import FollowsConfig


def read_follows(config: FollowsConfig, root: Path, users: Table, rejects: Rejects) -> Follows:
    """Reads the table of follows; rows of users who are not in `users` are left out and reported.

    Raises DataError if the file is missing or damaged, or lacks a declared column.
    """
    raw = read_declared(config, root)
    keys = {"user": config.user, "author": config.author}
    require_columns(raw, keys | ({"time": config.time} if config.time else {}), "follows")
    form, sieve = form_of(config, raw), start_sieve(raw, rejects)
    frame = raw.frame
    user_ids = read_ids(sieve, frame[config.user], "user", form)
    authors = read_ids(sieve, frame[config.author], "author", form)
    user = users.rows(user_ids)
    text = "unknown user: neither the table of users nor the events have the id"
    sieve.reject(user < 0, text, config.user, user_ids)
    time = np.zeros(0, np.int64)
    if config.time is not None:
        column = frame[config.time]
        times = parse_times(column, config.time_unit, form)
        sieve.note(times.notes, config.time)
        sieve.reject(times.bad, "time is not a time", config.time, column)
        sieve.reject(times.missing, "no time (empty, or the row is cut short)", config.time)
        time = times.ms[sieve.alive]
    return Follows(user[sieve.alive], authors.filter(pl.Series(sieve.alive)), time)
