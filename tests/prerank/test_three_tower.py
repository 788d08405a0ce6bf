"""The three towers: split inference equals the module; item vectors are saved with the version."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Table
from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.prerank import InnerProduct, ThreeTower
from tamis.prerank._tower_networks import TowerSize, TowerValues, tower_network
from tamis.schema import ConfigError, Side
from tamis.train import predict

LAYOUT = Layout(
    tables=(TableRange("user", 0, 7), TableRange("item", 7, 12), TableRange("tag", 19, 6)),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("hour", Side.CONTEXT, "user", 1),
        IdColumn("liked", Side.USER, "item", 2, 3, "mean", True),
        IdColumn("item", Side.ITEM, "item", 5),
        IdColumn("tags", Side.ITEM, "tag", 6, 2, "max", True),
    ),
    dense=(
        DenseColumn("age", Side.USER, 0),
        DenseColumn("price", Side.ITEM, 1, 2),
        DenseColumn("item clicks", Side.ITEM, 3, 2, moving=True),
        DenseColumn("found by", Side.CROSS, 5, 3),
    ),
)
ITEMS = 10


def table(seed=1):
    """The version's item table: one row per item, and one for unknown items."""
    draw = np.random.default_rng(seed)
    ids = np.stack(
        [np.arange(ITEMS + 1) + 8, *draw.integers(19, 25, (2, ITEMS + 1))], axis=1
    ).astype(np.int32)
    return Block(ids, draw.normal(size=(ITEMS + 1, 2)).astype(np.float32))


TABLE = table()


def rows(n, queries=1, seed=4, items=TABLE, tasks=2, shared=False):
    """Candidates in blocks as a feature space makes them: user, items, statistics, pair."""
    draw = np.random.default_rng(seed)
    whose = np.sort(draw.integers(0, queries, n)).astype(np.int32)
    users = np.concatenate(
        [draw.integers(1, 7, (queries, 2)), draw.integers(7, 19, (queries, 3))], axis=1
    ).astype(np.int32)
    at = draw.integers(0, ITEMS + 1, n).astype(np.int32)
    numbers = draw.normal(size=(ITEMS + 1 if shared else n, 2)).astype(np.float32)
    blocks = [
        Block(users, draw.normal(size=(queries, 1)).astype(np.float32), whose),
        Block(items.ids, items.dense, at),
        Block(np.empty((len(numbers), 0), np.int32), numbers, at if shared else None),
        Block(np.empty((n, 0), np.int32), draw.normal(size=(n, 3)).astype(np.float32)),
    ]
    labels = (draw.random((n, tasks)) < 0.4).astype(np.float32)
    return Rows(LAYOUT, blocks, n, labels, groups=whose.astype(np.int64))


@pytest.fixture(scope="module")
def model():
    made = ThreeTower(epochs=3, batch_size=64, init_std=0.3)
    return made.fit(rows(400, 40), tasks=["click", "like"])


def forward(model, given):
    return predict(model.model, given)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("n", "queries"), [(1, 1), (7, 1), (300, 1), (300, 5), (9000, 3), (40, 40)]
)
def test_split_inference_equals_the_forward(model, n, queries, shared):
    test = rows(n, queries, seed=n, shared=shared)
    got = model.logits(test)
    np.testing.assert_allclose(got, forward(model, test), atol=1e-5)
    assert np.ptp(got) > 0 or n == 1


def test_saved_item_vectors_are_not_computed_again(model, monkeypatch, tmp_path):
    model.save(tmp_path)

    def refuse(block):
        raise AssertionError("the item tower ran")

    monkeypatch.setattr(model, "_item_tower", refuse)
    assert model.score_rows(rows(50))["click"].shape == (50,)
    copied = Block(
        TABLE.ids.copy(), TABLE.dense.copy()
    )  # as if another process opened the same version
    assert model.score_rows(rows(50, items=copied))["click"].shape == (50,)


def test_items_of_another_table_get_their_own_vectors(model):
    test = rows(60, items=table(2))
    np.testing.assert_allclose(model.logits(test), forward(model, test), atol=1e-5)


def test_rows_in_a_single_block_score_the_same(model):
    test = rows(60, 3)
    batch = test.take(torch.arange(60))
    flat = Rows(LAYOUT, [Block(batch.ids.numpy(), batch.dense.numpy())], 60)
    np.testing.assert_allclose(model.logits(flat), model.logits(test), atol=1e-5)


