"""Layers and losses: tensor code without data, devices, optimisers or training loops."""

from tamis.nn._kernels import pool_forward
from tamis.nn.attention import SelfAttention, causal_mask, time_buckets
from tamis.nn.candidate_transformer import CandidateTransformer
from tamis.nn.cross import MatrixCross, VectorCross
from tamis.nn.crossed import CrossedColumns
from tamis.nn.embedding import FusedEmbedding, PoolPlan, RowGradient
from tamis.nn.fields import (
    FieldPooling,
    fused_table,
    mapped_table,
    pad_rows,
    without_padding,
)
from tamis.nn.grouped import GroupedLinear, TaskTowers
from tamis.nn.interaction import Bilinear, SENet, pair_products
from tamis.nn.layers import (
    ACTIVATIONS,
    MLP,
    ByteDropout,
    Dice,
    fm_second_order,
    linear,
    linear_of_two,
    unit_rows,
    zero_linear,
)
from tamis.nn.list_pooling import LEARNT_POOLINGS, list_pooling
from tamis.nn.listwise import shared_softmax
from tamis.nn.losses import (
    binary_cross_entropy,
    full_softmax,
    gbce,
    gbce_power,
    group_softmax,
    in_batch_softmax,
    log_odds_of_product,
    masked_logsumexp,
    pairwise_hinge,
    pairwise_logistic,
    pointwise,
    sampled_softmax,
)
from tamis.nn.reproducible import BatchNorm, LayerNorm, row_softmax
from tamis.nn.sequence import (
    GRUEncoder,
    LearnedPositions,
    TransformerEncoder,
    last_state,
    masked_mean,
    real_positions,
)
from tamis.nn.sequence_encoders import SEQUENCE_ENCODERS, EncoderShape, sequence_encoder
from tamis.nn.softmax import Workspace, chunked_cross_entropy
from tamis.nn.target_attention import TargetAttention, dot_scores, masked_weights, weighted_sum

__all__ = [
    "ACTIVATIONS",
    "LEARNT_POOLINGS",
    "MLP",
    "SEQUENCE_ENCODERS",
    "BatchNorm",
    "Bilinear",
    "ByteDropout",
    "CandidateTransformer",
    "CrossedColumns",
    "Dice",
    "EncoderShape",
    "FieldPooling",
    "FusedEmbedding",
    "GRUEncoder",
    "GroupedLinear",
    "LayerNorm",
    "LearnedPositions",
    "MatrixCross",
    "PoolPlan",
    "RowGradient",
    "SENet",
    "SelfAttention",
    "TargetAttention",
    "TaskTowers",
    "TransformerEncoder",
    "VectorCross",
    "Workspace",
    "binary_cross_entropy",
    "causal_mask",
    "chunked_cross_entropy",
    "dot_scores",
    "fm_second_order",
    "full_softmax",
    "fused_table",
    "gbce",
    "gbce_power",
    "group_softmax",
    "in_batch_softmax",
    "last_state",
    "linear",
    "linear_of_two",
    "list_pooling",
    "log_odds_of_product",
    "mapped_table",
    "masked_logsumexp",
    "masked_mean",
    "masked_weights",
    "pad_rows",
    "pair_products",
    "pairwise_hinge",
    "pairwise_logistic",
    "pointwise",
    "pool_forward",
    "real_positions",
    "row_softmax",
    "sampled_softmax",
    "sequence_encoder",
    "shared_softmax",
    "time_buckets",
    "unit_rows",
    "weighted_sum",
    "without_padding",
    "zero_linear",
]
