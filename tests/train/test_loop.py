"""The training loop: it learns, stops early, is reproducible, and names faulty input."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.nn import MLP, FieldPooling, fused_table
from tamis.schema import Side, TrainingError
from tamis.train import BinaryTasks, FitOptions, Order, batches, fit, predict

LAYOUT = Layout(
    tables=(TableRange("user", 0, 22), TableRange("item", 22, 32)),
    ids=(IdColumn("user", Side.USER, "user", 0), IdColumn("item", Side.ITEM, "item", 1)),
    dense=(DenseColumn("price", Side.ITEM, 0, 2),),
)


def taste(n: int, seed: int = 0, tasks: int = 1) -> Rows:
    """Even users like even items, odd users odd items; the numbers are noise."""
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, 20, n).astype(np.int32), draw.integers(0, 30, n).astype(np.int32)
    liked = ((user + item) % 2 == 0).astype(np.float32)
    users = Block(np.arange(2, 22, dtype=np.int32)[:, None], np.zeros((20, 0), np.float32), user)
    items = Block(
        np.arange(24, 54, dtype=np.int32)[:, None],
        draw.normal(size=(30, 2)).astype(np.float32),
        item,
    )
    labels = np.repeat(liked[:, None], tasks, 1)
    return Rows(LAYOUT, [users, items], n, labels, groups=np.arange(n) // 10)


class Small(nn.Module):
    def __init__(self, tasks: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.table = fused_table(LAYOUT, 4, init_std=0.1, generator=draw)
        self.pooling = FieldPooling(LAYOUT)
        self.mlp = MLP(10, [16], tasks, dropout=dropout, generator=draw)

    def forward(self, batch):
        v = self.pooling(self.table, batch.ids)
        return self.mlp(torch.cat([v.flatten(1), batch.dense], 1))


FAST = FitOptions(epochs=6, batch_size=128, learning_rate=0.01, embedding_learning_rate=0.1)


@pytest.mark.parametrize(
    ("kind", "optimiser"), [("bce", "rowadagrad"), ("listwise", "lazyadam"), ("both", "rowadagrad")]
)
def test_every_loss_and_optimiser_learns_the_labels(kind, optimiser):
    options = FitOptions(
        epochs=8,
        batch_size=128,
        learning_rate=0.01,
        embedding_learning_rate=0.1 if optimiser == "rowadagrad" else 0.02,
        embedding_optimiser=optimiser,
    )
    objective = BinaryTasks(kind=kind)
    result = fit(Small(), taste(3000), objective, valid=taste(500, 1), options=options)
    assert result.best["auc"] > 0.98
    assert result.history[-1].loss < result.history[0].loss


def test_the_seed_determines_the_model_and_the_global_generator_is_unchanged():
    before = torch.random.get_rng_state()
    out = []
    for seed in (3, 3, 4):
        model = Small(dropout=0.3)
        fit(model, taste(600), BinaryTasks(), options=FitOptions(epochs=2, seed=seed))
        out.append(predict(model, taste(50, 2)))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(out[0], out[1])
    assert not np.array_equal(out[0], out[2])


def test_early_stopping_restores_the_weights_of_the_best_epoch():
    values = iter([0.3, 0.7, 0.5, 0.6, 0.9])
    seen = []

    def metric(scores, rows):
        seen.append(scores.copy())
        return next(values)

    model, valid = Small(), taste(64, 1)
    objective = BinaryTasks(metric=metric)
    options = FitOptions(epochs=5, batch_size=64, patience=2)
    result = fit(model, taste(400), objective, valid=valid, options=options)
    assert (result.best_epoch, len(result.history)) == (2, 4)
    assert result.best["metric"] == 0.7
    after = expit(predict(model, valid))
    np.testing.assert_array_equal(after, seen[1])
    assert not np.array_equal(after, seen[3])


def test_without_validation_all_epochs_run():
    result = fit(Small(), taste(200), BinaryTasks(), options=FitOptions(epochs=3))
    assert (result.best_epoch, len(result.history), result.best) == (3, 3, {})


def test_an_undefined_metric_does_not_stop_the_fit():
    valid = taste(20, 1).labelled(np.ones((20, 1), np.float32), np.zeros(20, np.int64))
    result = fit(Small(), taste(200), BinaryTasks(), valid=valid, options=FitOptions(epochs=3))
    assert math.isnan(result.best["auc"])
    assert result.best_epoch == 3


def test_a_task_without_labels_in_a_row_does_not_learn_from_it():
    rows = taste(2000, tasks=2)
    rows.labels[::2, 1] = np.nan
    result = fit(
        Small(2), rows, BinaryTasks(("a", "b")), valid=taste(400, 1, tasks=2), options=FAST
    )
    assert result.best["auc:a"] > 0.95
    assert result.best["auc:b"] > 0.95


def test_task_weights_scale_the_tasks_losses():
    rows = taste(100, tasks=2)
    batch = rows.take(torch.arange(100))
    model = Small(2)
    alone = [BinaryTasks("ab", weights).loss(model, batch) for weights in ((1, 0), (0, 1))]
    both = BinaryTasks("ab", (2, 3)).loss(model, batch)
    torch.testing.assert_close(both, 2 * alone[0] + 3 * alone[1])


def test_a_feature_that_is_not_finite_is_named():
    rows = taste(500)
    rows.blocks[1].dense[:, 1] = np.inf
    with pytest.raises(TrainingError, match=r"nan in epoch 1, batch 1: feature 'price'"):
        fit(Small(), rows, BinaryTasks(), options=FAST)


def test_a_diverging_fit_stops_with_epoch_and_batch():
    class Diverges(Small):
        steps = 0

        def forward(self, batch):
            self.steps += 1
            return super().forward(batch) * (math.nan if self.steps == 6 else 1.0)

    with pytest.raises(TrainingError, match=r"epoch 2, batch 2.*learning rate"):
        fit(Diverges(), taste(512), BinaryTasks(), options=FAST)


def test_an_infinite_weight_is_named():
    rows = taste(200)
    object.__setattr__(rows, "weights", np.full(200, np.inf, np.float32))
    with pytest.raises(TrainingError, match="sample weight"):
        fit(Small(), rows, BinaryTasks(), options=FAST)


def test_missing_rows_labels_and_groups_are_refused():
    with pytest.raises(TrainingError, match="no rows"):
        fit(Small(), taste(0), BinaryTasks())
    bare = Rows(LAYOUT, taste(9).blocks, 9)
    with pytest.raises(TrainingError, match="no labels"):
        fit(Small(), bare, BinaryTasks())
    labelled = Rows(LAYOUT, taste(9).blocks, 9, np.ones((9, 1), np.float32))
    with pytest.raises(TrainingError, match="groups"):
        fit(Small(), labelled, BinaryTasks(kind="listwise"))


@pytest.mark.parametrize("n", [0, 1])
def test_predict_on_few_rows(n):
    assert predict(Small(2), taste(n)).shape == (n, 2)


def test_one_row_trains():
    result = fit(Small(), taste(1), BinaryTasks(), options=FitOptions(epochs=2))
    assert math.isfinite(result.history[-1].loss)


def test_predictions_do_not_depend_on_the_batch_size():
    model, rows = Small(), taste(100)
    np.testing.assert_allclose(predict(model, rows, 7), predict(model, rows, 1000), atol=1e-6)


def test_bfloat16_is_close_to_float32():
    losses = []
    for choice in ("off", "on"):
        options = FitOptions(epochs=2, batch_size=128, bfloat16=choice)
        losses.append(fit(Small(), taste(2000), BinaryTasks(), options=options).history[-1].loss)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_any_module_and_objective_can_be_fitted():
    class Line:
        by_group = False

        def loss(self, model, batch):
            x, y = batch
            return (model(x) - y).square().mean()

        def evaluate(self, model, valid, device):
            return {"slope": -abs(model.weight.item() - 3.0)}

    class Points:
        x = torch.linspace(-1, 1, 64).unsqueeze(1)

        def __len__(self):
            return 64

        def take(self, index, device="cpu"):
            return self.x[index], 3.0 * self.x[index]

    model = nn.Linear(1, 1)
    options = FitOptions(epochs=60, batch_size=16, learning_rate=0.1, patience=60, bfloat16="off")
    fit(model, Points(), Line(), valid=True, options=options)
    assert model.weight.item() == pytest.approx(3.0, abs=0.05)


def test_every_epoch_holds_every_row_once_in_a_new_order():
    draw = torch.Generator().manual_seed(1)
    orders = [Order.shuffled(100, 32, draw) for _ in range(2)]
    for order in orders:
        assert sorted(order.rows.tolist()) == list(range(100))
        assert order.bounds == [0, 32, 64, 96, 100]
    assert not torch.equal(orders[0].rows, orders[1].rows)


def test_no_group_is_split_between_batches():
    groups = np.random.default_rng(0).integers(0, 37, 500)
    order = Order.shuffled_groups(groups, 64, torch.Generator().manual_seed(1))
    assert sorted(order.rows.tolist()) == list(range(500))
    parts = [
        set(groups[order.rows[a:b].numpy()])
        for a, b in zip(order.bounds, order.bounds[1:], strict=False)
    ]
    assert sum(map(len, parts)) == len(set(groups))
    assert len(parts) >= 5


def test_batches_are_the_rows_in_order():
    rows = taste(70_000)
    order = Order.shuffled(len(rows), 2048, torch.Generator().manual_seed(0))
    got = torch.cat([b.ids for b in batches(rows, order)])
    assert torch.equal(got, rows.take(order.rows).ids)
