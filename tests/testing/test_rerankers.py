"""The suite of re-rank rules detects rules that violate one property each."""

import json

import numpy as np
import pytest

from tamis.cascade import Candidates
from tamis.schema import Component, ComponentConfig, NotFittedError, read_json
from tamis.testing import check_reranker, ranked_lists


class FirstConfig(ComponentConfig):
    """Options of `First`."""

    category: str = "even"
    """Category that is placed first."""


class First(Component):
    """Places the items of one category first.

    `violates` names the property that a test breaks; empty: none.
    """

    name = "first"
    Config = FirstConfig
    violates = ""

    def __init__(self, config=None, **options):
        super().__init__(config, **options)
        self.chosen = None

    def fit(self, data, context=None):
        former, found = self.chosen, data.items.frame["category"] == self.config.category
        self.chosen = found.to_numpy()
        if self.violates == "refit" and former is not None:
            self.chosen = self.chosen | former
        return None if self.violates == "self" else self

    def arrange(self, queries, candidates, n):
        if self.chosen is None:
            if self.violates == "unfitted error":
                raise RuntimeError("no categories")
            if self.violates != "unfitted":
                raise NotFittedError("call fit")
        chosen = np.zeros(99, bool) if self.chosen is None else self.chosen
        first = chosen[candidates.item]
        place = np.arange(len(candidates)) - candidates.indptr[candidates.query]
        key = {
            "random": lambda: np.random.default_rng().random(len(place)),
            "batch": lambda: -place if len(queries) > 1 else place,
            "prefix": lambda: np.where(place < n, -place, place),
        }.get(self.violates, lambda: place)()
        query = np.zeros(len(place)) if self.violates == "query" else candidates.query
        order, note = np.lexsort((key, ~first, query)), first.astype(np.float32)
        return self._broken(candidates, n, order, note)

    def _broken(self, candidates, n, order, note):
        if self.violates == "slate":
            order = order[:n]
        elif self.violates == "type":
            order = order.astype(np.float64)
        elif self.violates == "outside" and len(order):
            order[-1] = len(order)
        elif self.violates == "twice" and len(order):
            order[-1] = order[0]
        elif self.violates == "notes":
            note = note[:n]
        elif self.violates == "type of notes":
            note = note.astype(str)
        elif self.violates == "candidates":
            candidates.columns["value"][:] = 0
        elif self.violates == "empty" and not len(order):
            order = np.zeros(1, np.int64)
        elif self.violates == "one empty query" and len(candidates.indptr) == 2 and not len(order):
            note = np.zeros(1)
        return order, note

    def save(self, directory):
        directory.mkdir()
        chosen = np.flatnonzero(self.chosen).tolist()
        (directory / "first.json").write_text(
            json.dumps({"items": len(self.chosen), "chosen": chosen})
        )

    @classmethod
    def load(cls, directory, config):
        saved = read_json(directory / "first.json")
        loaded = cls(config)
        loaded.chosen = np.isin(np.arange(saved["items"]), saved["chosen"])
        if cls.violates == "saved":
            loaded.chosen[:] = False
        if cls.violates == "saved name":
            loaded.name = "other"
        return loaded


class AsRanked(Component):
    """Keeps the order. It reads no data, so it may be used without a fit."""

    name = "as_ranked"
    Config = ComponentConfig

    def fit(self, data, context=None):
        return self

    def arrange(self, queries, candidates, n):
        return np.arange(len(candidates)), candidates.columns["value"]

    def save(self, directory):
        directory.mkdir()

    @classmethod
    def load(cls, directory, config):
        return cls(config)


class NoLoad(Component):
    """Lacks methods."""

    name = "no_load"
    Config = ComponentConfig

    def arrange(self, queries, candidates, n):
        raise NotFittedError("call fit")


def broken(violates):
    return type("Broken", (First,), {"violates": violates})


def test_correct_rules_pass():
    check_reranker(First)
    check_reranker(lambda: First(category="odd"))
    check_reranker(AsRanked)
    check_reranker(broken("prefix"), prefix=False)


@pytest.mark.parametrize(
    ("violates", "message"),
    [
        ("self", "fit must return self"),
        ("unfitted error", "before fit must raise NotFittedError, not RuntimeError: no categories"),
        ("unfitted", "before fit must raise NotFittedError, unless fit is unused"),
        ("slate", r"must name each of the \d+ candidates once, not \(8,\)"),
        ("type", "the order must be integers, not float64"),
        ("outside", "the order names places outside"),
        ("twice", "candidates come twice and others are lost"),
        ("query", "candidates moved from one query to another"),
        ("notes", r"\(8,\) notes for \d+ candidates"),
        ("type of notes", "notes must be numbers, not <U"),
        ("candidates", "must not change the candidates"),
        ("random", "two calls give different orders"),
        ("empty", r"each of the 0 candidates once, not \(1,\)"),
        ("one empty query", r"\(1,\) notes for 0 candidates"),
        ("batch", "query 0 is arranged differently alone and in a batch"),
        ("prefix", "a slate of 1 is not the head of a slate of 16"),
        ("saved", "save and load changed the order"),
        ("saved name", "load changed the name to 'other'"),
        ("refit", "a second fit is not the fit of a new rule"),
    ],
)
def test_the_suite_detects_a_violated_property(violates, message):
    with pytest.raises(AssertionError, match=message):
        check_reranker(broken(violates))


def test_the_suite_detects_missing_methods():
    with pytest.raises(AssertionError, match="NoLoad lacks a method of the Reranker protocol"):
        check_reranker(NoLoad)


def test_the_lists_are_ranked_and_of_all_lengths():
    given = ranked_lists(10, 8)
    assert isinstance(given, Candidates)
    assert np.diff(given.indptr).tolist() == [8, 8, 4, 1, 0] * 2
    for q in range(10):
        own = slice(*given.indptr[q : q + 2])
        value = given.columns["value"][own].tolist()
        assert value == sorted(value, reverse=True)
        assert len(set(given.item[own].tolist())) == len(value)
    assert np.isneginf(given.columns["value"]).sum() == 6
    assert len(ranked_lists(0, 8)) == 0
