"""Losses against numbers computed by hand, or against torch on the plain case."""

import math

import pytest
import torch
from torch.nn import functional as F

from tamis import nn as tnn


def test_missing_labels_do_not_count():
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]], requires_grad=True)
    labels = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    want = (math.log(2) + math.log1p(math.e) + math.log1p(math.e)) / 3
    loss = tnn.binary_cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(want)
    loss.backward()
    assert logits.grad[0, 1] == 0


def test_sample_weights_are_repetitions():
    logits, labels = torch.randn(3, 2), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    twice = tnn.binary_cross_entropy(logits[[0, 0, 1, 2]], labels[[0, 0, 1, 2]])
    weighted = tnn.binary_cross_entropy(logits, labels, torch.tensor([2.0, 1, 1]))
    torch.testing.assert_close(weighted, twice)


def test_the_loss_without_labels_is_zero_and_finite():
    logits = torch.randn(3, 1, requires_grad=True)
    loss = tnn.binary_cross_entropy(logits, torch.full((3, 1), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_pairwise_losses_by_hand():
    positive, negative = torch.tensor([1.0]), torch.tensor([[0.5, 3.0]])
    assert tnn.pairwise_hinge(positive, negative).item() == pytest.approx((0.5 + 3.0) / 2)
    only_first = torch.tensor([[True, False]])
    assert tnn.pairwise_hinge(positive, negative, only_first).item() == pytest.approx(0.5)
    want = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(2.0))) / 2
    assert tnn.pairwise_logistic(positive, negative).item() == pytest.approx(want)


def test_pointwise_is_cross_entropy_of_ones_and_zeros():
    positive, negative = torch.randn(4), torch.randn(4, 3)
    logits = torch.cat([positive, negative.flatten()])
    labels = torch.cat([torch.ones(4), torch.zeros(12)])
    want = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(tnn.pointwise(positive, negative), want)
    masked = tnn.pointwise(positive, negative, torch.zeros(4, 3, dtype=torch.bool))
    torch.testing.assert_close(masked, F.softplus(-positive).mean())


def test_sampled_softmax_of_all_others_is_the_full_softmax():
    scores = torch.randn(5, 5)
    target = torch.arange(5)
    others = torch.stack([scores[k, torch.arange(5) != k] for k in range(5)])
    sampled = tnn.sampled_softmax(scores.diagonal(), others)
    torch.testing.assert_close(sampled, tnn.full_softmax(scores, target))
    torch.testing.assert_close(sampled, tnn.in_batch_softmax(scores))


def test_log_q_is_subtracted_from_positives_and_negatives():
    positive, negative = torch.tensor([1.0]), torch.tensor([[2.0, 0.0]])
    loss = tnn.sampled_softmax(
        positive,
        negative,
        positive_log_q=torch.tensor([0.5]),
        negative_log_q=torch.tensor([1.0, -1.0]),
    )
    want = math.log(math.exp(0.5) + math.exp(1.0) + math.exp(1.0)) - 0.5
    assert loss.item() == pytest.approx(want)


def test_masked_items_are_not_negatives_but_the_target_always_counts():
    scores = torch.tensor([[0.0, 5.0, 1.0]])
    mask = torch.tensor([[False, False, True]])
    want = math.log(1 + math.e)
    assert tnn.full_softmax(scores, torch.tensor([0]), mask).item() == pytest.approx(want)


def test_group_softmax_is_a_softmax_per_group():
    logits = torch.tensor([1.0, 2.0, 0.0, 5.0, -1.0, 3.0])
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, math.nan])
    groups = torch.tensor([0, 0, 1, 1, 1, 1])
    first = math.log(math.e + math.e**2) - 1
    second = math.log(1 + math.e**5 + math.e**-1) + 1
    loss = tnn.group_softmax(logits, labels, groups)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_group_softmax_weights_groups_by_their_positives():
    """Two positives of weights 3 and 1 in the first group, one of weight 4 in the second."""
    logits = torch.tensor([1.0, 2.0, 0.0, 5.0])
    labels, groups = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 1])
    weights = torch.tensor([3.0, 1.0, 9.0, 4.0])
    total = math.log(math.e + math.e**2)
    first, second = (3 * (total - 1) + (total - 2)) / 4, math.log(1 + math.e**5) - 5
    loss = tnn.group_softmax(logits, labels, groups, weights)
    assert loss.item() == pytest.approx((2 * first + 4 * second) / 6, rel=1e-5)
    equal = tnn.group_softmax(logits, labels, groups, torch.full((4,), 2.0))
    torch.testing.assert_close(equal, tnn.group_softmax(logits, labels, groups))


def test_groups_without_positives_do_not_count():
    logits = torch.tensor([1.0, 2.0, 0.0], requires_grad=True)
    labels, groups = torch.zeros(3), torch.tensor([0, 0, 1])
    loss = tnn.group_softmax(logits, labels, groups)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_gbce_by_hand():
    positive, negative = torch.tensor([1.0, -0.5]), torch.tensor([[0.5, 2.0], [-1.0, 0.0]])

    def down(x):
        return math.log1p(math.exp(x))

    beta = 1 - 0.75 * (1 - 2 / 9)
    assert tnn.gbce_power(2, 10) == pytest.approx(beta)
    assert tnn.gbce_power(9, 10) == tnn.gbce_power(50, 10) == 1.0
    want = beta * (down(-1) + down(0.5)) + down(0.5) + down(2) + down(-1) + down(0)
    loss = tnn.gbce(positive, negative, power=beta)
    assert loss.item() == pytest.approx(want / 6, rel=1e-5)
    shared = tnn.gbce(positive, negative[:1], power=beta, owner=torch.tensor([0, 0]))
    want = beta * (down(-1) + down(0.5)) + 2 * (down(0.5) + down(2))
    assert shared.item() == pytest.approx(want / 6, rel=1e-5)
    torch.testing.assert_close(
        tnn.gbce(positive, negative, power=1.0), tnn.pointwise(positive, negative)
    )


def test_weights_of_pairs_are_repetitions():
    positive, negative = torch.randn(3), torch.randn(3, 2)
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    twice = torch.tensor([0, 0, 1, 2])
    weights = torch.tensor([2.0, 1.0, 1.0])
    for loss in (tnn.pointwise, tnn.pairwise_hinge, tnn.pairwise_logistic):
        repeated = loss(positive[twice], negative[twice], mask[twice])
        torch.testing.assert_close(loss(positive, negative, mask, weights=weights), repeated)
