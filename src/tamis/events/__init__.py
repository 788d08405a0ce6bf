"""Reads, validates, splits and replays what people did; the catalogue of data sets."""

from tamis.events.log import UNKNOWN, Dataset, Events, Table
from tamis.events.read import read_dataset
from tamis.events.rejects import Rejects
from tamis.events.tables import item_categories

__all__ = ["UNKNOWN", "Dataset", "Events", "Rejects", "Table", "item_categories", "read_dataset"]
