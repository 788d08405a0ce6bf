"""L2 on all rows of a fused table equals weight decay of a dense matrix."""

import pytest
import torch

from tamis.nn import FusedEmbedding
from tamis.train import LazyAdam, RowAdagrad, WholeAdam

PADS = [0, 5]


def table_and_aim():
    g = torch.Generator().manual_seed(0)
    return FusedEmbedding(9, 4, PADS, 0.3, generator=g), torch.randn(9, 4, generator=g), g


@pytest.mark.parametrize("kind", [LazyAdam, WholeAdam])
@pytest.mark.parametrize("compiled", [True, False])
def test_adam_with_l2_on_all_rows_equals_torchs(kind, compiled):
    table, aim, g = table_and_aim()
    dense = table.weight.detach().clone().requires_grad_()
    ours = kind([table], 0.05, 0.1, all_rows=True, compiled=compiled)
    torchs = torch.optim.Adam([dense], 0.05, weight_decay=0.1)
    for step in range(12):
        ids = torch.randint(0, 8 if step < 6 else 3, (5, 2), generator=g, dtype=torch.int32)
        for weight in (table(ids), dense[ids.long()]):
            ((weight - aim[ids.long()]) ** 2).sum().backward()
        dense.grad[PADS] = 0
        ours.step()
        torchs.step()
        torchs.zero_grad()
    torch.testing.assert_close(table.weight, dense, rtol=1e-4, atol=1e-5)
    assert not table.weight[PADS].any()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("all_rows", [True, False])
def test_row_adagrad_equals_a_naive_loop(compiled, all_rows):
    table, aim, g = table_and_aim()
    dense = table.weight.detach().clone().requires_grad_()
    squares = torch.full((9,), 1e-8)
    ours = RowAdagrad([table], 0.05, 0.1, all_rows=all_rows, compiled=compiled)
    for _ in range(6):
        ids = torch.randint(0, 8, (3, 2), generator=g, dtype=torch.int32)
        for weight in (table(ids), dense[ids.long()]):
            ((weight - aim[ids.long()]) ** 2).sum().backward()
        ours.step()
        with torch.no_grad():
            for row in range(9) if all_rows else ids.unique().tolist():
                if row in PADS:
                    continue
                grad = dense.grad[row] + 0.1 * dense[row]
                squares[row] += grad.square().mean()
                dense[row] -= 0.05 * grad / (squares[row].sqrt() + 1e-8)
        dense.grad = None
    torch.testing.assert_close(table.weight, dense, rtol=1e-4, atol=1e-5)
    assert not table.weight[PADS].any()


def test_without_l2_only_touched_rows_change():
    table, aim, _ = table_and_aim()
    before = table.weight.detach().clone()
    ours = LazyAdam([table], 0.05, 0.0, all_rows=True)
    ids = torch.tensor([[1], [3]], dtype=torch.int32)
    ((table(ids) - aim[ids.long()]) ** 2).sum().backward()
    ours.step()
    assert (table.weight != before).any(1).nonzero().flatten().tolist() == [1, 3]
