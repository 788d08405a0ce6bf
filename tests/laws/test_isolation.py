"""Isolation: a prediction does not depend on the candidates that are scored with it."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext
from tamis.features import Block, Rows
from tamis.rank._backbone import Backbone
from tamis.runtime import Float32
from tamis.service import registry
from tamis.testing.scorers import TASKS, _rows_for

SCORERS = {
    (kind, name): s for kind in ("rank", "prerank") for name, s in registry.available(kind).items()
}
ENGINES = [(k, n) for (k, n), s in SCORERS.items() if issubclass(s, Backbone)]
CLOSE = 1e-6
"""Most that a prediction may differ. BLAS and ONNX Runtime choose the order of their sums by the
number of rows, so predictions of networks differ in the last bits."""
EXACT = {("rank", "gbdt"), ("prerank", "gbdt")}
"""Trees are walked row by row, and their predictions are equal to the last bit."""
N = 40
SMALL = {"epochs": 1, "batch_size": 128, "hidden_units": (16, 8), "trees": 5, "min_leaf": 5}
SMALL |= {"embedding_dim": 4, "init_std": 0.3, "threads": 1}


def scorer(kind: str, name: str) -> Any:
    stage = SCORERS[kind, name]
    return stage(**{k: v for k, v in SMALL.items() if k in stage.Config.model_fields})


def one_user(rows: Rows, n: int) -> Rows:
    """The first n rows as the candidates of one request: all point to the first row's user."""
    kept = rows.select(np.arange(n))
    shared = [
        Block(b.ids[p[:1]], b.dense[p[:1]], np.zeros(n, np.int32))
        if (p := b.pointer) is not None and len(np.unique(p)) < n // 4
        else b
        for b in kept.blocks
    ]
    return Rows(kept.layout, shared, n)


@cache
def fitted(kind: str, name: str, engine: str) -> tuple[Any, Rows, Float32]:
    """A fitted scorer, the candidates of one request, and their predictions (N, T)."""
    made = scorer(kind, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(_rows_for(made)(40, 1), None, TASKS, FitContext(seed=0))
    if engine == "onnx":
        with TemporaryDirectory() as folder:
            made.save(Path(folder) / "scorer")
            made = type(made).load(Path(folder) / "scorer", made.config)
    rows = one_user(_rows_for(made)(8, 2), N)
    return made, rows, predictions(made, rows)


def predictions(made: Any, rows: Rows) -> Float32:
    return np.stack(list(made.score_rows(rows).values()), axis=1)


CASES = [(kind, name, "torch") for kind, name in SCORERS] + [(k, n, "onnx") for k, n in ENGINES]
ORDERS = st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True)


@pytest.mark.parametrize(("kind", "name", "engine"), CASES)
@settings(max_examples=12, deadline=None)
@given(order=ORDERS)
def test_a_prediction_depends_on_its_candidate_alone(
    kind: str, name: str, engine: str, order: list[int]
) -> None:
    made, rows, together = fitted(kind, name, engine)
    some = predictions(made, rows.select(np.array(order)))
    if (kind, name) in EXACT:
        np.testing.assert_array_equal(some, together[order])
    np.testing.assert_allclose(some, together[order], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("kind", "name", "engine"), CASES)
def test_candidates_do_get_different_predictions(kind: str, name: str, engine: str) -> None:
    """Otherwise the law above would hold for a scorer that ignores its candidates."""
    _, _, together = fitted(kind, name, engine)
    assert np.ptp(together, axis=0).max() > 100 * CLOSE


def test_the_engine_scores_the_loaded_rankers() -> None:
    made, _, _ = fitted("rank", "deepfm", "onnx")
    assert made._engine is not None
