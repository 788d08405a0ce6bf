"""Every kind of task against hand-computed cases and naive loops; products, ESMM, maps."""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from tamis.cascade import FitContext
from tamis.features import Batch, Block, DenseColumn, Layout, Rows
from tamis.nn import log_odds_of_product
from tamis.rank import GBDT, DeepFM
from tamis.schema import ConfigError, DenseFeat, Side, TaskConfig, TrainingError
from tamis.train import Heads, Monotone, TaskObjective, auc, monotone, xauc

NAN = float("nan")
CLICK, LIKE = TaskConfig(name="click"), TaskConfig(name="like|click")
WATCH = TaskConfig(name="watch", kind="watch_time", scale=10)
RATING = TaskConfig(name="rating", kind="multiclass", classes=(1, 3, 5))
LAYOUT = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, 3),))


def rows_of(labels: Any, x: Any = None, **more: Any) -> Rows:
    labels = np.asarray(labels, np.float32)
    n = len(labels)
    dense = np.zeros((n, 3), np.float32) if x is None else np.asarray(x, np.float32)
    return Rows(LAYOUT, [Block(np.zeros((n, 0), np.int32), dense)], n, labels, **more)


class Fixed(nn.Module):
    """A module that returns given logits."""

    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.logits


def loss_of(tasks: Any, logits: Any, labels: Any, weights: Any = None) -> torch.Tensor:
    heads = Heads.of(tasks)
    labels = np.asarray(labels, np.float32)
    if any(t.kind == "regression" for t in heads.tasks):
        heads = heads.fitted(rows_of(labels))
    batch = Batch(
        torch.zeros(len(labels), 0, dtype=torch.int32),
        torch.zeros(len(labels), 3),
        torch.from_numpy(np.ascontiguousarray(heads.targets(labels))),
        None if weights is None else torch.tensor(weights, dtype=torch.float32),
    )
    return TaskObjective(heads).loss(Fixed(logits), batch)


def sigma(z: float) -> float:
    return 1 / (1 + exp(-z))


def entropy(y: float, p: float) -> float:
    return -y * log(p) - (1 - y) * log(1 - p)


# ---------------------------------------------------------------- losses by hand


def test_a_conditional_task_learns_from_rows_where_its_condition_holds() -> None:
    found = loss_of(["click", "like|click"], [[0.5, 1.0], [-1.0, 2.0]], [[1, 1], [0, NAN]])
    by_hand = (entropy(1, sigma(0.5)) + entropy(0, sigma(-1)) + entropy(1, sigma(1))) / 2
    assert found.item() == pytest.approx(by_hand)


def test_esmm_learns_the_product_over_all_rows() -> None:
    like = TaskConfig(name="like|click", esmm=True)
    logits, labels = [[0.5, 1.0], [-1.0, 2.0], [0.3, -0.4]], [[1, 1], [0, NAN], [1, 0]]
    by_hand = 0.0
    for (a, b), (click, liked) in zip(logits, labels, strict=True):
        both = 0 if click == 0 else liked
        by_hand += entropy(click, sigma(a)) + entropy(both, sigma(a) * sigma(b))
    found = loss_of([CLICK, like], logits, labels)
    assert found.item() == pytest.approx(by_hand / 3)


def test_esmm_chains_conditions() -> None:
    tasks = [CLICK, TaskConfig(name="cart|click"), TaskConfig(name="buy|cart", esmm=True)]
    heads = Heads.of(tasks)
    labels = np.array(
        [[0, NAN, NAN], [1, 0, NAN], [1, 1, 0], [1, 1, 1], [NAN, NAN, NAN], [1, 1, NAN]], np.float32
    )
    np.testing.assert_array_equal(heads.targets(labels)[:, 2], [0, 0, 0, 1, NAN, NAN])
    logits = np.array([[0.3, -0.7, 1.1]], np.float32)
    product = sigma(0.3) * sigma(-0.7) * sigma(1.1)
    assert heads.predictions(logits)["buy"][0] == pytest.approx(product)


