"""Deep interest network: what of the history bears on this candidate (Zhou et al. 2018)."""

from __future__ import annotations

from typing import Literal

from tamis.rank.dnn import DNN, DNNConfig


class DINConfig(DNNConfig):
    """The shape of a DIN."""

    sequence: Literal["mean", "din", "bst"] = "din"


class DIN(DNN):
    """The ranker `din`: each history weighed by an attention network that reads the candidate and
    each of its items, then hidden layers on all fields.

    The weights are raw by default, as in the paper: many relevant items in the past count for more
    than one. Every history that shares its table with a feature of the item meets that feature:
    items the item, categories the category.

    When to use: users with histories of mixed interests, of which few items bear on a candidate;
    the longer and more mixed, the more it gains on `last_n`.

    Cost: the attention network runs once per candidate and item of the history; with 50 items that
    is several times the hidden layers' work in training, and most of a request's.

    Source: Zhou et al. 2018, Deep Interest Network for Click-Through Rate Prediction.
    """

    name = "din"
    Config = DINConfig
    config: DINConfig
