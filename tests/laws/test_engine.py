"""The scoring engine agrees with PyTorch for every ranker and any number of candidates."""

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank import Engine, RequestNetwork, export
from tamis.rank._backbone import Backbone
from tamis.rank._engine.gather import Gather
from tamis.rank._network import BackboneConfig, Network
from tamis.schema import Side
from tamis.service import registry

TABLES = (
    TableRange("user", 0, 9),
    TableRange("hour", 9, 6),
    TableRange("item", 15, 20),
    TableRange("tag", 35, 7),
)
LENGTH = 5
LAYOUT = Layout(
    tables=TABLES,
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("hour", Side.CONTEXT, "hour", 1),
        IdColumn("clicked", Side.USER, "item", 2, LENGTH, "mean", True),
        IdColumn("item", Side.ITEM, "item", 7),
        IdColumn("tags", Side.ITEM, "tag", 8, 3, "mean", True),
    ),
    dense=(
        DenseColumn("activity", Side.USER, 0, 2),
        DenseColumn("price", Side.ITEM, 2),
        DenseColumn("rate", Side.ITEM, 3),
        DenseColumn("found", Side.CROSS, 4, 2),
    ),
)
IDS_ONLY = Layout(TABLES, LAYOUT.ids, ())
NUMBERS_ONLY = Layout((), (), LAYOUT.dense)
TWO_PASTS = Layout(
    tables=TABLES,
    ids=(
        *LAYOUT.ids[:3],
        IdColumn("liked", Side.USER, "tag", 7, 4, "mean", True),
        IdColumn("item", Side.ITEM, "item", 11),
        IdColumn("tag", Side.ITEM, "tag", 12),
    ),
    dense=LAYOUT.dense,
)
MIXED = Layout(
    tables=TABLES,
    ids=(
        IdColumn("tags", Side.ITEM, "tag", 0, 3, "max", True),
        IdColumn("user", Side.USER, "user", 3),
        IdColumn("item", Side.ITEM, "item", 4),
        IdColumn("clicked", Side.USER, "item", 5, LENGTH, "sum", True),
        IdColumn("hour", Side.CONTEXT, "hour", 10),
    ),
    dense=(DenseColumn("price", Side.ITEM, 0), DenseColumn("activity", Side.USER, 1, 2)),
)
"""Columns of all sides mixed, as a data frame declares them."""
LISTS = tuple(
    Layout(
        TABLES,
        tuple(replace(c, pooling=kinds.get(c.name, "mean")) for c in LAYOUT.ids),
        LAYOUT.dense,
    )
    for kinds in (
        {"clicked": "attention", "tags": "transformer"},
        {"clicked": "gru"},
        {"tags": "cnn"},
    )
)
"""Lists whose pooling has weights: of the user, of the item and of both."""
NEED_IDS = ("bst", "din", "last_n")
"""Rankers that refuse a layout without ids."""
SMALL = {"embedding_dim": 4}
RANKERS = {
    name: cls for name, cls in registry.available("rank").items() if issubclass(cls, Backbone)
}


def network(name: str, layout: Layout, tasks: int = 1, **options) -> Network:
    """A ranker's network with random weights and random batch statistics."""
    cls = RANKERS[name]
    small = {"hidden_units": (8, 6)} if issubclass(cls.Config, BackboneConfig) else {}
    model = cls(**{**SMALL, **small, **options})
    module = model.build(layout, tasks, torch.Generator().manual_seed(1)).eval()
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(0.0, 0.4, generator=draw)
        for key, tensor in module.state_dict().items():
            if key.endswith("running_var"):
                tensor.abs_().add_(0.5)
        for start in {t.start for t in layout.tables}:
            module.inputs.table.weight[start] = 0.0
    return module


def request(layout: Layout, n: int, seed: int, users: int = 1, past: int = LENGTH) -> Rows:
    """n candidates of some users: blocks of the users and of items, both with a pointer, and a
    block with one row per candidate."""
    draw = np.random.default_rng(seed)
    start = {t.name: (t.start, t.size) for t in layout.tables}

    def ids(size: int, columns: list[IdColumn]) -> np.ndarray:
        parts = []
        for column in columns:
            first, rows = start[column.table]
            part = first + draw.integers(0, rows, (size, column.width))
            if column.name == "clicked":
                part[:, past:] = first
            parts.append(part)
        return np.concatenate([*parts, np.zeros((size, 0))], 1).astype(np.int32)

    def dense(size: int, sides: set[Side]) -> np.ndarray:
        width = sum(c.width for c in layout.dense if c.side in sides)
        return draw.normal(size=(size, width)).astype(np.float32)

    user_sides, item_sides = {Side.USER, Side.CONTEXT}, {Side.ITEM}
    user_ids = ids(users, [c for c in layout.ids if c.side in user_sides])
    item_ids = ids(12, [c for c in layout.ids if c.side in item_sides])
    query = draw.integers(0, users, n).astype(np.int32)
    item = draw.integers(0, 12, n).astype(np.int32)
    none = np.empty((n, 0), np.int32)
    blocks = [
        Block(user_ids, dense(users, user_sides), query),
        Block(item_ids, dense(12, item_sides), item),
        Block(none, dense(n, {Side.CROSS})),
    ]
    return Rows(layout, blocks, n)