def test_the_log_odds_of_a_product_are_accurate_at_extremes() -> None:
    z = torch.tensor(
        [[0.0, 0.0], [-90.0, 3.0], [40.0, 40.0], [60.0, 50.0], [-200.0, -300.0]],
        requires_grad=True,
    )
    found = log_odds_of_product(z)
    exact = [log(0.25 / 0.75), -90 - log(1 + exp(-3)), 40 - log(2), 50.0, -500.0]
    assert found.tolist() == pytest.approx(exact, rel=1e-5)
    found.sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_gradients_of_the_product_by_finite_differences() -> None:
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    assert torch.autograd.gradcheck(log_odds_of_product, (z.requires_grad_(),))


def test_watch_time_is_cross_entropy_of_its_share() -> None:
    found = loss_of([WATCH], [[0.5], [-1.0], [7.0]], [[10], [40], [NAN]])  # t = 1, t = 4
    by_hand = (entropy(0.5, sigma(0.5)) + entropy(0.8, sigma(-1))) / 2
    assert found.item() == pytest.approx(by_hand)
    minutes = TaskConfig(name="watch", kind="watch_time", scale=60, unit="min")
    assert Heads.of([minutes]).targets(np.array([[3]], np.float32))[0, 0] == pytest.approx(0.75)


def test_completion_is_cross_entropy_of_the_share_or_of_having_watched_enough() -> None:
    share = TaskConfig(name="done", kind="completion")
    found = loss_of([share], [[0.2], [1.0]], [[0.25], [3.0]])  # watched three times is watched
    by_hand = (entropy(0.25, sigma(0.2)) + entropy(1, sigma(1))) / 2
    assert found.item() == pytest.approx(by_hand)
    enough = TaskConfig(name="done", kind="completion", threshold=0.8)
    labels = np.array([[0.79], [0.8], [NAN]], np.float32)
    np.testing.assert_array_equal(Heads.of([enough]).targets(labels)[:, 0], [0, 1, NAN])


@pytest.mark.parametrize(("loss", "expected"), [("mse", 0.5 * 0.5**2), ("mae", 0.5)])
def test_regression_targets_are_standardised(loss: str, expected: float) -> None:
    task = TaskConfig(name="stars", kind="regression", loss=loss)
    # Labels 1 and 5: mean 3, deviation 2; targets −1 and 1.
    found = loss_of([task], [[-1.0], [0.5]], [[1], [5]])
    assert found.item() == pytest.approx(expected / 2)
    heads = Heads.of([task]).fitted(rows_of([[1], [5]]))
    assert heads.values(np.array([[-1.0], [0.5]], np.float32))[:, 0].tolist() == [1, 4]


def test_each_class_has_a_logit() -> None:
    heads = Heads.of([CLICK, RATING, LIKE])
    assert heads.widths == (1, 3, 1)
    assert heads.slices == (slice(0, 1), slice(1, 4), slice(4, 5))
    logits = [[0.0, 1.0, 2.0, 3.0, 0.0]]
    found = loss_of([CLICK, RATING, LIKE], logits, [[1, 2, 0]])
    p = np.exp([1.0, 2.0, 3.0]) / np.exp([1.0, 2.0, 3.0]).sum()
    assert found.item() == pytest.approx(log(2) - log(p[2]) + log(2))
    made = heads.predictions(np.array(logits, np.float32))
    assert made["rating"][0] == pytest.approx(p @ [1, 3, 5])
    assert [made[f"rating_{c}"][0] for c in (1, 3, 5)] == pytest.approx(p.tolist())


