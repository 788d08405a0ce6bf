"""The world after the log: the same at first, then it drifts, grows, forgets and tires."""

import numpy as np
import pytest

from tamis.simulator import (
    LifeConfig,
    LivingWorld,
    SimulationConfig,
    SimulationConfigError,
    build_population,
    response_probabilities,
    reward,
)

CONFIG = SimulationConfig(items=300, users=200, days=5)
DAY = 86_400_000
STILL = LifeConfig(drift=0, births=0, deaths=0, signups=0, departures=0, fatigue=0)
USERS, ITEMS, PLACES = np.arange(6), np.arange(10, 16), np.arange(1, 7)


def test_a_still_world_is_that_of_the_log():
    world, population = LivingWorld(CONFIG, STILL), build_population(CONFIG)
    changes = world.live(world.time + 30 * DAY)
    assert (len(changes.items), len(changes.users), changes.withdrawn) == (0, 0, [])
    expected = response_probabilities(
        population.users.traits.take(USERS),
        population.items.traits.take(ITEMS),
        PLACES,
        np.full(6, world.time),
    )
    np.testing.assert_allclose(
        world.expected(USERS, ITEMS, PLACES, world.time).click, expected.click, rtol=1e-6
    )


def test_tastes_drift_by_the_declared_share():
    world = LivingWorld(CONFIG, LifeConfig(drift=0.1, births=0, deaths=0, signups=0, departures=0))
    before = world._users.latent.copy()
    world.live(world.time + DAY)
    near = (world._users.latent * before).sum(axis=1)
    world.live(world.time + 9 * DAY)
    far = (world._users.latent * before).sum(axis=1)
    assert near.mean() > 0.9
    assert far.mean() < near.mean() - 0.1
    assert np.allclose(np.linalg.norm(world._users.latent, axis=1), 1, atol=1e-5)


def test_items_and_users_come_and_items_go():
    world = LivingWorld(CONFIG, LifeConfig(births=0.02, deaths=0.01, signups=0.02))
    changes = world.live(world.time + 2 * DAY)
    assert (len(changes.items), len(changes.withdrawn), len(changes.users)) == (12, 6, 8)
    assert changes.items.columns == build_population(CONFIG).items.table.columns
    assert changes.items["item_id"][0] == "i000300"
    assert (changes.items["published"] == world.time).all()
    assert world.item_rows(["i000311", "nobody"]).tolist() == [311, -1]
    assert world.user_ids(np.array([207])) == ["u000207"]
    best, _ = world.best_slate(0, 312, world.time)
    gone = set(world.item_rows(changes.withdrawn).tolist())
    assert len(best) == 306
    assert not gone & set(best.tolist())


def test_a_year_replaces_the_catalogue_and_the_users_but_does_not_grow_them():
    life = LifeConfig(drift=0, births=0.01, deaths=0.01, signups=0.01, departures=0.01)
    world = LivingWorld(CONFIG, life)
    for _ in range(365):
        world.live(world.time + DAY)
    assert 0.9 < world._alive.sum() / 300 < 1.1
    assert 0.9 < (world._pace > 0).sum() / 200 < 1.1
    assert world.items == pytest.approx(300 * 4.65, rel=0.1)
    assert world.users == pytest.approx(200 * 4.65, rel=0.1)
    visitors = set(world.visitors(5_000).tolist())
    assert visitors <= set(np.flatnonzero(world._pace).tolist())


def test_one_user_stays():
    world = LivingWorld(CONFIG, LifeConfig(signups=0, departures=1))
    world.live(world.time + 3 * DAY)
    assert len(set(world.visitors(100).tolist())) == 1


def test_a_newcomer_is_near_its_content():
    """Content vectors of newcomers are seen from the same side as those of the log."""
    world = LivingWorld(CONFIG, LifeConfig(births=0.5))
    new = world.live(world.time + 2 * DAY).items
    content = np.concatenate(
        [build_population(CONFIG).items.table["content"].to_numpy(), new["content"].to_numpy()]
    )
    latent = world._items.latent
    of_new, of_old = content[300:] @ content[:300].T, latent[300:] @ latent[:300].T
    assert np.corrcoef(of_new.ravel(), of_old.ravel())[0, 1] > 0.7


def test_showing_an_item_again_tires_and_is_forgotten():
    world = LivingWorld(CONFIG, LifeConfig(fatigue=1.0))
    time = world.time
    first = world.expected(USERS, ITEMS, PLACES, time).click
    world.show(USERS, ITEMS, PLACES, time)
    again = world.expected(USERS, ITEMS, PLACES, time).click
    odds = (again / (1 - again)) / (first / (1 - first))
    np.testing.assert_allclose(odds, 0.5, rtol=1e-4)  # exp(−ln(1 + 1))
    other = world.expected(USERS + 50, ITEMS, PLACES, time).click
    world.show(USERS, ITEMS, PLACES, time)
    np.testing.assert_array_equal(other, world.expected(USERS + 50, ITEMS, PLACES, time).click)
    later = time + 100 * DAY
    fresh = LivingWorld(CONFIG, LifeConfig(fatigue=1.0)).expected(USERS, ITEMS, PLACES, later)
    np.testing.assert_allclose(
        world.expected(USERS, ITEMS, PLACES, later).click, fresh.click, rtol=1e-3
    )


def test_outcomes_follow_the_truth():
    world = LivingWorld(CONFIG, STILL)
    user, item = np.repeat(USERS, 4_000), np.repeat(ITEMS, 4_000)
    responses, outcomes = world.show(user, item, np.ones(24_000), world.time)
    assert outcomes.click.mean() == pytest.approx(responses.click.mean(), abs=0.01)
    worth = reward(responses)
    assert worth.shape == (24_000,)
    assert (worth > responses.click).all()


def test_no_slate_is_better_than_the_best():
    world = LivingWorld(CONFIG, STILL)
    best, worth = world.best_slate(3, 5, world.time)
    random = np.random.default_rng(0)
    for _ in range(50):
        other = random.choice(300, 5, replace=False)
        got = reward(world.expected(np.full(5, 3), other, np.arange(1, 6), world.time)).sum()
        assert got <= worth + 1e-6
    assert len(best) == 5


@pytest.mark.parametrize("wrong", [{"drift": 2.0}, {"births": -0.1}, {"fatigue": 11.0}])
def test_impossible_lives_are_refused(wrong):
    with pytest.raises(SimulationConfigError, match="out of range"):
        LifeConfig(**wrong)