def test_a_saved_model_scores_the_same_with_the_saved_item_vectors(model, tmp_path):
    model.save(tmp_path)
    again = ThreeTower.load(tmp_path)
    test = rows(80)
    np.testing.assert_array_equal(again.logits(test), model.logits(test))
    again._item_tower = None  # never called
    assert again.logits(test).shape == (80, 2)
    assert np.load(tmp_path / "item_vectors.npy").shape == (ITEMS + 1, 64)


def grown_table():
    """The table after two items came, whose ids are unseen, and item 3 got other tags."""
    ids = np.concatenate([TABLE.ids[:-1], [[8, 20, 21], [8, 19, 24]], TABLE.ids[-1:]])
    dense = np.concatenate([TABLE.dense[:-1], [[0.5, -1], [2, 1]], TABLE.dense[-1:]])
    ids[3, 1:] = 22, 23
    return Block(ids.astype(np.int32), dense.astype(np.float32))


def test_items_that_come_or_change_get_vectors_once(model, monkeypatch, tmp_path):
    model.save(tmp_path)
    serving = ThreeTower.load(tmp_path)
    encoded, tower = [], serving._item_tower

    def watched(block):
        encoded.append(len(block.ids))
        return tower(block)

    monkeypatch.setattr(serving, "_item_tower", watched)
    items = Table("items", pl.Series([str(k) for k in range(ITEMS + 2)]), pl.DataFrame())
    serving.update_items(items, np.array([3, ITEMS, ITEMS + 1], np.int32))
    test = rows(60, items=grown_table())
    at = np.arange(60, dtype=np.int32) % (ITEMS + 3)
    test.blocks[1] = Block(test.blocks[1].ids, test.blocks[1].dense, at)
    for _ in range(2):
        np.testing.assert_allclose(serving.logits(test), forward(model, test), atol=1e-5)
    assert encoded == [1, 1, 1]
    old = np.flatnonzero((at < ITEMS) & (at != 3))
    before = rows(60)
    before.blocks[1] = Block(TABLE.ids, TABLE.dense, np.minimum(at, ITEMS))
    np.testing.assert_array_equal(serving.logits(test)[old], model.logits(before)[old])
    serving.update_items(items, np.array([ITEMS], np.int32))
    serving.logits(test)
    assert encoded == [1, 1, 1, 1]


def test_a_second_fit_drops_the_vectors_of_the_first(model):
    other = ThreeTower(epochs=1, batch_size=64, init_std=0.3).fit(rows(200, 9), tasks=["a", "b"])
    other.logits(rows(5))
    other.fit(rows(300, 9, seed=8), tasks=["a", "b"])
    test = rows(90)
    np.testing.assert_allclose(other.logits(test), forward(other, test), atol=1e-5)


def test_the_cross_tower_reads_the_statistics_of_items(model):
    net = model.model
    assert net.item_inputs.numbers == [1, 2]
    assert net.cross_inputs.numbers == [3, 4, 5, 6, 7]
    assert net.user_inputs.numbers == [0]
    assert [m.out_features for m in net.user.modules() if hasattr(m, "out_features")][1:] == [
        256,
        128,
        64,
    ]


def test_top_by_hand():
    """Layers of width 1: top([u, i, c, u · i]) with known weights."""
    made = ThreeTower(
        epochs=1, user_units=(1,), item_units=(1,), cross_units=(1,), top_units=(1,)
    ).fit(rows(50, 5), tasks=["a", "b"])
    net = made.model
    with torch.no_grad():
        for tower, value in ((net.user, 2.0), (net.item, 3.0), (net.cross, 0.5)):
            for p in tower.parameters():
                p.fill_(0.0 if p.dim() > 1 else value)
        hidden, head = (m for m in net.top.modules() if isinstance(m, torch.nn.Linear))
        hidden.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        hidden.bias.fill_(-1.0)
        head.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        head.bias.copy_(torch.tensor([0.25, 0.5]))
    made._reset()
    hidden_value = 2.0 + 30.0 + 50.0 + 6000.0 - 1.0
    want = [hidden_value + 0.25, -2 * hidden_value + 0.5]
    np.testing.assert_allclose(made.logits(rows(3)), [want] * 3, rtol=1e-6)