def test_the_loss_weighs_tasks_rows_and_labels() -> None:
    tasks = [TaskConfig(name="a", weight=2), TaskConfig(name="b", weight=0.5)]
    logits, labels = [[0.1, 0.2], [0.3, 0.4]], [[1, NAN], [0, 1]]
    a = 3 * entropy(1, sigma(0.1)) + 5 * entropy(0, sigma(0.3))
    b = 5 * entropy(1, sigma(0.4))
    rows = loss_of(tasks, logits, labels, [3, 5])
    assert rows.item() == pytest.approx((2 * a + 0.5 * b) / 8)
    each = loss_of(tasks, logits, labels, [[3, 9], [5, 1]])
    assert each.item() == pytest.approx((2 * a + 0.5 * b / 5) / 8)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_rows_without_a_label_have_a_finite_loss_and_no_gradient(n: int) -> None:
    tasks = [CLICK, TaskConfig(name="like|click", esmm=True), WATCH, RATING]
    model = Fixed(np.ones((n, 6)))
    heads = Heads.of(tasks)
    empty = np.full((n, 4), NAN, np.float32)
    batch = Batch(torch.zeros(n, 0, dtype=torch.int32), torch.zeros(n, 3), torch.from_numpy(
        heads.targets(empty)))  # fmt: skip
    loss = TaskObjective(heads).loss(model, batch)
    loss.backward()
    assert loss.item() == 0
    assert model.logits.grad is not None
    assert not model.logits.grad.any()


# ---------------------------------------------------------------- predictions


def test_a_rate_is_also_predicted_as_a_product_with_its_condition() -> None:
    heads = Heads.of([CLICK, LIKE])
    made = heads.predictions(np.array([[0.5, -1.0]], np.float32))
    assert list(made) == ["click", "like|click", "like"]
    assert made["like|click"][0] == pytest.approx(sigma(-1))
    assert made["like"][0] == pytest.approx(sigma(0.5) * sigma(-1))
    alone = Heads.of([LIKE]).predictions(np.zeros((1, 1), np.float32))
    assert list(alone) == ["like|click"]  # its condition is not predicted
    taken = Heads.of([CLICK, LIKE, TaskConfig(name="like")])
    assert taken.predictions(np.array([[0.5, -1, 2]], np.float32))["like"][0] == pytest.approx(
        sigma(2)
    )


def test_watch_time_scores_are_exp_and_seconds_come_from_a_map() -> None:
    heads = Heads.of([WATCH])
    z = np.array([[0.0], [1.0], [2.0]], np.float32)
    made = heads.predictions(z)
    assert made["watch"].tolist() == pytest.approx([1, exp(1), exp(2)])
    assert made["watch_seconds"].tolist() == pytest.approx([10, 10 * exp(1), 10 * exp(2)])
    timed = heads.with_seconds({"watch": Monotone(x=(0, 2), y=(30, 50))})
    assert timed.predictions(z)["watch_seconds"].tolist() == [30, 40, 50]
    assert timed.predictions(z)["watch"].tolist() == made["watch"].tolist()


def test_seconds_are_the_median_or_the_mean_of_validation_rows() -> None:
    z = np.repeat([[0.0], [1.0]], 100, 0).astype(np.float32)
    seconds = np.r_[np.full(60, 10), np.full(40, 100), np.full(60, 50), np.full(40, 300)]
    valid = rows_of(seconds[:, None] / 60)  # the log holds minutes
    for loss, expected in (("mae", [10, 50]), ("mse", [46, 150])):
        task = TaskConfig(name="w", kind="watch_time", unit="min", loss=loss)
        made = Heads.of([task]).timed(valid, z).values(z[[0, -1]])
        assert made[:, 0].tolist() == pytest.approx(expected)


