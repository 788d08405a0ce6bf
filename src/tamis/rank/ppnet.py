"""Hidden layers gated by the user: LHUC, PPNet."""

from __future__ import annotations

from tamis.rank.dnn import DNN, DNNConfig


class PPNetConfig(DNNConfig):
    """The shape of a PPNet."""

    lhuc: bool | tuple[str, ...] = True
    """Features whose vectors gate every hidden layer; true = all of the user's."""


class PPNet(DNN):
    """The ranker `ppnet`: a deep network whose hidden units each user turns up or down,
    `hidden ⊙ 2σ(W_l · gate + b_l)` after every layer l.

    The gates read the vectors of the user's features (`lhuc` may name others) and by default do not
    teach them, so that ids keep their meaning for the network; `lhuc_gradient` lets them. A gate of
    one leaves a unit as it is. Any other backbone carries the same gates by its option `lhuc`.

    When to use: many events per user, and users who weigh the same item features differently; with
    few events per user the gates learn little.

    Cost: one matrix product per hidden layer on the user's side, once per request.

    Source: Swietojanski and Renals 2014, Learning Hidden Unit Contributions; Chang et al. 2023,
    PEPNet: Parameter and Embedding Personalized Network (its PPNet).
    """

    name = "ppnet"
    Config = PPNetConfig
    config: PPNetConfig
