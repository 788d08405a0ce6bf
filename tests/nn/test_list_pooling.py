"""Poolings of lists with weights, by hand and against naive loops."""

import numpy as np
import pytest
import torch

from tamis.features import IdColumn, Layout, TableRange
from tamis.nn import LEARNT_POOLINGS, FieldPooling, GRUEncoder, fused_table, list_pooling
from tamis.schema import Side

TABLES = (TableRange("user", 0, 5), TableRange("item", 5, 12))
KINDS = sorted(LEARNT_POOLINGS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def layout(kind):
    """A list before and after a single id, and one that is averaged."""
    return Layout(
        TABLES,
        (
            IdColumn("past", Side.USER, "item", 0, 4, kind, ragged=True),
            IdColumn("user", Side.USER, "user", 4),
            IdColumn("tags", Side.ITEM, "item", 5, 3, "mean", ragged=True),
            IdColumn("liked", Side.USER, "item", 8, 2, kind, ragged=True),
        ),
        (),
    )


IDS = torch.tensor(
    [
        [7, 8, 9, 5, 2, 6, 5, 5, 7, 10],
        [5, 5, 5, 5, 3, 7, 7, 8, 5, 5],
        [16, 5, 5, 5, 4, 5, 5, 5, 12, 5],
        [7, 8, 9, 11, 1, 6, 9, 5, 5, 9],
    ],
    dtype=torch.int32,
)


def built(kind, tail=0):
    """Pooling and table with weights large enough that every part matters."""
    table = fused_table(layout(kind), 4 + tail, init_std=1.0, generator=seeded(1))
    pooling = FieldPooling(layout(kind), dim=4, generator=seeded(2)).eval()
    with torch.no_grad():
        for weight in pooling.parameters():
            weight.normal_(0, 0.5, generator=seeded(3))
    table.zero_columns = tail
    return pooling, table


def test_attention_by_hand():
    module = list_pooling("attention", 2, 3, seeded())
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]])
    real = torch.tensor([[True, True, False]])
    torch.testing.assert_close(module(x, real), torch.tensor([[0.5, 1.0]]))  # a mean at first
    with torch.no_grad():
        module.hidden.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        module.hidden.bias.zero_()
        module.score.weight.copy_(torch.tensor([[2.0, -1.0]]))
    scores = np.array([2 * np.tanh(1), -np.tanh(2)])
    w = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(module(x, real).detach(), [[w[0], 2 * w[1]]], rtol=1e-5)


def test_a_gru_reads_a_history_from_the_oldest_to_the_newest():
    module = list_pooling("gru", 4, 5, seeded()).eval()
    states = module.encoder.states
    assert isinstance(states, GRUEncoder)
    x = torch.randn(3, 5, 4, generator=seeded(1))
    for real in ([1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]):
        mask = torch.tensor([real, real, real], dtype=torch.bool)
        kept = x[:, mask[0]]
        alone = states(kept, torch.full((3,), kept.shape[1]))[:, -1]
        torch.testing.assert_close(module(x, mask), alone)


@pytest.mark.parametrize("tail", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_fields_keep_their_order_and_empty_lists_are_zero(kind, tail):
    pooling, table = built(kind, tail)
    weight = table.weight.detach()
    with torch.no_grad():
        vectors, rest = pooling.split(table, IDS)
        assert pooling.fields == ["past", "user", "tags", "liked"]
        assert vectors.shape == (4, 4, 4)
        assert rest.shape == (4, 4, tail)
        torch.testing.assert_close(vectors[:, 1], weight[IDS[:, 4], :4])
        torch.testing.assert_close(vectors[0, 2], weight[6, :4])
        torch.testing.assert_close(rest[0, 3], weight[[7, 10], 4:].mean(0))
        assert not vectors[1, 0].any()
        assert not rest[1, 0].any()
        assert torch.isfinite(vectors).all()
        for row in range(4):  # neither padding nor the other rows change a row
            alone, _ = pooling.split(table, IDS[row : row + 1])
            torch.testing.assert_close(alone[0], vectors[row], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vectors_of_a_list_and_its_weights_learn(kind):
    pooling, table = built(kind)
    pooling(table, IDS)[:, [0, 3]].square().sum().backward()
    rows = {
        int(i)
        for g in table.take_row_gradients()
        for i in g.ids[g.grad[:, g.field].any(2)].flatten()
    }
    assert {7, 8, 9} <= rows
    assert all(torch.isfinite(p.grad).all() for p in pooling.parameters())
    assert all(p.grad.any() for name, p in pooling.named_parameters() if "bias" not in name)


def test_a_layout_of_lists_alone():
    only = Layout(TABLES, layout("attention").ids[:1], ())
    pooling = FieldPooling(only, dim=4, generator=seeded())
    table = fused_table(only, 4, init_std=1.0, generator=seeded(1))
    assert pooling(table, IDS[:, :4]).shape == (4, 1, 4)


def test_weights_need_the_width_of_the_vectors():
    with pytest.raises(ValueError, match=r"'past' has pooling = 'gru'.*dim=…"):
        FieldPooling(layout("gru"))
