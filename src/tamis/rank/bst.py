"""Behaviour sequence transformer: self-attention over history and candidate (Chen et al. 2019)."""

from __future__ import annotations

from typing import Literal

from tamis.rank.dnn import DNN, DNNConfig


class BSTConfig(DNNConfig):
    """The shape of a BST."""

    sequence: Literal["mean", "din", "bst"] = "bst"


class BST(DNN):
    """The ranker `bst`: a transformer over each history and the candidate, then hidden layers on
    the candidate's state beside the other fields.

    A place's position is its distance from the candidate, so the newest item is at place 1 whatever
    the history's length; order matters, which it does not in `din`.

    When to use: histories whose order and recency tell what comes next (sessions, series, feeds).

    Cost: with one block, the default, only the candidate attends, which is cheaper than `din`'s
    attention network; every further block runs over the whole history once per candidate.

    Source: Chen et al. 2019, Behavior Sequence Transformer for E-commerce Recommendation.
    """

    name = "bst"
    Config = BSTConfig
    config: BSTConfig
