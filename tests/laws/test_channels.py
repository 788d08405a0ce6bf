"""Every recall channel passes the contract suite of channels."""

from typing import Any

import numpy as np
import pytest

from tamis.cascade import FitContext, Recalled, Wraps
from tamis.recall import BaseChannel, Hot
from tamis.recall._common.channel import nothing
from tamis.schema import ChannelConfig, ComponentConfig
from tamis.service import registry
from tamis.testing import check_channel, two_clans

CHANNELS = registry.available("recall")
QUICK = {"embedding_dim": 16, "learning_rate": 0.01, "epochs": 50, "dropout": 0.5}
"""Options of sequence models that are enough for two clans."""
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "again": ({}, {"by": "category"}, {"half_life": 5, "due": 1, "weights": {"like": 2}}),
    "author": (
        {},
        {"source": "followed", "behaviours": ["like"]},
        {"source": "similar", "order": "newest"},
    ),
    "demographic": ({"min_users": 5},),
    "fresh": ({}, {"order": "best"}),
    "geohash": ({}, {"precision": 6, "coarsest": 1}, {"near": 0}),
    "gru4rec": (QUICK,),
    "hot": ({}, {"by": "category"}, {"by": "city"}, {"by": "audience", "column": "taste"}),
    "rules": ({"rule": [{"name": "your category", "same": "category"}]},),
    "sasrec": (QUICK, QUICK | {"loss": "sampled"}),
}
"""Options with which a channel is tested; {} are the defaults, for channels not listed."""
IMPERSONAL = {"cached", "hot", "fresh", "fresh order=best"}
"""Cases ("hot", or with options "hot by=city") that are not personalised."""


def cases():
    """(name, options, id) of every channel under each of its options."""
    for name in CHANNELS:
        for options in OPTIONS.get(name, ({},)):
            text = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
            yield pytest.param(name, options, text not in IMPERSONAL, id=text)


def test_channels_are_registered():
    assert {"hot", "itemcf"} <= set(CHANNELS)


@pytest.mark.parametrize(("name", "options", "personalised"), list(cases()))
def test_contract(name, options, personalised):
    declared = ChannelConfig(**options)
    check_channel(
        lambda: registry.build("recall", name, declared),
        personalised=personalised,
        load=(
            (lambda directory: registry.load("recall", name, declared, directory))
            if issubclass(CHANNELS[name], Wraps)
            else None
        ),
    )


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_is_documented(name):
    assert len(CHANNELS[name].__doc__) > 40
    assert CHANNELS[name].Config.__doc__


class _Broken(BaseChannel):
    """A channel that violates one property at a time; empty: none."""

    name = "broken"
    Config = ComponentConfig
    violates = ""

    def __init__(self, config=None, **options):
        super().__init__(config, **options)
        self.hot = None

    def _fit(self, data, context):
        if self.hot is None or self.violates != "refit":
            self.hot = Hot().fit(data, context)
        return {}

    def recall(self, queries, k):
        if self.hot is None and self.violates == "unfitted":
            return nothing(len(queries), k)
        return super().recall(queries, k)

    def save(self, directory):
        super().save(directory)
        self.hot.save(directory / "hot")

    @classmethod
    def load(cls, directory, config):
        loaded = super().load(directory, config)
        loaded.hot = Hot.load(directory / "hot", Hot().config)
        if cls.violates == "saved":
            loaded.violates = "doubled"
        if cls.violates == "saved name":
            loaded.name = "other"
        return loaded

    def _recall(self, queries, k):
        found = self.hot.recall(queries, k)
        broken = {
            "twice": self._twice,
            "excluded": self._excluded,
            "rising": self._rising,
            "batched": self._batched,
            "shape": lambda *_: Recalled(found.item[:, 1:], found.score[:, 1:]),
            "items": lambda *_: Recalled(found.item.astype(np.int64), found.score),
            "scores": lambda *_: Recalled(found.item, found.score.astype(np.float64)),
            "outside": lambda *_: Recalled(found.item + 99, found.score),
            "padding": lambda *_: Recalled(found.item, np.maximum(found.score, -1)),
            "nan": lambda *_: Recalled(found.item, np.where(found.item < 0, found.score, np.nan)),
            "gap": self._gap,
            "doubled": lambda *_: Recalled(found.item, found.score * 2),
            "head": lambda *_: Recalled(found.item, found.score * np.float32(k)),
        }
        return broken.get(self.violates, lambda *_: found)(queries, k, found)

    def _twice(self, queries, k, found):
        found.item[:, -1] = found.item[:, 0]
        return found

    def _excluded(self, queries, k, found):
        for q in range(len(queries)):
            found.item[q, : len(queries.exclude[q])] = queries.exclude[q][:k]
        return found

    def _rising(self, queries, k, found):
        found.score[found.item >= 0] *= -1
        return found

    def _gap(self, queries, k, found):
        found.item[:, 0], found.score[:, 0] = -1, -np.inf
        return found

    def _batched(self, queries, k, found):
        return nothing(1, k) if len(queries) == 1 else found


@pytest.mark.parametrize(
    ("violates", "message"),
    [
        ("twice", "comes twice"),
        ("excluded", "excluded items|comes twice"),
        ("rising", "scores rise"),
        ("batched", "alone and in a batch"),
        ("shape", r"must answer \(26, 1\) arrays, not item \(26, 0\)"),
        ("items", "items must be int32, not int64"),
        ("scores", "scores must be float32, not float64"),
        ("outside", "items must be rows below 16, or -1"),
        ("padding", "padding is item -1 with score -inf"),
        ("nan", "a score is NaN"),
        ("gap", "padding stands before an item"),
        ("head", "k = 3 is not the head of k = 6"),
        ("saved", "save and load changed answers"),
        ("saved name", "load changed the name to 'other'"),
        ("refit", "a second fit is not the fit of a new channel"),
        ("unfitted", "recall before fit must raise NotFittedError"),
    ],
)
def test_the_suite_detects_a_violated_property(violates, message):
    kind = type("Broken", (_Broken,), {"violates": violates})
    with pytest.raises(AssertionError, match=message):
        check_channel(kind, personalised=False)


def test_a_channel_that_violates_nothing_passes():
    check_channel(_Broken, personalised=False)


def test_the_suite_detects_a_wrong_reason():
    class Reasoned(_Broken):
        def because(self, queries, item):
            return 99

    with pytest.raises(AssertionError, match="is explained by 99, which the user never met"):
        check_channel(Reasoned, personalised=False)


def test_the_suite_detects_a_channel_without_a_name():
    with pytest.raises(AssertionError, match="Nameless must declare `name`"):
        check_channel(type("Nameless", (_Broken,), {"name": None}), personalised=False)


def test_the_suite_detects_a_channel_that_ignores_the_user():
    with pytest.raises(AssertionError, match="likes items of clan"):
        check_channel(Hot, personalised=True)


def test_two_clans_like_different_items():
    data = two_clans()
    liked = data.positive
    assert (data.events.user[liked] % 2 == data.events.item[liked] % 2).all()
    assert np.bincount(data.events.user[liked]).min() >= 2
    assert FitContext().seed == 0
