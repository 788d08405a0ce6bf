"""Reads, validates, splits and replays what people did; the catalogue of data sets."""

from tamis.events.catalogue import CATALOGUE, cache_dir, fetch, find_source, materialise
from tamis.events.conditions import Condition
from tamis.events.doctor import Finding, examine
from tamis.events.folders import FOLDERS, FolderSource
from tamis.events.frame import columns_of, dataset_from_frame
from tamis.events.geohash import geohash_around, geohash_cells, geohash_text
from tamis.events.guess import Guess, guess_config, write_guess
from tamis.events.holdout import Holdout, by_time, carve, given, leave_one_out
from tamis.events.labels import Labels, bucketed, codes_of, spread
from tamis.events.log import UNKNOWN, Dataset, Events, Table
from tamis.events.plain import read_frame, write_frame
from tamis.events.ragged import Ragged
from tamis.events.read import read_dataset, read_items
from tamis.events.rejects import Rejects
from tamis.events.sequences import at_least, read_interactions, read_pairs, read_sequences
from tamis.events.split import Window, cuts, happened, test_cut, windows
from tamis.events.tables import id_text, item_categories
from tamis.events.times import parse_times

__all__ = [
    "CATALOGUE",
    "FOLDERS",
    "UNKNOWN",
    "Condition",
    "Dataset",
    "Events",
    "Finding",
    "FolderSource",
    "Guess",
    "Holdout",
    "Labels",
    "Ragged",
    "Rejects",
    "Table",
    "Window",
    "at_least",
    "bucketed",
    "by_time",
    "cache_dir",
    "carve",
    "codes_of",
    "columns_of",
    "cuts",
    "dataset_from_frame",
    "examine",
    "fetch",
    "find_source",
    "geohash_around",
    "geohash_cells",
    "geohash_text",
    "given",
    "guess_config",
    "happened",
    "id_text",
    "item_categories",
    "leave_one_out",
    "materialise",
    "parse_times",
    "read_dataset",
    "read_frame",
    "read_interactions",
    "read_items",
    "read_pairs",
    "read_sequences",
    "spread",
    "test_cut",
    "windows",
    "write_frame",
    "write_guess",
]
