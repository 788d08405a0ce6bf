"""The fused embedding and its row gradients against naive loops."""

import numpy as np
import pytest
import torch

from tamis.features import IdColumn, Layout, TableRange
from tamis.nn import FieldPooling, FusedEmbedding, fused_table
from tamis.schema import Side
from tamis.train import LazyAdam, RowAdagrad

LAYOUT = Layout(
    tables=(TableRange("user", 0, 5), TableRange("genre", 5, 6), TableRange("tag", 11, 4)),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("genre", Side.ITEM, "genre", 1, 3, "mean"),
        IdColumn("tag", Side.ITEM, "tag", 4, 2, "sum"),
    ),
    dense=(),
)
IDS = torch.tensor(
    [[2, 6, 7, 5, 12, 12], [0, 5, 5, 5, 11, 11], [3, 10, 5, 7, 11, 13], [3, 7, 7, 7, 13, 14]],
    dtype=torch.int32,
)


def naive_fields(weight: np.ndarray, ids: np.ndarray, layout: Layout) -> np.ndarray:
    out = np.zeros((len(ids), len(layout.ids), weight.shape[1]), np.float64)
    for b, row in enumerate(ids):
        for f, column in enumerate(layout.ids):
            pad = layout.table[column.table].start
            mine = [weight[i] for i in row[column.first : column.first + column.width] if i != pad]
            if mine:
                pool = {"mean": np.mean, "sum": np.sum, "max": np.max}[column.pooling]
                out[b, f] = pool(mine, axis=0)
    return out


def with_max(layout: Layout) -> Layout:
    genre = IdColumn("genre", Side.ITEM, "genre", 1, 3, "max")
    return Layout(layout.tables, (layout.ids[0], genre, layout.ids[2]), ())


@pytest.mark.parametrize("layout", [LAYOUT, with_max(LAYOUT)], ids=["pooled", "max"])
def test_fields_equal_naive_loops(layout):
    table = fused_table(layout, 17, init_std=1.0, generator=torch.Generator().manual_seed(1))
    got = FieldPooling(layout)(table, IDS).detach().numpy()
    want = naive_fields(table.weight.detach().numpy(), IDS.numpy(), layout)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_selected_fields_come_in_the_order_given():
    table = fused_table(LAYOUT, 4, init_std=1.0)
    every = FieldPooling(LAYOUT)(table, IDS)
    some = FieldPooling(LAYOUT, ["tag", "user"])(table, IDS)
    torch.testing.assert_close(some, every[:, [2, 0]])


def test_pad_rows_are_zero_and_do_not_learn():
    table = fused_table(LAYOUT, 4, init_std=1.0, zero_columns=1)
    assert not table.weight[[0, 5, 11]].any()
    assert not table.weight[:, 3].any()
    assert table.learns.tolist() == [i not in (0, 5, 11) for i in range(15)]


def dense_gradient(layout: Layout, table: FusedEmbedding, ids, seed: torch.Tensor) -> torch.Tensor:
    """d(sum(fields · seed))/d(weight) by plain autograd."""
    weight = table.weight.detach().clone().requires_grad_()
    out = []
    for column in layout.ids:
        span = ids[:, column.first : column.first + column.width].long()
        present = (span != layout.table[column.table].start).unsqueeze(-1)
        v = weight[span]
        if column.pooling == "max":
            pooled = v.masked_fill(~present, -torch.inf).amax(1).masked_fill(~present.any(1), 0.0)
        else:
            count = present.sum(1).clamp(min=1) if column.pooling == "mean" else 1
            pooled = (v * present).sum(1) / count
        out.append(pooled)
    (torch.stack(out, 1) * seed).sum().backward()
    return weight.grad * table.learns.unsqueeze(1)


@pytest.mark.parametrize("layout", [LAYOUT, with_max(LAYOUT)], ids=["pooled", "max"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", [RowAdagrad, LazyAdam])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_row_optimisers_equal_a_dense_naive_version(layout, compiled, kind, l2):
    table = fused_table(layout, 17, init_std=1.0, generator=torch.Generator().manual_seed(2))
    pooling = FieldPooling(layout)
    optimiser = kind([table], 0.05, l2, compiled=compiled)
    weight = table.weight.detach().double().clone()
    state = {k: v.double().clone() for k, v in optimiser.state[0].items()}
    draw = torch.Generator().manual_seed(3)
    for step in range(1, 4):
        ids = IDS[torch.randperm(len(IDS), generator=draw)[:3]]
        seed = torch.randn(3, 3, 17, generator=draw)
        grad = dense_gradient(layout, table, ids, seed).double()
        before = table.weight.detach().clone()
        (pooling(table, ids) * seed).sum().backward()
        assert table.weight.grad is None
        optimiser.step()
        touched = torch.zeros(15, dtype=torch.bool)
        touched[ids.long().unique()] = True
        touched &= table.learns
        assert torch.equal(table.weight[~touched], before[~touched])
        grad = (grad + l2 * weight) * touched.unsqueeze(1)
        if kind is RowAdagrad:
            state["squares"] += grad.square().mean(1)
            weight -= 0.05 * grad / (state["squares"].sqrt().unsqueeze(1) + 1e-8)
        else:
            t = touched.unsqueeze(1)
            state["first"] = torch.where(t, 0.9 * state["first"] + 0.1 * grad, state["first"])
            state["second"] = torch.where(
                t, 0.999 * state["second"] + 0.001 * grad**2, state["second"]
            )
            m, v = state["first"] / (1 - 0.9**step), state["second"] / (1 - 0.999**step)
            weight = torch.where(t, weight - 0.05 * m / (v.sqrt() + 1e-8), weight)
        torch.testing.assert_close(table.weight.detach().double(), weight, rtol=2e-4, atol=2e-5)


def test_gather_matches_indexing_and_its_gradient():
    table = FusedEmbedding(6, 3, [0], init_std=1.0)
    ids = torch.tensor([[1, 1], [2, 0]], dtype=torch.int32)
    out = table(ids)
    assert torch.equal(out, table.weight[ids.long()])
    optimiser = RowAdagrad([table], 1.0)
    before = table.weight.detach().clone()
    out.sum().backward()
    optimiser.step()
    moved = (table.weight - before).detach()
    # the gradient is constant along a row, so the first Adagrad step is −rate everywhere
    torch.testing.assert_close(moved[1:3], torch.full((2, 3), -1.0), rtol=1e-3, atol=1e-3)
    assert not moved[[0, 3, 4, 5]].any()


def test_without_a_backward_pass_there_are_no_row_gradients():
    table = FusedEmbedding(6, 3)
    table(torch.tensor([[1]], dtype=torch.int32))
    assert table.take_row_gradients() == []


@pytest.mark.parametrize("n", [0, 1])
def test_small_batches(n):
    table = fused_table(LAYOUT, 4)
    optimiser = RowAdagrad([table], 0.1)
    FieldPooling(LAYOUT)(table, IDS[:n]).sum().backward()
    optimiser.step()
    assert torch.isfinite(table.weight).all()
