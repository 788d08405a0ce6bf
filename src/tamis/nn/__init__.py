"""Layers and losses, pure tensor code: the only embeddings, pooling, MLPs and crosses."""

from tamis.nn.embedding import FusedEmbedding, PoolPlan, RowGradient
from tamis.nn.fields import FieldPooling, fused_table, pad_rows
from tamis.nn.kernels import pool_forward
from tamis.nn.layers import ACTIVATIONS, MLP, fm_second_order, linear, zero_linear
from tamis.nn.losses import (
    binary_cross_entropy,
    full_softmax,
    group_softmax,
    in_batch_softmax,
    pairwise_hinge,
    pairwise_logistic,
    pointwise,
    sampled_softmax,
)

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "FieldPooling",
    "FusedEmbedding",
    "PoolPlan",
    "RowGradient",
    "binary_cross_entropy",
    "fm_second_order",
    "full_softmax",
    "fused_table",
    "group_softmax",
    "in_batch_softmax",
    "linear",
    "pad_rows",
    "pairwise_hinge",
    "pairwise_logistic",
    "pointwise",
    "pool_forward",
    "sampled_softmax",
    "zero_linear",
]
