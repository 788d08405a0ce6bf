"""Gradient-boosted trees as a pre-ranker (Ke et al. 2017); as a ranker: `tamis.rank.GBDT`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.prerank._base import DistillationConfig, Distilled
from tamis.train import Trees, TreesConfig


class GBDTConfig(DistillationConfig, TreesConfig):
    """Options of the trees: fewer and smaller than a ranker's, as they score more candidates."""

    trees: Annotated[int, Field(ge=1)] = 60
    """Maximum number of boosting rounds."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    leaves: Annotated[int, Field(ge=2, le=4096)] = 15
    """Maximum number of leaves per tree."""


class GBDT(Distilled, Trees):
    """The pre-ranker `gbdt`: one small ensemble of trees per task.

    The trees and their growth are `tamis.train.Trees`, which the ranker `tamis.rank.GBDT` shares;
    this class may also learn from the ranker (option `teacher`).

    When to use: few data, strong numbers (rates, statistics, ranks and scores of recall), and a
    thousand candidates rather than many thousands.

    Cost: a prediction walks every tree of every task, about a microsecond per candidate and task:
    several times as much as `three_tower`.

    Source: Ke et al. 2017, LightGBM: A Highly Efficient Gradient Boosting Decision Tree.
    """

    name = "gbdt"
    Config = GBDTConfig
    config: GBDTConfig
