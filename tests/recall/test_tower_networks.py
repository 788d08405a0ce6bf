"""Each network of a tower against its formula, and defaults of the two-tower channel."""

import numpy as np
import pytest
import torch
from torch import nn

from tamis.features import IdColumn, Layout, TableRange
from tamis.nn import SEQUENCE_ENCODERS, FusedEmbedding, fused_table
from tamis.recall import TwoTower
from tamis.recall.two_tower._config import TwoTowerConfig, resolved
from tamis.recall.two_tower._tower import SequencePart, Tower, TowerShape
from tamis.schema import Side

DIM, OUT, LENGTH = 4, 3, 4
LAYOUT = Layout(
    tables=(TableRange("city", 0, 5), TableRange("job", 5, 5), TableRange("liked", 10, 8)),
    ids=(IdColumn("city", Side.USER, "city", 0), IdColumn("job", Side.USER, "job", 1)),
    dense=(),
)
PAD = 10
IDS = torch.tensor([[2, 7], [3, 8], [4, 5], [0, 5]], dtype=torch.int32)
DENSE = torch.tensor([[0.5, -1.0], [2.0, 0.25], [0.0, 0.0], [0.0, 0.0]])
PAST = torch.tensor(
    [[12, 15, 13, PAD], [14, PAD, PAD, PAD], [17, 16, 12, 13], [PAD] * LENGTH], dtype=torch.int32
)
"""Most recent first; the last row knows nothing."""


def made(network: str, hidden: tuple[int, ...] = (5,)) -> tuple[Tower, FusedEmbedding]:
    draw = torch.Generator().manual_seed(3)
    shape = TowerShape(DIM, OUT if network != "sum" else DIM, hidden, 0.0, True, LENGTH, 2, 2)
    table = fused_table(LAYOUT, DIM, init_std=1.0, generator=draw)
    tower = Tower(network, LAYOUT, ["city", "job"], SequencePart(PAD), 2, shape, draw)
    with torch.no_grad():
        for weight in tower.parameters():
            if weight.dim() == 1:
                weight.normal_(generator=draw)  # biases and scales other than 0 and 1
    return tower.eval(), table


def vectors_of(table: FusedEmbedding) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 2, dim) of the fields and (B, dim) mean of the history."""
    weight = table.weight.detach()
    means = [
        torch.stack([weight[i] for i in row if i != PAD]).mean(0)
        if (row != PAD).any()
        else torch.zeros(DIM)
        for row in PAST
    ]
    return weight[IDS.long()], torch.stack(means)


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of length 1; the last row, which knows nothing, is zero."""
    return torch.cat([x[:-1] / x[:-1].norm(dim=1, keepdim=True), torch.zeros(1, x.shape[1])])


def layers(mlp: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Linear, ReLU, linear; with batch norm in between by its running mean and variance."""
    for part in mlp.layers:
        if isinstance(part, nn.Linear):
            x = x @ part.weight.T + part.bias
        elif isinstance(part, nn.ReLU):
            x = x.clamp(min=0)
        else:
            scaled = (x - part.running_mean) / torch.sqrt(part.running_var + part.eps)
            x = scaled * part.weight + part.bias
    return x


@torch.no_grad()
def test_sum_adds_the_fields_the_mean_of_the_history_and_the_projected_numbers() -> None:
    tower, table = made("sum", ())
    fields, past = vectors_of(table)
    numbers = DENSE @ tower.dense.weight.T + tower.dense.bias
    numbers[2:] = 0  # rows without a number
    want = fields.sum(1) + past + numbers
    torch.testing.assert_close(tower(table, IDS, DENSE, PAST), unit(want), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "mlp_bn", "dcn"])
@torch.no_grad()
def test_networks_over_concatenated_inputs(network: str) -> None:
    tower, table = made(network)
    fields, past = vectors_of(table)
    numbers = (DENSE @ tower.dense.weight.T + tower.dense.bias).clamp(min=0)
    x = torch.cat([fields.flatten(1), past, numbers], 1)
    if network == "mlp_bn":
        norm = tower.mlp.layers[1]
        norm.running_mean.fill_(0.5)
        norm.running_var.fill_(4.0)
    want = layers(tower.mlp, x)
    if network == "dcn":
        crossed = x
        for w, b in zip(tower.cross.weight, tower.cross.bias, strict=True):
            crossed = x * (crossed @ w).unsqueeze(1) + b + crossed
        want = torch.cat([crossed, want], 1) @ tower.out.weight.T + tower.out.bias
    torch.testing.assert_close(tower(table, IDS, DENSE, PAST), unit(want), rtol=1e-4, atol=1e-5)


def encoded(tower: Tower, table: FusedEmbedding, network: str, row: torch.Tensor) -> torch.Tensor:
    """(dim,) of one history without padding."""
    x = table.weight.detach()[row.long()]  # (L, dim), most recent first
    encoder = tower.encoder
    assert encoder is not None
    if network in ("gru", "lstm"):
        states = encoder.states
        core = states.cell if network == "lstm" else states
        oldest_first = x.flip(0)[None]
        if network == "lstm":
            return core(oldest_first)[0][0, -1]
        return core(oldest_first, torch.tensor([len(row)]))[0, -1]
    if network == "cnn":
        for layer in encoder.layers:
            wide = torch.cat([torch.zeros(1, DIM), x, torch.zeros(1, DIM)])
            x = x + torch.stack(
                [
                    (layer.weight @ wide[k : k + 3].flatten() + layer.bias).clamp(min=0)
                    for k in range(len(row))
                ]
            )
        return x.amax(0)
    return encoder.encoder(x[None], torch.tensor([len(row)]))[0].mean(0)


@pytest.mark.parametrize("network", SEQUENCE_ENCODERS)
@torch.no_grad()
def test_sequence_encoders_beside_fields_and_numbers(network: str) -> None:
    """Layer norm of [encoder of the history, MLP of the fields, ReLU of the numbers]."""
    tower, table = made(network)
    fields, _ = vectors_of(table)
    numbers = (DENSE @ tower.dense.weight.T + tower.dense.bias).clamp(min=0)
    past = torch.stack(
        [
            encoded(tower, table, network, row[row != PAD])
            if (row != PAD).any()
            else torch.zeros(DIM)
            for row in PAST
        ]
    )
    parts = torch.cat([past, layers(tower.mlp, fields.flatten(1)), numbers], 1)
    deviation = torch.sqrt(parts.var(1, correction=0, keepdim=True) + 1e-5)
    normal = (parts - parts.mean(1, keepdim=True)) / deviation
    normal = normal * tower.norm.weight + tower.norm.bias
    want = normal @ tower.out.weight.T + tower.out.bias
    torch.testing.assert_close(tower(table, IDS, DENSE, PAST), unit(want), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["pointwise", "hinge", "logistic"])
def test_three_negatives_per_positive_unless_given(loss: str) -> None:
    assert resolved(TwoTowerConfig(loss=loss), True, 1000).negatives == 3
    assert resolved(TwoTowerConfig(loss=loss, negatives=2), True, 1000).negatives == 2


def test_towers_are_shallow_and_the_margin_is_one() -> None:
    assert TwoTower().config.margin == 1
    for network in ("sum", "mlp", "mlp_bn", "dcn", *SEQUENCE_ENCODERS):
        tower, _ = made(network, ())
        deep = [m for m in (tower.mlp.layers if tower.mlp else ()) if isinstance(m, nn.Linear)]
        assert len(deep) <= 3, network
    assert np.all(np.array([TwoTowerConfig().blocks, len(TwoTowerConfig().hidden_units)]) <= 3)
