"""The suite of scorers detects scorers that violate one property each."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ConfigDict

from tamis.schema import (
    Component,
    ComponentConfig,
    NotFittedError,
    known_options,
    read_json,
)
from tamis.testing import candidate_rows, check_scorer
from tamis.testing.scorers import LAYOUT, TASKS
from tamis.train import FrameModel, ScorerConfig


class LeastConfig(ScorerConfig):
    """Options of `Least`."""

    ridge: float = 1e-3
    """L2 penalty of the weights."""


class Least(FrameModel):
    """Least squares over the numbers, and over whether the item's kind is the user's taste.

    `violates` names the property that a test breaks; empty: none.
    """

    name = "least"
    Config = LeastConfig
    violates = ""

    def __init__(self, config=None, **options):
        lost = self.violates == "config"
        super().__init__(LeastConfig() if lost and config is not None else config, **options)
        self.weights = None

    def fit(self, data, valid=None, tasks=None, context=None, **options):
        if self.violates == "share of negatives":
            context = replace(context, negatives=1.0)
        super().fit(data, valid, tasks, context, **options)
        if self.violates == "chosen":
            self.chosen = None
        if self.violates == "options":
            self.config = LeastConfig(ridge=9.0)
        if self.violates == "training rows":
            data.labels[:] = 0
        if self.violates == "validation rows" and valid is not None:
            valid.blocks[0].dense[:] = 0
        return None if self.violates == "self" else self

    def fit_rows(self, rows, valid, tasks, context):
        inputs, former = self._inputs(rows), self.weights
        columns = []
        for t in range(len(tasks)):
            label = rows.labels[:, t]
            known = ~np.isnan(label) | (self.violates == "missing")
            x, y = inputs[known], 8 * label[known] - 4
            square = x.T @ x + self.config.ridge * np.eye(x.shape[1])
            columns.append(np.linalg.solve(square, x.T @ y))
        self.weights = np.stack(columns, 1).astype(np.float32)
        if self.violates == "refit" and former is not None:
            self.weights = (self.weights + former) / 2
        if self.violates == "seed":
            self.weights *= np.random.default_rng().uniform(1, 2)
        if self.violates == "nothing learnt":
            self.weights[:] = 0
        if self.violates == "not personalised":
            self.weights[-2] = 0
        return self

    def logits(self, rows):
        if self.weights is None:
            raise NotFittedError("call fit")
        return self._inputs(rows) @ self.weights

    def _inputs(self, rows):
        batch = rows.take(torch.arange(len(rows)))
        start = {c.name: (c.first, LAYOUT.table[c.table].start) for c in LAYOUT.ids}
        (taste, low), (kind, first) = start["taste"], start["kind"]
        pair = batch.ids[:, taste] - low == batch.ids[:, kind] - first
        one = np.ones((len(rows), 1))
        columns = [batch.dense.numpy(), pair.numpy()[:, None], one]
        return np.concatenate(columns, 1).astype(np.float32)

    def score_rows(self, rows):
        user, scale = rows.blocks[0], 1.0
        if self.weights is None and self.violates in ("unfitted", "unfitted error"):
            if self.violates == "unfitted error":
                raise RuntimeError("no weights")
            return {}
        found = super().score_rows(rows)
        pointer = user.pointer if user.pointer is not None else np.arange(len(rows))
        wrong = {
            "single user": len(user.ids) == 1,
            "single row": len(rows) == 1,
            "sorted rows": (np.diff(pointer) < 0).any(),
            "pointers": user.pointer is None,
            "labels": rows.labels is not None,
            "range": True,
        }
        if wrong.get(self.violates):
            scale = 0.9
        found = {name: (score * np.float32(scale)) for name, score in found.items()}
        if self.violates == "range":
            found["click"] += np.float32(0.5)
        return self._broken(rows, found)

    def _broken(self, rows, found):
        if self.violates == "tasks":
            del found["like"]
        elif self.violates == "order of tasks":
            found = {name: found[name] for name in reversed(found)}
        elif self.violates == "shape":
            found["click"] = found["click"][:, None]
        elif self.violates == "empty" and not len(rows):
            found["click"] = np.zeros(1, np.float32)
        elif self.violates == "type":
            found["click"] = found["click"].astype(np.float64)
        elif self.violates == "finite":
            found["click"][::7] = np.nan
        elif self.violates == "inputs":
            rows.blocks[0].dense[:] = 0
        return found

    def save(self, directory):
        if self.weights is None and self.violates != "unfitted save":
            raise NotFittedError("call fit")
        directory.mkdir(parents=True, exist_ok=True)
        about = {**self.learnt_values(), "config": self.config.model_dump()}
        if self.weights is not None:
            about["weights"] = self.weights.tolist()
        (directory / "least.json").write_text(json.dumps(about))

    @classmethod
    def load(cls, directory, config=None):
        about = read_json(directory / "least.json")
        loaded = cls(**known_options(cls.Config, about["config"]))
        loaded.restore_learnt_values(about)
        loaded.weights = np.asarray(about["weights"], np.float32)
        if cls.violates == "saved weights":
            loaded.weights *= 0.9
        elif cls.violates == "saved name":
            loaded.name = "other"
        elif cls.violates == "saved tasks":
            loaded.lost = True
        return loaded

    @property
    def tasks(self):
        return () if hasattr(self, "lost") else super().tasks


def broken(violates):
    kind = type("Broken", (Least,), {"violates": violates})
    return lambda: kind(ridge=0.5)


class Lenient(ComponentConfig):
    """Accepts every option."""

    model_config = ConfigDict(extra="allow")


class NotTrainable(Component):
    """Scores, but has no fit."""

    name = "not_trainable"
    Config = ComponentConfig

    def score_rows(self, rows):
        return {}


class NotAComponent:
    """Derives from nothing."""


def test_a_correct_scorer_passes():
    check_scorer(Least)
    check_scorer(broken("not personalised"), personalised=False)


@pytest.mark.parametrize(
    ("violates", "message"),
    [
        ("config", r"Broken\(config\) must keep the config"),
        ("unfitted", "score_rows before fit must raise NotFittedError$"),
        ("unfitted error", "before fit must raise NotFittedError, not RuntimeError: no weights"),
        ("unfitted save", "save before fit must raise NotFittedError"),
        ("self", "fit must return self"),
        ("chosen", r"`chosen` must be a tamis\.train\.Chosen"),
        ("options", "fit must not change the config"),
        ("training rows", "fit must not change its rows"),
        ("validation rows", "fit must not change its rows"),
        ("tasks", r"must predict the tasks \['click', 'like'\]"),
        ("order of tasks", r"must predict the tasks .* not \['like', 'click'\]"),
        ("shape", r"click: \(72, 1\) predictions for 72 rows"),
        ("empty", r"click: \(1,\) predictions for 0 rows"),
        ("type", "must be float32, not float64"),
        ("finite", "click: predictions must be finite"),
        ("range", r"probabilities in \[0, 1\]"),
        ("inputs", "score_rows must not change its rows"),
        ("single user", "candidates of query 0 are scored differently alone"),
        ("single row", "row 0 is scored differently alone"),
        ("sorted rows", "a permutation of the rows must permute"),
        ("pointers", "rows without pointers score differently"),
        ("labels", "predictions depend on the rows' labels"),
        ("saved weights", "save and load changed predictions"),
        ("saved name", "load changed the name to 'other'"),
        ("saved tasks", r"load changed tasks to \(\)"),
        ("missing", "like: predictions must be finite"),
        ("refit", "a second fit with the same rows and seed"),
        ("share of negatives", "task 'click': the predicted odds must be multiplied"),
        ("nothing learnt", "task 'click' is not learnt: its AUC on other queries is 0.500"),
        ("not personalised", "task 'like' is not learnt"),
    ],
)
def test_the_suite_detects_a_violated_property(violates, message):
    with pytest.raises(AssertionError, match=message):
        check_scorer(broken(violates))


def test_a_fit_that_differs_each_time_is_detected():
    with pytest.raises(AssertionError, match="a second fit with the same rows and seed"):
        check_scorer(broken("seed"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (NotAComponent, r"NotAComponent must derive from tamis\.Component"),
        (type("Nameless", (Least,), {"name": None}), "Nameless must declare `name`"),
        (type("Lenient", (Least,), {"Config": Lenient}), "Lenient must refuse an unknown option"),
        (NotTrainable, r"NotTrainable lacks a method or an attribute of .*TrainableScorer"),
    ],
)
def test_the_suite_detects_a_wrong_class(make, message):
    with pytest.raises(AssertionError, match=message):
        check_scorer(make)


def test_one_fit_in_a_poor_minimum_is_allowed():
    """Another seed is tried, once."""

    class OnceLost(Least):
        fits = 0

        def fit(self, data, valid=None, tasks=None, context=None, **options):
            super().fit(data, valid, tasks, context, **options)
            type(self).fits += valid is not None
            if valid is not None and type(self).fits == 1:
                self.weights *= -1
                self.shifts, self.calibrations = (), ()
            return self

    check_scorer(OnceLost)
    assert OnceLost.fits == 2


def test_other_rows_may_be_given():
    def without_groups(queries, seed):
        return replace(candidate_rows(queries, seed), groups=None)

    check_scorer(Least, rows=candidate_rows, tasks=TASKS)
    with pytest.raises(AssertionError, match=r"rows\(queries, seed\) must have `groups`"):
        check_scorer(Least, rows=without_groups)


def test_rows_are_what_they_say():
    rows = candidate_rows(60, seed=2)
    batch = rows.take(torch.arange(len(rows)))
    column = {c.name: batch.ids[:, c.first].numpy() for c in LAYOUT.ids}
    start = {name: table.start for name, table in LAYOUT.table.items()}
    price = batch.dense[:, 1].numpy()
    assert (rows.labels[:, 0] == (price > 0)).all()
    alike = column["taste"] - start["taste"] == column["kind"] - start["kind"]
    assert (rows.labels[:, 1] == alike).all()
    assert 0.3 < rows.labels.mean(0).min() <= rows.labels.mean(0).max() < 0.7
    assert (column["user"] == start["user"] + 1).any()
    assert (column["item"] == start["item"] + 1).any()
    assert (column["liked"] == start["item"]).any()
    liked = column["liked"][column["liked"] > start["item"]]
    taste = column["taste"][column["liked"] > start["item"]] - start["taste"]
    assert ((liked - start["item"]) % 2 == taste % 2).all()