def reference(net: Network, rows: Rows) -> np.ndarray:
    with torch.inference_mode():
        return net(rows.take(torch.arange(len(rows)))).numpy()


@pytest.fixture(autouse=True)
def without_the_exporter_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ranker of the package is exported by Tamis's own translation."""

    def refuse(*_: object) -> None:
        raise AssertionError("exported by torch.onnx")

    module = importlib.import_module("tamis.rank._engine.export")
    monkeypatch.setattr(module, "_write_by_torch", refuse)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory):
    """Exports a ranker's network for three tasks once, and opens its engine."""

    @cache
    def one(name: str) -> tuple[Network, Engine]:
        net = network(name, LAYOUT, 3)
        directory = tmp_path_factory.mktemp(name)
        export(LAYOUT, net, directory)
        return net, Engine(directory, LAYOUT, net)

    return one


@pytest.mark.parametrize("name", RANKERS)
def test_the_engine_equals_pytorch(opened, name: str):
    net, engine = opened(name)
    for n in (1, 7, 500):
        for past in (0, 1, LENGTH):
            rows = request(LAYOUT, n, seed=n + past, past=past)
            scored = engine.logits(rows)
            assert scored is not None
            assert scored.shape == (n, 3)
            np.testing.assert_allclose(scored, reference(net, rows), atol=1e-4, rtol=1e-5)


SEQUENCES = [
    {"sequence": "mean"},
    {"sequence": "din", "attention_activation": "dice"},
    {"sequence": "din", "attention_softmax": True},
    {"sequence": "din", "attention": "dot"},
    {"sequence": "bst"},
    {"sequence": "bst", "blocks": 2, "pooled": True},
]
HIDDEN = [
    {"lhuc": True, "batch_norm": True},
    {"lhuc": ("item", "user"), "activation": "dice"},
    {"lhuc": ("user", "activity"), "gate_units": 3},
    {"lhuc": ("rate", "hour")},
    {"activation": "prelu"},
    {"senet": "relu", "reduction": 2},
    {"senet": "sigmoid", "lhuc": True},
    {"senet": "sigmoid"},
    {"senet": "sigmoid", "sequence": "din"},
]
OWN = {
    "dcnv2": [{"rank": 2}, {"structure": "stacked"}],
    "fibinet": [{"interaction": kind} for kind in ("all", "each", "interaction")],
    "mmoe": [{"network": "cross"}, {"tower_units": ()}],
    "ple": [{"levels": 1}, {"levels": 3}, {"network": "cross"}],
    "ppnet": [{"reads": "all"}, {"gate_units": 0}, {"senet": "relu", "sequence": "din"}],
    "shared_bottom": [{"network": "cross"}],
    "wide_deep": [{"crosses": (("user", "item"), ("tags", "clicked"))}],
}


def accepted(name: str, options: dict) -> bool:
    """Whether a ranker has these options with these values."""
    fields = RANKERS[name].Config.model_fields
    return all(
        key in fields
        and (key not in ("sequence", "senet") or value in get_args(fields[key].annotation))
        for key, value in options.items()
    )


