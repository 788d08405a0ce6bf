"""Adam on all rows of a fused table equals torch's Adam on a dense matrix, except padding rows."""

import pytest
import torch

from tamis.nn import FusedEmbedding
from tamis.train import WholeAdam


@pytest.mark.parametrize("compiled", [True, False])
def test_it_equals_torchs_adam(compiled):
    g = torch.Generator().manual_seed(0)
    table = FusedEmbedding(9, 4, [0, 5], 0.3, generator=g)
    dense = table.weight.detach().clone().requires_grad_()
    ours = WholeAdam([table], 0.05, compiled=compiled)
    torchs = torch.optim.Adam([dense], 0.05)
    aim = torch.randn(9, 4, generator=g)
    for step in range(12):
        ids = torch.randint(0, 8 if step < 6 else 3, (5, 2), generator=g, dtype=torch.int32)
        for weight in (table(ids), dense[ids.long()]):
            ((weight - aim[ids.long()]) ** 2).sum().backward()
        dense.grad[[0, 5]] = 0
        ours.step()
        torchs.step()
        torchs.zero_grad()
    torch.testing.assert_close(table.weight, dense, rtol=1e-4, atol=1e-5)
    assert not table.weight[[0, 5]].any()
