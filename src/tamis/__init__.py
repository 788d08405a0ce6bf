"""Tamis sieves millions of items down to the ten that matter.

A project: `project = tamis.open("DIR")`, then `project.train()`, `project.evaluate()`,
`project.recommend(user=…)`: a call for each command. Without a project: declare features, fit one
model or one channel on a frame.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tamis._version import __version__ as __version__
from tamis.schema import DenseFeat, SparseFeat, TamisError, VarLenSparseFeat

if TYPE_CHECKING:
    from tamis.jobs import Project, demo, fetch, init, open, simulate
    from tamis.rank import DeepFM
    from tamis.recall import EASE, Hot, ItemCF, TwoTower


_HOME = {
    "Project": "tamis.jobs",
    "demo": "tamis.jobs",
    "fetch": "tamis.jobs",
    "init": "tamis.jobs",
    "open": "tamis.jobs",
    "simulate": "tamis.jobs",
    "DeepFM": "tamis.rank",
    "EASE": "tamis.recall",
    "Hot": "tamis.recall",
    "ItemCF": "tamis.recall",
    "TwoTower": "tamis.recall",
}


def __getattr__(name: str) -> Any:
    """Loads the heavy rooms (torch, faiss) only when something of theirs is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tamis' has no attribute {name!r}")


__all__ = [
    "EASE",
    "DeepFM",
    "DenseFeat",
    "Hot",
    "ItemCF",
    "Project",
    "SparseFeat",
    "TamisError",
    "TwoTower",
    "VarLenSparseFeat",
    "demo",
    "fetch",
    "init",
    "open",
    "simulate",
]
