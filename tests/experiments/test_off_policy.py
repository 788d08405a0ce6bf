"""Off-policy estimates: intervals hold the true value, and missing support is refused."""

import numpy as np
import pytest

from tamis.experiments import policy_value
from tamis.schema import DataError

ACTIONS = 6


def world(seed):
    """A logging policy, another policy and the mean rewards (contexts, actions)."""
    random = np.random.default_rng(seed)
    reward = random.uniform(0.05, 0.5, (20, ACTIONS))
    logging = random.dirichlet(np.ones(ACTIONS) * 3, 20)
    logging = 0.8 * logging + 0.2 / ACTIONS
    other = random.dirichlet(np.ones(ACTIONS), 20)
    return reward, logging, other


@pytest.mark.parametrize("method", ["ips", "snips", "dr"])
def test_intervals_hold_the_true_value(method):
    reward, logging, other = world(0)
    truth = (reward * other).sum(axis=1).mean()
    model = reward + np.random.default_rng(1).normal(0, 0.1, reward.shape)
    random, held = np.random.default_rng(2), 0
    for _ in range(200):
        context = random.integers(0, 20, 3_000)
        steps = np.cumsum(logging[context], axis=1)
        action = (random.random((3_000, 1)) > steps).sum(axis=1).clip(max=ACTIONS - 1)
        got = (random.random(3_000) < reward[context, action]).astype(float)
        found = policy_value(
            method,
            got,
            logging[context, action],
            other[context, action],
            model=model[context, action] if method == "dr" else None,
            model_value=(model * other).sum(axis=1)[context] if method == "dr" else None,
        )
        held += found.low <= truth <= found.high
    assert held / 200 >= 0.9


def test_estimates_by_hand():
    """200 decisions of probability ½ each, of which the other policy always takes the first."""
    reward = np.tile([1.0, 0.0, 0.0, 1.0], 100)
    half, target = np.full(400, 0.5), np.tile([1.0, 0.0], 200)
    assert policy_value("ips", reward, half, target).value == pytest.approx(0.5)
    assert policy_value("snips", reward, half, target).value == pytest.approx(0.5)
    found = policy_value(
        "dr", reward, half, target, model=np.full(400, 0.25), model_value=np.full(400, 0.25)
    )
    assert found.value == pytest.approx(0.25 + np.mean(2 * target * (reward - 0.25)))
    assert found.effective == pytest.approx(200)


def test_the_interval_is_by_users():
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(100), 20)
    reward = np.repeat(random.random(100), 20)
    half = np.full(2_000, 0.5)
    alone = policy_value("ips", reward, half, half)
    by_user = policy_value("ips", reward, half, half, unit=user)
    assert by_user.value == alone.value
    assert (by_user.high - by_user.low) > 4 * (alone.high - alone.low)


def test_missing_support_is_refused():
    ones = np.ones(1_000)
    with pytest.raises(DataError, match=r"2.0% of what the policy would show was never shown"):
        policy_value("ips", ones, ones, ones, missing=0.02)
    with pytest.raises(DataError, match="0 effective decisions"):
        policy_value("ips", ones, ones, 0 * ones)
    with pytest.raises(DataError, match=r"propensity of decision 0 is 0\.0"):
        policy_value("ips", ones, 0 * ones, ones)
    with pytest.raises(DataError, match='"dr" needs'):
        policy_value("dr", ones, ones, ones)
    with pytest.raises(DataError, match="give one of each"):
        policy_value("ips", ones, ones[:3], ones)
