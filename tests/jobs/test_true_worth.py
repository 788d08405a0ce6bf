"""The truth of a simulated project's slates, through `tamis evaluate` and by hand."""

import numpy as np

from tamis.bundle import Kind, Versions
from tamis.jobs._true_worth import TrueWorth
from tamis.service import Recommender
from tamis.simulator import LifeConfig, LivingWorld, SimulationConfig, reward


def test_evaluate_says_what_slates_are_worth(simulated, tamis_cli, tmp_path):
    said = tamis_cli("evaluate", simulated, "--report", tmp_path / "report.html")
    assert said.code == 0, said.err
    assert "True worth of the slates" in said.out
    assert "best slates there are" in said.out
    assert "True worth of the slates" in (tmp_path / "report.html").read_text("utf-8")


def test_projects_of_real_data_have_no_truth(ratings):
    assert not TrueWorth.known(ratings)


def test_worth_by_hand(simulated):
    recommender = Recommender(Versions(simulated).current(Kind.EVALUATION))
    cut, parts = recommender.manifest.data_until, recommender.parts
    truth = TrueWorth(simulated, parts, cut)
    users = parts.users.rows(["u000001", "u000002"])
    items = parts.items.rows(["i000010", "i000020", "i000030"])
    lists = np.array([[items[0], items[1]], [items[2], -1]], np.int32)
    turned = np.array([[items[1], items[0]], [items[2], -1]], np.int32)
    found = truth.result(users, lists, turned, {"same": lists}, seed=0)
    still = LifeConfig(drift=0, births=0, deaths=0, signups=0, departures=0, fatigue=0)
    world = LivingWorld(SimulationConfig(items=300, users=400, days=20, seed=0), still, cut)
    user, item, place = np.array([1, 1, 2]), np.array([10, 20, 30]), np.array([1, 2, 1])
    each = reward(world.expected(user, item, place, cut))
    np.testing.assert_allclose(found["ranked"]["reward"], each.sum() / 2, rtol=1e-6)
    assert found["channels"]["same"] == found["ranked"]
    assert found["slate"]["reward"] != found["ranked"]["reward"]
    assert found["best"]["reward"] >= found["ranked"]["reward"]
    assert found["best"]["users"] == 2
    assert set(found["slate"]) == {"reward", "new_items", "new_exposure"}
