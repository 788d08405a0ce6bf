"""Logistic regression as a pre-ranker: thousands of candidates in microseconds."""

from __future__ import annotations

from tamis.prerank._base import Preranker, Teachable
from tamis.train import LinearConfig, LinearEstimator


class LRConfig(Teachable, LinearConfig):
    """A logistic regression has no shape of its own."""


class LR(Preranker, LinearEstimator):
    """The pre-ranker `lr`: logistic regression over all features.

    When to use: the cheapest pre-ranker that learns; good where the columns are strong on their own
    (rates, statistics, cross features), blind to pairs that no column names.

    Cost: one addition per id and candidate; the user's share of a request is summed once.

    Source: Richardson, Dominowska and Ragno 2007, Predicting Clicks: Estimating the Click-Through
    Rate for New Ads.
    """

    name = "lr"
    Config = LRConfig
    config: LRConfig
