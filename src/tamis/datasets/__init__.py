"""Public data sets and file formats of research, read as tables or as a `Dataset`."""

from tamis.datasets.catalogue import CATALOGUE, cache_dir, fetch, find_source, materialise
from tamis.datasets.folders import FOLDERS, FolderSource
from tamis.datasets.interaction_files import at_least, read_interactions, read_pairs, read_sequences

__all__ = [
    "CATALOGUE",
    "FOLDERS",
    "FolderSource",
    "at_least",
    "cache_dir",
    "fetch",
    "find_source",
    "materialise",
    "read_interactions",
    "read_pairs",
    "read_sequences",
]
