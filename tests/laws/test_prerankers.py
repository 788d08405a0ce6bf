"""Every pre-ranker passes the contract suite of scorers."""

import pytest

from tamis.schema import TrainingError
from tamis.service import registry
from tamis.testing import candidate_rows, check_scorer

PRERANKERS = registry.available("prerank")
NETWORK = {"epochs": 10, "patience": 10, "batch_size": 128, "learning_rate": 0.01}
OPTIONS = {
    "lr": {"epochs": 4, "batch_size": 128, "learning_rate": 0.03},
    "gbdt": {"trees": 30, "min_leaf": 20},
    "inner_product": {**NETWORK, "init_std": 0.2},
    "three_tower": {**NETWORK, "init_std": 0.2},
    "stored": {"epochs": 8, "batch_size": 128, "learning_rate": 0.03},
}
"""Options for quick fits; a pre-ranker that is not named here is tested with its defaults."""
NO_PAIRS = {"lr"}
"""Pre-rankers that cannot learn an effect of a user and an item together."""


def make(name):
    return PRERANKERS[name](**OPTIONS.get(name, {}))


@pytest.fixture(params=PRERANKERS)
def name(request):
    return request.param


def test_the_documented_pre_rankers_exist():
    assert {"lr", "gbdt", "inner_product", "three_tower", "stored"} <= set(PRERANKERS)


def test_is_documented(name):
    text = PRERANKERS[name].__doc__
    assert all(word in text for word in ("When to use:", "Cost:", "Source:"))
    assert PRERANKERS[name].Config.__doc__


def test_contract(name):
    check_scorer(lambda: make(name), personalised=name not in NO_PAIRS)


def test_labels_without_a_positive_raise(name):
    data = candidate_rows(6)
    data.labels[:] = 0
    with pytest.raises(TrainingError, match="positive"):
        make(name).fit(data, tasks=["click", "like"])
