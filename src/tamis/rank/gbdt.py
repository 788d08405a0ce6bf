"""Gradient-boosted trees as a ranker (Ke et al. 2017); as a pre-ranker: `tamis.prerank.GBDT`."""

from __future__ import annotations

from tamis.train import Trees, TreesConfig


class GBDTConfig(TreesConfig):
    """Options of the trees and of their growth."""


class GBDT(Trees):
    """The ranker `gbdt`: one ensemble of trees per task, over the numbers and the small ids.

    The trees and their growth are `tamis.train.Trees`, which `tamis.prerank.GBDT` shares; that one
    is a pre-ranker with fewer and smaller trees.

    When to use: few data, or columns that are strong on their own: it needs no scaling, and finds
    interactions of numbers (time since the last visit × age of the item) for which a network needs
    many rows. It does not read id features with many values (option `categories`).

    Cost: a fit takes minutes per million rows on one core; a prediction walks every tree, some
    microseconds per candidate and task.

    Source: Ke et al. 2017, LightGBM: A Highly Efficient Gradient Boosting Decision Tree.
    """

    name = "gbdt"
    Config = GBDTConfig
    config: GBDTConfig
