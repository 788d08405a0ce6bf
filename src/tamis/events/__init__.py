"""Reads, validates, splits and replays what people did; the catalogue of data sets."""

from tamis.events.log import UNKNOWN, Dataset, Events, Table

__all__ = ["UNKNOWN", "Dataset", "Events", "Table"]
