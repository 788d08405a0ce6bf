"""Rankers with histories or gates: DIN, BST, last-N, PPNet."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank import BST, DIN, DNN, DeepFM, LastN, PPNet
from tamis.schema import ConfigError, Side, SparseFeat, VarLenSparseFeat

LENGTH = 6
LAYOUT = Layout(
    tables=(TableRange("user", 0, 8), TableRange("item", 8, 22), TableRange("category", 30, 7)),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("clicked", Side.USER, "item", 1, LENGTH, "mean", True),
        IdColumn("clicked categories", Side.USER, "category", 1 + LENGTH, LENGTH, "mean", True),
        IdColumn("item", Side.ITEM, "item", 1 + 2 * LENGTH),
        IdColumn("category", Side.ITEM, "category", 2 + 2 * LENGTH),
    ),
    dense=(),
)
NUMBERED = Layout(
    tables=LAYOUT.tables,
    ids=LAYOUT.ids,
    dense=(DenseColumn("activity", Side.USER, 0, 2), DenseColumn("price", Side.ITEM, 2)),
)
SMALL = {"embedding_dim": 4, "hidden_units": (8,), "epochs": 1, "batch_size": 32}


def rows(n: int, seed: int = 0, longest: int = LENGTH) -> Rows:
    """Random rows; histories of 0 … `longest` items, the categories' as long."""
    draw = np.random.default_rng(seed)
    real = np.arange(LENGTH) < draw.integers(0, longest + 1, (n, 1))
    ids = np.concatenate(
        [
            draw.integers(2, 8, (n, 1)),
            np.where(real, draw.integers(10, 30, (n, LENGTH)), 8),
            np.where(real, draw.integers(32, 37, (n, LENGTH)), 30),
            draw.integers(10, 30, (n, 1)),
            draw.integers(32, 37, (n, 1)),
        ],
        1,
    ).astype(np.int32)
    labels = draw.integers(0, 2, (n, 1)).astype(np.float32)
    labels[:1] = 1
    return Rows(LAYOUT, [Block(ids, np.empty((n, 0), np.float32))], n, labels)


def numbered(n: int) -> Rows:
    """`rows` with two numbers of the user and one of the item."""
    dense = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
    return Rows(NUMBERED, [Block(rows(n).blocks[0].ids, dense)], n)


