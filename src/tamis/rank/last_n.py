"""Last-N mean pooling: the history as the mean of its items (Covington et al. 2016)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from tamis.features import Layout
from tamis.rank._network import NO_HISTORY, histories
from tamis.rank.dnn import DNN, DNNConfig
from tamis.schema import ConfigError


class LastNConfig(DNNConfig):
    """The shape of last-N pooling; N is each history's `max_len`."""

    sequence: Literal["mean"] = "mean"


class LastN(DNN):
    """The ranker `last_n`: the mean of a history's last N items beside the other fields, then
    hidden layers. N is the history feature's `max_len`.

    When to use: the first ranker with histories to try, and the reference that `din` and `bst` have
    to beat; a short N says what the user wants now, a long one what kind of user it is.

    Cost: a pooled gather; the user's side is computed once per request.

    Source: Covington, Adams and Sargin 2016, Deep Neural Networks for YouTube Recommendations.
    """

    name = "last_n"
    Config = LastNConfig
    config: LastNConfig

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        if not histories(layout):
            raise ConfigError(f"last_n: {NO_HISTORY}")
        return super().build(layout, n_tasks, generator)