@pytest.mark.parametrize("name", RANKERS)
def test_the_request_form_equals_the_network(name: str):
    """Without an export, so that many layouts and options can be checked quickly."""
    kinds = [o for o in (*SEQUENCES, *HIDDEN) if accepted(name, o)]
    cases = [(LAYOUT, tasks, o) for tasks in (1, 3) for o in (*kinds, *OWN.get(name, []))]
    cases += [(IDS_ONLY, 2, {})]
    if name not in NEED_IDS:
        cases += [(NUMBERS_ONLY, 2, {})]
    for layout, tasks, options in cases:
        net = network(name, layout, tasks, **options)
        for n, past in ((2, 3), (7, 0)):
            check_form(net, request(layout, n, seed=n, past=past))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wide_deep", {"crosses": (("user", "item"), ("tags", "clicked"))}),
        ("bst", {"blocks": 2}),
        ("mmoe", {"sequence": "din", "attention_activation": "dice", "lhuc": True}),
        ("din", {"senet": "sigmoid", "lhuc": ("user", "activity"), "gate_units": 3}),
        ("ppnet", {"reads": "all", "senet": "relu"}),
    ],
)
def test_the_engine_equals_pytorch_with_options(tmp_path: Path, name: str, options: dict):
    net = network(name, LAYOUT, 2, **options)
    export(LAYOUT, net, tmp_path)
    engine = Engine(tmp_path, LAYOUT, net)
    for n, past in ((1, 1), (30, 0), (30, 1), (30, LENGTH)):
        rows = request(LAYOUT, n, seed=past, past=past)
        np.testing.assert_allclose(engine.logits(rows), reference(net, rows), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("layout", LISTS)
def test_lists_whose_pooling_has_weights(tmp_path: Path, layout: Layout):
    for name, options in (("deepfm", {"lhuc": True}), ("ppnet", {}), ("mmoe", {"senet": "relu"})):
        net = network(name, layout, 2, **options)
        check_form(net, request(layout, 5, seed=1, past=3))
        check_form(net, request(layout, 4, seed=2, past=0))
    net = network("fm", layout, 2)
    export(layout, net, tmp_path)
    engine = Engine(tmp_path, layout, net)
    for n, past in ((1, 1), (30, 0), (40, LENGTH)):
        rows = request(layout, n, seed=past, past=past)
        np.testing.assert_allclose(engine.logits(rows), reference(net, rows), atol=1e-4, rtol=1e-5)
    rows = request(layout, 100, seed=3, users=3)
    np.testing.assert_allclose(engine.logits(rows), reference(net, rows), atol=1e-4, rtol=1e-5)


def test_numbers_alone_are_scored(tmp_path: Path):
    net = network("dnn", NUMBERS_ONLY, 2)
    export(NUMBERS_ONLY, net, tmp_path)
    rows = request(NUMBERS_ONLY, 9, seed=0)
    scored = Engine(tmp_path, NUMBERS_ONLY, net).logits(rows)
    np.testing.assert_allclose(scored, reference(net, rows), atol=1e-4)


def check_form(net: Network, rows: Rows) -> None:
    form = RequestNetwork(rows.layout, net).eval()
    gather = Gather(rows.layout, net)
    arrays = {**gather.user(rows, 0), **gather.candidates(rows, None)}
    with torch.inference_mode():
        scored = form(*(torch.from_numpy(arrays[name]) for name in form.names)).numpy()
    np.testing.assert_allclose(scored, reference(net, rows), atol=1e-4, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    users=st.integers(1, 5),
    past=st.integers(0, LENGTH),
    seed=st.integers(0, 2**20),
)
def test_rows_of_several_users_are_scored_user_by_user_or_refused(
    opened, n: int, users: int, past: int, seed: int
):
    net, engine = opened("deepfm")
    rows = request(LAYOUT, n, seed, users, past)
    scored = engine.logits(rows)
    present = len(np.unique(rows.blocks[0].pointer)) if users > 1 else 0
    assert (scored is None) == (present * 16 > n)
    if scored is not None:
        np.testing.assert_allclose(scored, reference(net, rows), atol=1e-4, rtol=1e-5)


def test_sides_in_any_order_of_columns():
    """The columns of a side need not be adjacent; all inputs are then in one block."""
    net = network("deepfm", MIXED, 2, lhuc=True)
    rows = mixed(6)
    check_form(net, rows)
    check_form(network("dcnv2", MIXED, 2), rows)


@pytest.mark.parametrize("options", [{"sequence": "din"}, {"sequence": "bst"}])
def test_every_history_is_compared_with_its_own_feature(tmp_path: Path, options: dict):
    """Two histories of different lengths."""
    net = network("wide_deep", TWO_PASTS, 2, **options)
    check_form(net, request(TWO_PASTS, 5, seed=0))
    export(TWO_PASTS, net, tmp_path)
    engine = Engine(tmp_path, TWO_PASTS, net)
    for past in (1, LENGTH):
        rows = request(TWO_PASTS, 40, seed=past, past=past)
        np.testing.assert_allclose(engine.logits(rows), reference(net, rows), atol=1e-4)


def mixed(n: int) -> Rows:
    """Rows of one user in a single block."""
    draw = np.random.default_rng(0)
    start = {t.name: (t.start, t.size) for t in TABLES}
    parts = []
    for column in MIXED.ids:
        first, size = start[column.table]
        part = first + draw.integers(0, size, (n, column.width))
        parts.append(part if column.side is Side.ITEM else np.repeat(part[:1], n, 0))
    dense = draw.normal(size=(n, 3)).astype(np.float32)
    dense[:, 1:] = dense[0, 1:]
    return Rows(MIXED, [Block(np.concatenate(parts, 1).astype(np.int32), dense)], n)
