"""Logistic regression as a ranker."""

from __future__ import annotations

from tamis.train import LinearConfig, LinearEstimator


class LRConfig(LinearConfig):
    """A logistic regression has no shape of its own."""


class LR(LinearEstimator):
    """The ranker `lr`: logistic regression over all features, `σ(b + Σ w_id + Σ w_number x)`.

    A weight per id and per number, for each task of its own; nothing is crossed, so two features
    act together only where a column says so (a cross feature, or Wide & Deep's crossed columns).

    When to use: the baseline that every other ranker has to beat; few data, or weights that people
    must read; data whose crosses are columns already.

    Cost: one addition per id; a user's share of a request is summed once. The table is
    1 / (1 + embedding_dim) of a factorisation machine's.

    Source: Richardson, Dominowska and Ragno 2007, Predicting Clicks: Estimating the Click-Through
    Rate for New Ads.
    """

    name = "lr"
    Config = LRConfig
    config: LRConfig
