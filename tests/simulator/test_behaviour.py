"""Probabilities of behaviours: formulas by hand, shapes and draws."""

import math

import numpy as np
import pytest

from tamis.simulator import (
    Coefficients,
    ItemTraits,
    SimulationConfig,
    UserTraits,
    build_population,
    draw_outcomes,
    response_probabilities,
)

START = SimulationConfig().start_time
EVENING = START + 21 * 3_600_000
DAY_MS = 86_400_000


def user(**changes) -> UserTraits:
    traits = {
        "latent": np.array([[1.0, 0.0]]),
        "log_spending": np.log([20.0]),
        "interests": np.array([[0, 2, -1]]),
        "city": np.array([5]),
    }
    return UserTraits(**(traits | changes))


def item(**changes) -> ItemTraits:
    traits = {
        "latent": np.array([[0.6, 0.8]]),
        "quality": np.array([0.5]),
        "category": np.array([2]),
        "city": np.array([5]),
        "log_price": np.log([40.0]),
        "duration": np.array([120.0]),
        "published": np.array([EVENING - 3 * DAY_MS]),
    }
    return ItemTraits(**(traits | changes))


def responses(who: UserTraits, what: ItemTraits, position: int = 1, time: int = EVENING):
    return response_probabilities(who, what, np.array([position]), np.array([time]))


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def test_every_probability_by_hand():
    got = responses(user(), item(), position=4)
    c = Coefficients()
    click = (
        c.click.intercept
        + c.click.affinity * 0.6
        + c.click.quality * 0.5
        + c.position * math.log(4)
        + c.interest
        + c.same_city
        + c.freshness * math.exp(-1)
        + c.evening
    )
    assert got.click[0] == pytest.approx(sigmoid(click), rel=1e-6)
    for name, weights in (("like", c.like), ("collect", c.collect), ("share", c.share)):
        score = weights.intercept + weights.affinity * 0.6 + weights.quality * 0.5
        assert getattr(got, f"{name}_given_click")[0] == pytest.approx(sigmoid(score), rel=1e-6)
    for value, w in ((got.cart_given_click, c.cart), (got.purchase_given_cart, c.purchase)):
        score = w.intercept + w.affinity * 0.6 + w.quality * 0.5 + w.context * math.log(2)
        assert value[0] == pytest.approx(sigmoid(score), rel=1e-6)
    w = c.watch
    share = sigmoid(w.intercept + w.affinity * 0.6 + w.quality * 0.5 + w.context * math.log(2))
    assert got.watch_given_click[0] == pytest.approx(120 * share, rel=1e-6)
    assert got.cart[0] == pytest.approx(got.click[0] * got.cart_given_click[0])
    assert got.purchase[0] == pytest.approx(got.cart[0] * got.purchase_given_cart[0])


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((user(), item(), 1), (user(), item(), 2)),
        ((user(), item()), (user(), item(latent=np.array([[-1.0, 0.0]])))),
        ((user(), item()), (user(), item(quality=np.array([-0.5])))),
        ((user(), item()), (user(interests=np.array([[1, -1, -1]])), item())),
        ((user(), item()), (user(city=np.array([4])), item())),
        ((user(), item()), (user(), item(published=np.array([EVENING - 30 * DAY_MS])))),
        ((user(), item(), 1, EVENING), (user(), item(), 1, EVENING + 12 * 3_600_000)),
    ],
)
def test_signals_that_raise_the_click_probability(better, worse):
    assert responses(*better).click[0] > responses(*worse).click[0]


def test_a_higher_price_lowers_purchases_and_not_clicks():
    cheap, dear = responses(user(), item()), responses(user(), item(log_price=np.log([400.0])))
    assert dear.cart_given_click[0] < cheap.cart_given_click[0]
    assert dear.purchase_given_cart[0] < cheap.purchase_given_cart[0]
    assert dear.click[0] == cheap.click[0]


def test_one_user_broadcasts_over_the_items_of_a_slate():
    population = build_population(SimulationConfig(items=50, users=20, n_categories=5))
    users, items = population.users.traits, population.items.traits
    rows = np.arange(30).reshape(3, 10)
    places, time = np.arange(1, 11), np.array([START])
    slates = response_probabilities(
        users.take(np.array([[4], [7], [9]])), items.take(rows), places, time
    )
    assert slates.click.shape == (3, 10)
    for n, who in enumerate((4, 7, 9)):
        single = response_probabilities(
            users.take(np.array([who])), items.take(rows[n]), places, time
        )
        np.testing.assert_allclose(single.click, slates.click[n], rtol=1e-5)
        np.testing.assert_allclose(single.watch_given_click, slates.watch_given_click[n], rtol=1e-5)


def test_an_empty_slate_has_no_outcomes():
    population = build_population(SimulationConfig(items=5, users=2))
    none = np.array([], dtype=np.int64)
    found = response_probabilities(
        population.users.traits.take(none), population.items.traits.take(none), none + 1, none
    )
    outcomes = draw_outcomes(found, np.random.default_rng(0))
    assert found.purchase.shape == outcomes.watch.shape == (0,)


def test_outcomes_respect_their_conditions():
    many = np.zeros(20_000, dtype=np.int64)
    found = response_probabilities(user().take(many), item().take(many), many + 1, many)
    done = draw_outcomes(found, np.random.default_rng(3))
    for after in (done.like, done.collect, done.share, done.cart):
        assert not (after & ~done.click).any()
    assert not (done.purchase & ~done.cart).any()
    assert ((done.watch > 0) == done.click).all()
