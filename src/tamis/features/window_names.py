"""The time windows of statistics by name, for those who only check names."""

WINDOWS = ("1h", "1d", "7d", "30d", "all")
"""Ascending in length: the sum of a longer window starts from that of a shorter one with the same
buckets."""
