"""Logistic regression as a ranker (Richardson et al. 2007); as a pre-ranker: `tamis.prerank.LR`."""

from __future__ import annotations

from tamis.train import LinearConfig, LinearEstimator


class LRConfig(LinearConfig):
    """Options of the logistic regression: those of its training."""


class LR(LinearEstimator):
    """The ranker `lr`: logistic regression over all features, `σ(b + Σ w_id + Σ w_number x)`.

    Each task has one weight per id and per number. Nothing is crossed: two features act together
    only where a column combines them (a cross feature, or the crossed columns of `wide_deep`). The
    network and its `forward` are `tamis.train.LinearEstimator`, which `tamis.prerank.LR` shares;
    that one is a pre-ranker, which may also learn from the ranker.

    When to use: the baseline that every other ranker has to beat; few data, or weights that people
    must read; data whose crosses are columns already.

    Cost: one addition per id; a user's part of a request is summed once. The table is
    1 / (1 + embedding_dim) the size of a factorisation machine's.

    Source: Richardson, Dominowska and Ragno 2007, Predicting Clicks: Estimating the Click-Through
    Rate for New Ads.
    """

    name = "lr"
    Config = LRConfig
    config: LRConfig
