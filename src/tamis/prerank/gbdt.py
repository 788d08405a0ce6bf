"""Gradient-boosted trees as a pre-ranker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.prerank._base import Taught, Teachable
from tamis.train import Trees, TreesConfig


class GBDTConfig(Teachable, TreesConfig):
    """Fewer and smaller trees than a ranker's: thousands of candidates walk each of them."""

    trees: Annotated[int, Field(ge=1)] = 60
    """Boosting rounds, at most."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    leaves: Annotated[int, Field(ge=2, le=4096)] = 15
    """Leaves per tree."""


class GBDT(Taught, Trees):
    """The pre-ranker `gbdt`: one small ensemble of trees per task.

    When to use: little data, strong numbers (rates, statistics, recall's ranks and scores), and a
    thousand candidates rather than many thousands.

    Cost: a prediction walks every tree of every task, about a microsecond per candidate and task:
    several times the three towers'.

    Source: Ke et al. 2017, LightGBM: A Highly Efficient Gradient Boosting Decision Tree.
    """

    name = "gbdt"
    Config = GBDTConfig
    config: GBDTConfig