NETWORKS = ("mlp", "mlp_bn", "dcn", "cnn", "gru", "lstm", "transformer")
SMALL = {"epochs": 2, "batch_size": 64, "init_std": 0.3, "embedding_dim": 4}
SMALL |= {"user_units": (6, 5), "item_units": (7, 5)}


@pytest.mark.parametrize("kind", [ThreeTower, InnerProduct])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_scores_as_its_module_and_is_saved(kind, network, tmp_path):
    options = {"user_network": network, "item_network": network}
    if kind is ThreeTower and network in ("mlp_bn", "dcn"):
        options["cross_network"] = network
    made = kind(**SMALL, **options).fit(rows(200, 20), tasks=["click", "like"])
    made.save(tmp_path)
    opened = kind.load(tmp_path)
    for n, queries, shared in ((1, 1, False), (200, 1, True), (300, 5, False), (0, 1, False)):
        given = rows(n, queries, shared=shared)
        scored = made.logits(given)
        np.testing.assert_allclose(scored, forward(made, given), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(opened.logits(given), scored, rtol=1e-5, atol=1e-6)
    assert opened._item_vectors is not None


@pytest.mark.parametrize("network", NETWORKS[3:])
def test_a_tower_without_histories_is_finite(network):
    made = ThreeTower(**SMALL, user_network=network).fit(rows(200, 20), tasks=["click", "like"])
    given = rows(30)
    given.blocks[0].ids[:, 2:] = 7  # padding
    assert np.isfinite(made.logits(given)).all()


def relu(x):
    return np.maximum(x, 0)


def layer(module, x):
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def test_a_sequence_tower_by_hand():
    """Norm of [GRU(liked), MLP(user, hour), relu(age)], then a linear layer."""
    size = TowerSize(fields=2, dim=3, numbers=1, lists=(4,))
    draw = torch.Generator().manual_seed(1)
    tower = tower_network("gru", "user", size, [5], 2, 0.0, draw).eval()
    liked, real = torch.randn(2, 4, 3, generator=draw), torch.tensor([[1, 1, 1, 0], [0] * 4]).bool()
    fields, age = torch.randn(2, 6, generator=draw), torch.randn(2, 1, generator=draw)
    with torch.no_grad():
        found = tower(TowerValues(fields, age, [(liked, real)])).numpy()
        states = tower.encoders[0].encoder.states(liked[:1, :3], torch.tensor([3])).numpy()
    encoded = np.stack([states[0, 2], np.zeros(3)])
    first, _, last = tower.mlp.layers
    parts = [encoded, layer(last, relu(layer(first, fields.numpy())))]
    x = np.concatenate([*parts, relu(layer(tower.numbers, age.numpy()))], 1)
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, layer(tower.out, x), rtol=1e-4, atol=1e-5)


def test_a_tower_of_crosses_by_hand():
    """[x_2, hidden] with x_1 = x (w_0 · x) + b_0 + x and so on, then a linear layer."""
    size = TowerSize(fields=1, dim=3, numbers=2)
    draw = torch.Generator().manual_seed(1)
    tower = tower_network("dcn", "item", size, [4], 2, 0.0, draw).eval()
    fields, numbers = torch.randn(3, 3, generator=draw), torch.randn(3, 2, generator=draw)
    with torch.no_grad():
        tower.cross.bias.normal_(generator=draw)
        found = tower(TowerValues(fields, numbers)).numpy()
    x = np.concatenate([fields.numpy(), numbers.numpy()], 1)
    crossed = x
    for w, b in zip(
        tower.cross.weight.detach().numpy(), tower.cross.bias.detach().numpy(), strict=True
    ):
        crossed = x * (crossed @ w)[:, None] + b + crossed
    hidden = relu(layer(tower.mlp.layers[0], x))
    want = layer(tower.out, np.concatenate([crossed, hidden], 1))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_an_encoder_without_lists_is_refused():
    layout = Layout(LAYOUT.tables, (LAYOUT.ids[0], *LAYOUT.ids[3:]), LAYOUT.dense)
    message = r'user_network = "gru" encodes lists of ids, and no feature of the user is one'
    with pytest.raises(ConfigError, match=message):
        ThreeTower(user_network="gru").build(layout, 1, torch.Generator())


def test_vectors_of_different_widths_are_refused():
    with pytest.raises(ConfigError, match="user_units end in 64 and item_units in 32"):
        ThreeTower(item_units=(128, 32))