def test_completion_is_divided_by_the_mean_share_at_its_duration() -> None:
    task = TaskConfig(name="done", kind="completion", duration="length")
    length = np.r_[np.full(100, 10.0), np.full(100, 100.0), np.zeros(50), np.full(50, NAN)]
    share = np.r_[np.full(100, 0.8), np.full(100, 0.2), np.full(100, NAN)]
    rows = rows_of(share[:, None], raw={"length": length.astype(np.float32)})
    heads = Heads.of([task]).fitted(rows)
    z = np.zeros((300, 1), np.float32)
    made = heads.predictions(z, rows)
    assert made["done_share"][[0, 150, 220]].tolist() == [0.5, 0.5, 0.5]
    # f(10 s) = .8, f(100 s) = .2; without a length the mean share, .5.
    assert made["done"][[0, 150, 220, 299]].tolist() == pytest.approx([0.625, 2.5, 1, 1])
    assert heads.notes(rows) == [
        "task done: 33.3% of the rows have no length (0 or missing); they have no label, and "
        "predictions for such items are divided by the mean share"
    ]
    again = Heads.from_dict(heads.to_dict())
    np.testing.assert_array_equal(again.predictions(z, rows)["done"], made["done"])
    with pytest.raises(TrainingError, match="have no column 'length'"):
        heads.predictions(z, rows_of(share[:, None]))


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["a", "a"], "each task needs a unique name"),
        ([TaskConfig(name="a", classes=(1, 2))], "classes does not apply to a binary task"),
        ([TaskConfig(name="a", kind="multiclass")], r"classes = \[\]: give at least two"),
        ([TaskConfig(name="a", kind="multiclass", classes=(2, 1))], "must be strictly ascending"),
        ([TaskConfig(name="a", esmm=True)], "esmm = true needs a binary task with a condition"),
        ([TaskConfig(name="a|b", esmm=True)], r"esmm = true needs its condition as a task"),
        ([TaskConfig(name="a|b"), TaskConfig(name="b|a")], "form a cycle: .*a"),
        ([TaskConfig(name="a|b", given="c")], 'given = "c" differs from that in the name'),
        ([WATCH, TaskConfig(name="a|watch")], '"watch" is a watch_time task; it must be binary'),
    ],
)
def test_contradictory_tasks_are_refused(tasks: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Heads.of(tasks)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (CLICK, [[0], [NAN]], "'click' has no positive label in 2 training rows"),
        (WATCH, [[3], [-1]], r"'watch': 1 of the 2 labels .* negative or infinite: -1 \(row 1\)"),
        (RATING, [[0], [3]], r"'rating': .* no class numbers from 0 to 2: 3 \(row 1\)"),
        (TaskConfig(name="r", kind="regression"), [[NAN], [NAN]], "'r' has no label in 2 training"),
    ],
)
def test_labels_that_cannot_be_learnt_are_named(task: Any, labels: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Heads.of([task]).fitted(rows_of(labels))


# ---------------------------------------------------------------- maps and metrics


def pairs(labels: Any, scores: Any) -> float:
    """XAUC by a loop over all pairs."""
    right = total = 0.0
    for i, a in enumerate(labels):
        for j, b in enumerate(labels):
            if a < b:
                total += 1
                right += 1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return right / total if total else NAN


def test_xauc_counts_pairs() -> None:
    draw = np.random.default_rng(0)
    for n in (2, 3, 17, 60):
        labels, scores = draw.integers(0, 6, n).astype(float), draw.integers(0, 5, n).astype(float)
        assert xauc(labels, scores) == pytest.approx(pairs(labels, scores), nan_ok=True)
    binary = (labels > 2).astype(float)
    assert xauc(binary, scores) == pytest.approx(auc(binary, scores))
    assert np.isnan(xauc(np.ones(3), np.arange(3.0)))
    assert np.isnan(xauc(np.zeros(0), np.zeros(0)))


def test_a_monotone_map_is_isotonic_regression() -> None:
    from sklearn.isotonic import IsotonicRegression

    draw = np.random.default_rng(1)
    x = np.repeat(np.arange(12.0), 40)
    y = x**2 + draw.normal(0, 30, len(x))
    found = monotone(x, y)
    expected = IsotonicRegression().fit(x, y).predict(np.array(found.x))
    assert found.y == pytest.approx(expected)
    falling = monotone(x, -y, direction="auto")
    assert falling.y == pytest.approx(-expected)
    assert found(np.array([-5.0, 99.0])).tolist() == [found.y[0], found.y[-1]]
    assert monotone(np.array([NAN]), np.array([1.0])) is None


def test_a_median_map_has_the_smallest_absolute_error() -> None:
    draw = np.random.default_rng(2)
    x = np.repeat(np.arange(20.0), 200)
    y = np.exp(x / 6) * np.exp(draw.normal(0, 1, len(x)))
    median, mean = monotone(x, y, "median"), monotone(x, y, "mean")
    errors = [np.abs(m(x) - y).mean() for m in (median, mean)]
    own = np.abs(np.array([np.median(y[x == v]) for v in x]) - y).mean()
    assert errors[0] == pytest.approx(own, rel=0.003)
    assert errors[1] > 1.05 * errors[0]


# ---------------------------------------------------------------- fits


def funnel(n: int, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3)).astype(np.float32)
    click = draw.random(n) < 1 / (1 + np.exp(-x[:, 0]))
    like = click & (draw.random(n) < 1 / (1 + np.exp(-2 * x[:, 1])))
    watch = np.where(click, 20 * np.exp(x[:, 2] + draw.normal(0, 0.3, n)), NAN)
    columns = {f"x{k}": x[:, k] for k in range(3)}
    return pl.DataFrame({**columns, "click": click * 1.0, "like": like * 1.0, "watch": watch})


