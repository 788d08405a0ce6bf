"""Samplers draw with the probabilities that `q` reports; the estimator finds true frequencies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.schema import ConfigError
from tamis.train import FrequencyEstimator, HardNegatives, Mixture


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.floats(0.05, 1), min_size=2, max_size=12))
def test_the_estimator_converges_to_the_true_frequencies(seed, frequency):
    """A stream of batches in which item i appears with probability frequency[i], independently."""
    random, truth = np.random.default_rng(seed), np.array(frequency)
    items = random.choice(10**6, len(truth), replace=False)
    estimator = FrequencyEstimator(rate=0.005)
    for _ in range(6000):
        estimator.update(items[random.random(len(truth)) < truth])
    found = estimator.frequency(items)
    # the moving average holds about 2 / rate = 400 gaps, whose deviation is at most their mean
    np.testing.assert_allclose(found, truth, rtol=0.3)
    assert np.abs(found / truth - 1).mean() < 0.12


def test_the_estimator_by_hand():
    estimator = FrequencyEstimator(buckets=16, hashes=3, rate=0.5)
    for batch in ([7], [], [7, 7], [7]):
        estimator.update(np.array(batch, np.int64))
    # seen at steps 1, 3, 4: gaps 1, 2, 1; averages 1, 1.5 (the plain mean), 1.25
    assert estimator.frequency(np.array([7])) == pytest.approx([1 / 1.25])
    assert estimator.frequency(np.array([8])) <= 1


def test_the_estimator_follows_a_change():
    estimator = FrequencyEstimator(rate=0.1)
    for step in range(3000):
        often = step >= 2000
        estimator.update(np.array([5] if often or step % 50 == 0 else [6]))
    assert estimator.frequency(np.array([5]))[0] == pytest.approx(1, rel=0.01)


def test_collisions_do_not_make_rare_items_frequent():
    random = np.random.default_rng(0)
    rare = np.arange(1000, 1064)
    one, four = FrequencyEstimator(256, 1, 0.05), FrequencyEstimator(256, 4, 0.05)
    for step in range(1280):
        batch = np.append(random.integers(0, 20, 10), rare[step % 64])
        one.update(batch)
        four.update(batch)
    assert (four.frequency(rare) <= one.frequency(rare) + 1e-12).all()
    assert np.median(four.frequency(rare)) == pytest.approx(1 / 64, rel=0.2)


def mixture(shares, negatives=200_000, popularity=(0, 1, 16, 81), **given):
    return Mixture(shares, negatives, np.random.default_rng(3), np.array(popularity), **given)


def test_a_mixture_draws_from_its_q():
    sampler = mixture({"uniform": 0.5, "popular": 0.5})
    popular = np.array([0, 1, 8, 27]) / 36
    np.testing.assert_allclose(sampler.q(np.arange(4)), np.maximum(0.5 * popular + 0.125, 1e-12))
    drawn = np.bincount(sampler.shared(np.array([1]))) / 200_000
    np.testing.assert_allclose(drawn, sampler.q(np.arange(4)), atol=0.005)


def test_in_batch_draws_follow_the_stream():
    sampler = mixture({"uniform": 0.4, "in_batch": 0.6}, 2000)
    random, drawn = np.random.default_rng(0), np.zeros(4)
    for _ in range(400):
        batch = np.flatnonzero(random.random(4) < [0.1, 0.3, 0.6, 1.0])
        sampler.observe(batch)
        drawn += np.bincount(sampler.shared(batch), minlength=4)
    q = sampler.q(np.arange(4))
    assert q.sum() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(q / q.sum(), drawn / drawn.sum(), atol=0.06)


def test_hard_draws_come_from_the_users_own_list():
    hard = HardNegatives.of(np.array([1, 1, 1, 3]), np.array([2, 0, 2, 3]), 4, 4)
    assert hard.counts(np.array([0, 1, -1, 3])).tolist() == [0, 2, 0, 1]
    owner, item = hard.pairs(np.array([3, 0, 1]))
    assert (owner.tolist(), item.tolist()) == ([0, 2, 2], [3, 0, 2])
    sampler = mixture({"uniform": 0.25, "hard": 0.75}, 4000, hard=hard)
    assert sampler.hard_draws == 3000
    drawn = sampler.each(np.array([0, 1, 3]), np.array([1]))
    shares = np.array([np.bincount(row, minlength=4) / 4000 for row in drawn])
    np.testing.assert_allclose(shares[0], 0.25, atol=0.04)  # no hard ones: all are uniform
    np.testing.assert_allclose(shares[1], [0.4375, 0.0625, 0.4375, 0.0625], atol=0.04)
    np.testing.assert_allclose(shares[2], [0.0625, 0.0625, 0.0625, 0.8125], atol=0.04)
    nobody = HardNegatives.none(4)
    assert (nobody.draw(np.array([0, 2]), 3, np.random.default_rng(0)) == -1).all()


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({"uniform": 0.5}, "add up to 1"),
        ({"impressions": 1.0}, "shares ≥ 0 of uniform, popular, in_batch, hard"),
        ({"uniform": 0.5, "hard": 0.5}, "needs `hard_negatives`"),
    ],
)
def test_impossible_mixtures_are_refused(shares, text):
    with pytest.raises(ConfigError, match=text):
        mixture(shares)
