"""Evaluation protocols: time splits and their windows, leave-one-out, and given files."""

from tamis.splitting.holdout import Holdout, by_time, carve, given, leave_one_out
from tamis.splitting.time_split import (
    Window,
    cuts,
    events_in,
    horizon,
    replay_windows,
    test_cut,
    windows,
)

__all__ = [
    "Holdout",
    "Window",
    "by_time",
    "carve",
    "cuts",
    "events_in",
    "given",
    "horizon",
    "leave_one_out",
    "replay_windows",
    "test_cut",
    "windows",
]
