"""Logistic regression as a pre-ranker (Richardson et al. 2007); as a ranker: `tamis.rank.LR`."""

from __future__ import annotations

from tamis.prerank._base import DistillationConfig, Preranker
from tamis.train import LinearConfig, LinearEstimator


class LRConfig(DistillationConfig, LinearConfig):
    """Options of the logistic regression: those of its training, and `teacher`."""


class LR(Preranker, LinearEstimator):
    """The pre-ranker `lr`: logistic regression over all features.

    The network and its `forward` are `tamis.train.LinearEstimator`, which the ranker
    `tamis.rank.LR` shares; this class may also learn from the ranker (option `teacher`).

    When to use: the cheapest trained pre-ranker; good where the columns are strong on their own
    (rates, statistics, cross features). It cannot learn pairs of features without a column for
    them.

    Cost: one addition per id and candidate; the user's part of a request is summed once.

    Source: Richardson, Dominowska and Ragno 2007, Predicting Clicks: Estimating the Click-Through
    Rate for New Ads.
    """

    name = "lr"
    Config = LRConfig
    config: LRConfig
