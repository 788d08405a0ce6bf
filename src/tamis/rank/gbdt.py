"""Gradient-boosted trees as a ranker."""

from __future__ import annotations

from tamis.train import Trees, TreesConfig


class GBDTConfig(TreesConfig):
    """The trees and how they grow."""


class GBDT(Trees):
    """The ranker `gbdt`: one ensemble of trees per task, over the numbers and the small ids.

    When to use: little data, or columns that are strong on their own: it needs no scaling, and
    finds interactions of numbers (time since the last visit × age of the item) that a network needs
    many queries for. Large ids it does not read.

    Cost: fit minutes per million rows on a core; a prediction walks every tree, some microseconds
    per candidate and task.

    Source: Ke et al. 2017, LightGBM: A Highly Efficient Gradient Boosting Decision Tree.
    """

    name = "gbdt"
    Config = GBDTConfig
    config: GBDTConfig