def module(model, layout: Layout = LAYOUT, seed: int = 0):
    """A new network with embeddings large enough that each input matters."""
    net = model.build(layout, 1, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        pads = net.inputs.table.weight == 0
        net.inputs.table.weight.normal_(generator=torch.Generator().manual_seed(seed))
        net.inputs.table.weight[pads] = 0
    return net


def score(net, some: Rows) -> np.ndarray:
    with torch.no_grad():
        return net(some.take(torch.arange(len(some)))).numpy()


def reversed_histories(some: Rows) -> Rows:
    """The same rows with each full history reversed."""
    ids = some.blocks[0].ids.copy()
    for first in (1, 1 + LENGTH):
        ids[:, first : first + LENGTH] = ids[:, first : first + LENGTH][:, ::-1]
    return Rows(LAYOUT, [Block(ids, some.blocks[0].dense)], len(some))


def full(n: int) -> Rows:
    """Histories without padding."""
    some = rows(n)
    some.blocks[0].ids[:, 1 : 1 + 2 * LENGTH] = np.tile(np.r_[10:16, 32:37, 32], (n, 1))
    return some


def test_every_history_is_compared_with_its_own_feature():
    net = module(DIN(**SMALL))
    assert net.inputs.shape.names == ("user", "item", "category", "clicked", "clicked categories")
    some = rows(9)
    with torch.no_grad():
        batch = some.take(torch.arange(9))
        fields = net.inputs(batch)
        done = [
            a(h.candidate, h.items, h.real)
            for a, h in zip(net.core.attention, fields.histories, strict=True)
        ]
        vectors = fields.with_histories(done).vectors
    weight = net.inputs.table.weight.detach()
    for k, (first, table, target) in enumerate([(1, 8, 13), (1 + LENGTH, 30, 14)]):
        ids = batch.ids[:, first : first + LENGTH].long()
        block = net.core.attention[k]
        with torch.no_grad():
            want = block(weight[batch.ids[:, target].long()], weight[ids], ids != table)
        torch.testing.assert_close(vectors[:, 3 + k], want)


@pytest.mark.parametrize(("ranker", "matters"), [(DIN, False), (LastN, False), (BST, True)])
def test_only_the_transformer_depends_on_the_order_of_the_history(ranker, matters):
    net = module(ranker(**SMALL))
    difference = np.abs(score(net, full(20)) - score(net, reversed_histories(full(20)))).max()
    assert (difference > 1e-3) == matters


OPTIONS = [
    (DIN, {}),
    (DIN, {"attention": "dot"}),
    (DIN, {"attention": "dot", "attention_softmax": True}),
    (DIN, {"attention_softmax": True, "attention_units": (5,)}),
    (DIN, {"attention_activation": "dice", "dropout": 0.2}),
    (BST, {}),
    (BST, {"blocks": 2, "heads": 4, "pooled": True, "dropout": 0.2}),
    (LastN, {}),
    (PPNet, {}),
    (PPNet, {"lhuc": ("user", "clicked"), "sequence": "din"}),
    (PPNet, {"lhuc_gradient": False, "reads": "all", "gate_units": 0}),
    (DIN, {"senet": "sigmoid", "lhuc": True, "gate_units": 3}),
    (BST, {"senet": "relu"}),
    (DeepFM, {"sequence": "din", "lhuc": True}),
    (DeepFM, {"sequence": "bst"}),
]


@pytest.mark.parametrize(("ranker", "options"), OPTIONS)
def test_fits_scores_and_is_saved(ranker, options, tmp_path):
    model = ranker(**SMALL, **options).fit(rows(100))
    for n in (0, 1, 30):
        some = rows(n, seed=1)
        whole = model.probabilities(some)
        assert whole.shape == (n, 1)
        assert np.isfinite(whole).all()
    model.save(tmp_path)
    np.testing.assert_array_equal(ranker.load(tmp_path).probabilities(some), whole)


@pytest.mark.parametrize(("ranker", "options"), OPTIONS)
def test_empty_histories_are_finite_and_scores_do_not_depend_on_the_batch(ranker, options):
    net = module(ranker(**SMALL, **options))
    empty, mixed = rows(5, longest=0), rows(40, seed=3)
    assert np.isfinite(score(net, empty)).all()
    alone = np.concatenate([score(net, mixed.select(np.array([k]))) for k in range(40)])
    np.testing.assert_allclose(alone, score(net, mixed), rtol=1e-4, atol=1e-5)


def test_din_learns_whether_the_candidate_is_in_the_history():
    """The label is whether the candidate is in the history, which a mean represents poorly."""
    draw = np.random.default_rng(0)

    def frame(n: int) -> pl.DataFrame:
        history = [draw.choice(30, 5, replace=False).tolist() for _ in range(n)]
        inside = draw.random(n) < 0.5
        item = [
            draw.choice(h) if known else draw.choice(np.setdiff1d(np.arange(30), h))
            for h, known in zip(history, inside, strict=True)
        ]
        return pl.DataFrame({"item_id": item, "history": history, "label": inside.astype(int)})

    features = [SparseFeat("item_id"), VarLenSparseFeat("history", shares="item_id", max_len=5)]
    train, test = frame(4000), frame(500)
    options = {"features": features, "epochs": 6, "batch_size": 64, "learning_rate": 0.01}
    options |= {"hidden_units": (16,), "embedding_dim": 8}
    auc = {ranker: ranker(**options).fit(train).evaluate(test)["auc"] for ranker in (DIN, LastN)}
    assert auc[DIN] > 0.9
    assert auc[DIN] > auc[LastN]


def test_a_history_of_a_frame_is_cut_to_its_newest_items():
    frame = pl.DataFrame({"item_id": [1, 2], "past": [[1, 2, 2], [2, 1]], "label": [1, 0]})
    past = VarLenSparseFeat("past", shares="item_id", max_len=2, history=("click",))
    features = [SparseFeat("item_id"), past]
    model = DIN(features=features, **SMALL).fit(frame)
    cut = frame.with_columns(past=pl.Series([[2, 2], [2, 1]]))
    np.testing.assert_array_equal(model.predict(frame), model.predict(cut))
    ids = model.space.rows(frame).blocks[0].ids
    assert (ids[0, 1:] == ids[1, 0]).all()  # the last two are item 2


def dense_layer(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def relu(x):
    return np.maximum(x, 0)


EVERY = ["user", "clicked", "clicked categories", "item", "category", "activity", "price"]


def gate_by_hand(gate, g, hidden):
    """2σ of one linear layer, or of two with a ReLU between them."""
    logits = dense_layer(gate[2], relu(dense_layer(gate[0], g))) if hidden else dense_layer(gate, g)
    return 2 / (1 + np.exp(-logits))


@pytest.mark.parametrize(
    ("options", "gating", "read"),
    [
        ({}, ["user", "clicked", "clicked categories", "activity"], ["item", "category", "price"]),
        (
            {"gate_units": 0},
            ["user", "clicked", "clicked categories", "activity"],
            ["item", "category", "price"],
        ),
        ({"reads": "all"}, ["user", "clicked", "clicked categories", "activity"], EVERY),
        (
            {"lhuc": ("item", "user")},
            ["item", "user"],
            [name for name in EVERY if name != "user"],
        ),
    ],
)
def test_ppnet_by_hand(options, gating, read):
    """`h ← relu(W h) ⊙ 2σ(V relu(U g))`: the layers read the item's side, the gates the user's."""
    net = module(PPNet(**{**SMALL, "hidden_units": (8, 5), **options}), NUMBERED)
    batch = numbered(6).take(torch.arange(6))
    table, core = net.inputs.table.weight.detach().numpy(), net.core
    values = {}
    for c in NUMBERED.ids:
        ids = batch.ids[:, c.first : c.first + c.width].numpy()
        real = (ids != NUMBERED.table[c.table].start)[..., None]
        values[c.name] = (table[ids] * real).sum(1) / np.maximum(real.sum(1), 1)
    for c in NUMBERED.dense:
        values[c.name] = batch.dense[:, c.first : c.first + c.width].numpy()

    def beside(names):
        return np.concatenate([values[name] for name in names], 1)

    h, g = beside(read), beside(gating)
    for layer, gate in zip((core.entry, *core.layers), core.gates, strict=True):
        h = relu(dense_layer(layer, h)) * gate_by_hand(gate, g, options.get("gate_units", 64))
    with torch.no_grad():
        np.testing.assert_allclose(net(batch), dense_layer(core.heads, h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_gates_train_embeddings_only_with_lhuc_gradient(train):
    net = module(PPNet(**SMALL, lhuc=("user",), lhuc_gradient=train, reads="all"))
    with torch.no_grad():
        net.core.entry.weight[:, :4] = 0.0  # the user reaches the output through gates only
    net(rows(8).take(torch.arange(8))).sum().backward()
    (gradient,) = net.inputs.table.take_row_gradients()
    field = gradient.grad[:, 0]
    assert bool(field.any()) == train


def test_the_user_of_a_ppnet_is_learned_through_the_gates_unless_the_layers_read_him():
    net = module(PPNet(**SMALL))
    net(rows(8).take(torch.arange(8))).sum().backward()
    (gradient,) = net.inputs.table.take_row_gradients()
    assert gradient.grad[:, 0].any()
    with pytest.raises(ConfigError, match=r"lhuc_gradient = False has no effect.*reads = \"all\""):
        PPNet(lhuc_gradient=False)


@pytest.mark.parametrize("kind", ["relu", "sigmoid"])
@pytest.mark.parametrize("sequence", ["mean", "din"])
def test_senet_weights_the_fields_of_any_backbone(kind, sequence):
    """`v_f ← v_f · f(W₂ relu(W₁ z))_f` with z_f the mean of v_f, histories included."""
    net = module(DNN(**SMALL, sequence=sequence, senet=kind, reduction=2))
    plain = module(DNN(**SMALL, sequence=sequence))
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if "senet" not in k})
    batch = full(7).take(torch.arange(7))
    with torch.no_grad():
        before, after = plain.fields(batch), net.fields(batch)
        v = before.vectors.numpy()
        assert net.senet.squeeze.weight.shape == (3, 5)  # ⌈5 fields / 2⌉
        squeezed = relu(v.mean(2) @ net.senet.squeeze.weight.numpy().T)
        excited = squeezed @ net.senet.excite.weight.numpy().T
        weights = relu(excited) if kind == "relu" else 1 / (1 + np.exp(-excited))
        np.testing.assert_allclose(after.vectors, v * weights[:, :, None], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(net(batch), plain.core(after))


def test_gates_read_the_vectors_as_they_were_before_senet():
    net = module(DNN(**SMALL, senet="sigmoid", lhuc=("user",)))
    batch = rows(5).take(torch.arange(5))
    with torch.no_grad():
        torch.testing.assert_close(net.fields(batch).gate, net.inputs(batch).vectors[:, 0])


def test_a_history_that_is_compared_with_the_candidate_does_not_gate():
    net = module(PPNet(**SMALL, sequence="din"))
    assert [net.inputs.shape.names[k] for k in net.inputs.gates] == ["user"]


def test_errors_say_how_to_fix_them():
    bare = Layout(LAYOUT.tables, (LAYOUT.ids[3],), ())
    one = Rows(bare, [Block(np.full((4, 1), 11, np.int32), np.empty((4, 0), np.float32))], 4)
    one = one.labelled(np.ones((4, 1), np.float32), np.arange(4))
    for ranker in (DIN, BST, LastN):
        with pytest.raises(ConfigError, match=r"no feature is a history.*`shares`"):
            ranker(**SMALL).fit(one)
    with pytest.raises(ConfigError, match=r"heads = 3 does not divide embedding_dim = 4"):
        BST(**SMALL, heads=3).fit(rows(4))
    with pytest.raises(ConfigError, match="the user has no feature"):
        PPNet(**SMALL).fit(one)
    with pytest.raises(ConfigError, match="the user has no id feature"):
        DNN(**SMALL, lhuc=True).fit(one)
    users = Layout(LAYOUT.tables, LAYOUT.ids[:1], ())
    alone = Rows(users, [Block(np.full((4, 1), 3, np.int32), np.empty((4, 0), np.float32))], 4)
    with pytest.raises(ConfigError, match=r"all features gate.*reads = \"all\""):
        PPNet(**SMALL).fit(alone.labelled(np.ones((4, 1), np.float32), np.arange(4)))
    with pytest.raises(ConfigError, match=r"senet = 'relu' weights fields, and there are 1"):
        DNN(**SMALL, senet="relu").fit(one)
    with pytest.raises(ConfigError, match="reduction = 2 has no effect"):
        DNN(reduction=2)
    with pytest.raises(ConfigError, match="sequence"):
        DIN(sequence="mean")
    with pytest.raises(ConfigError, match="lhuc"):
        PPNet(lhuc=False)
    with pytest.raises(ConfigError, match="lhuc names 'sex'"):
        DNN(**SMALL, lhuc=("sex",)).fit(rows(4))