FEATURES = [DenseFeat(name=f"x{k}") for k in range(3)]
FUNNEL = [CLICK, LIKE, TaskConfig(name="watch", kind="watch_time", scale=20)]


@pytest.mark.parametrize("model", ["deepfm", "gbdt"])
def test_a_funnel_is_learnt_and_saved(model: str, tmp_path: Path) -> None:
    made = (
        DeepFM(features=FEATURES, epochs=6, batch_size=256, learning_rate=3e-3)
        if model == "deepfm"
        else GBDT(features=FEATURES, trees=60, min_leaf=50, learning_rate=0.1)
    )
    valid = funnel(1500, 1) if model == "deepfm" else None
    made.fit(funnel(6000), valid, FUNNEL)
    test = funnel(3000, 2)
    found = made.evaluate(test)
    assert found["auc:click"] > 0.7
    assert found["auc:like|click"] > 0.8  # of rows that were clicked
    assert found["xauc:watch"] > 0.85
    if model == "deepfm":  # seconds, mapped on the validation rows
        assert found["mae:watch"] < 12  # the true median has 8.1, one number for all 24.3
    made.save(tmp_path)
    again = type(made).load(tmp_path)
    np.testing.assert_array_equal(again.predict(test), made.predict(test))
    rows = made.labelled(test)
    scores = made.score_rows(rows)
    assert list(scores) == ["click", "like|click", "watch", "like", "watch_seconds"]
    np.testing.assert_allclose(scores["like"], scores["click"] * scores["like|click"], rtol=1e-5)


def test_the_next_fit_reuses_the_map_to_seconds() -> None:
    options = {"features": FEATURES, "epochs": 2, "batch_size": 256}
    first = DeepFM(**options).fit(funnel(2000), funnel(800, 1), FUNNEL)
    context = FitContext(chosen=first.chosen)
    second = DeepFM(**options).fit(funnel(2000), None, FUNNEL, context)
    assert second.heads.seconds == first.heads.seconds
    assert first.heads.seconds["watch"].y[0] > 0


def test_esmm_of_trees_is_refused() -> None:
    like = TaskConfig(name="like|click", esmm=True)
    with pytest.raises(ConfigError, match="trees learn each task separately"):
        GBDT(features=FEATURES, trees=5).fit(funnel(500), None, [CLICK, like])


def test_rows_of_weight_0_are_not_learnt() -> None:
    table = funnel(2000)
    wrong = table.with_columns(click=1 - pl.col("click"))
    both = pl.concat([table.with_columns(w=1.0), wrong.with_columns(w=0.0)])
    model = DeepFM(features=FEATURES, epochs=5, batch_size=256, learning_rate=3e-3)
    model.fit(both, None, ["click"], weight="w")
    assert model.evaluate(funnel(2000, 1))["auc"] > 0.7
