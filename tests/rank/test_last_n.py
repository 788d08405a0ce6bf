"""The ranker `last_n` by hand, and the default depth of the rankers with hidden layers."""

import numpy as np
import pytest
import torch

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import LastN
from tamis.rank._network import BackboneConfig
from tamis.rank.ple import PLEConfig
from tamis.schema import Side
from tamis.service import registry

LAYOUT = Layout(
    tables=(TableRange("item", 0, 9),),
    ids=(
        IdColumn("clicked", Side.USER, "item", 0, 3, "mean", True),
        IdColumn("item", Side.ITEM, "item", 3),
    ),
    dense=(),
)
DEEP = {
    name: kind.Config
    for name, kind in registry.available("rank").items()
    if issubclass(kind.Config, BackboneConfig | PLEConfig)
}


@torch.no_grad()
def test_last_n_is_the_mean_of_the_items_beside_the_candidate() -> None:
    model = LastN(embedding_dim=2, hidden_units=(3,))
    net = model.build(LAYOUT, 1, torch.Generator().manual_seed(0)).eval()
    table = net.inputs.table.weight
    table[1:].normal_(generator=torch.Generator().manual_seed(1))
    ids = np.array([[2, 5, 0, 4], [3, 3, 8, 7], [0, 0, 0, 6]], np.int32)
    rows = Rows(LAYOUT, [Block(ids, np.empty((3, 0), np.float32))], 3)
    found = net(rows.take(torch.arange(3)))
    v = table[:, :2]
    past = torch.stack([(v[2] + v[5]) / 2, (2 * v[3] + v[8]) / 3, torch.zeros(2)])
    x = torch.cat([past, v[torch.tensor([4, 7, 6])]], 1)
    (layer,), heads = net.core.tower.linears, net.core.heads
    hidden = (x @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(found, hidden @ heads.weight.T + heads.bias)


@pytest.mark.parametrize("name", DEEP)
def test_defaults_are_three_to_five_layers_of_128_to_512_units(name: str) -> None:
    config = DEEP[name]()
    layers = config.hidden_units * getattr(config, "levels", 1)
    assert 3 <= len(layers) <= 5
    assert all(128 <= units <= 512 for units in layers)


def test_every_deep_ranker_is_looked_at() -> None:
    assert {"dnn", "deepfm", "din", "bst", "ppnet", "mmoe", "ple", "shared_bottom"} <= set(DEEP)
