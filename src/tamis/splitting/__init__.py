"""Evaluation protocols: time splits and their windows, leave-one-out, given files."""

from tamis.splitting.holdout import Holdout, by_time, carve, given, leave_one_out
from tamis.splitting.time_split import Window, cuts, happened, test_cut, windows

__all__ = [
    "Holdout",
    "Window",
    "by_time",
    "carve",
    "cuts",
    "given",
    "happened",
    "leave_one_out",
    "test_cut",
    "windows",
]
