"""The compiled kernel of the tower `sum` computes what the torch module computes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.features import DenseColumn, IdColumn, Layout, TableRange
from tamis.nn import fused_table
from tamis.recall.two_tower._sum_tower import SumTower
from tamis.recall.two_tower._tower import SequencePart, Tower, TowerShape
from tamis.schema import Side

ROWS, VALUES, DIM = 6, 7, 5


@st.composite
def towers(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """The inputs of a tower, and a seed of its weights and of its batch."""
    widths = draw(st.lists(st.integers(1, 4), max_size=3))
    poolings = st.sampled_from(["sum", "mean"])
    numbers = draw(st.integers(0, 4))
    return {
        "ids": [(width, draw(poolings)) for width in widths],
        "numbers": numbers,
        "fixed": draw(st.integers(0, numbers)),
        "length": draw(st.sampled_from([0, 1, 3])),
        "cosine": draw(st.booleans()),
    }, draw(st.integers(0, 10**6))


@settings(max_examples=150, deadline=None)
@given(towers())
def test_the_kernel_equals_the_module(case: tuple[dict[str, Any], int]) -> None:
    """Of rows with some inputs missing; the first row has none, the second only statistics."""
    about, seed = case
    random = np.random.default_rng(seed)
    tower, layout, table = made(about, seed)
    kernel = SumTower.of(tower, layout, table)
    assert kernel is not None
    pads = np.array([layout.table[c.table].start for c in layout.ids for _ in range(c.width)], int)
    ids = np.where(
        random.random((ROWS, len(pads))) < 0.5,
        pads,
        pads + random.integers(1, VALUES, (ROWS, len(pads))),
    ).astype(np.int32)
    dense = random.normal(size=(ROWS, about["numbers"])).astype(np.float32)
    dense[random.random(dense.shape) < 0.5] = 0
    start = layout.table["liked"].start
    past = start + random.integers(0, VALUES, (ROWS, about["length"])).astype(np.int32)
    past = past.astype(np.int32)
    ids[:2], past[:2], dense[0], dense[1, : about["fixed"]] = pads, start, 0, 0
    with torch.inference_mode():
        want = tower(table, *(torch.from_numpy(each) for each in (ids, dense, past))).numpy()
    got = kernel(ids, dense, past)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert not got[:2].any()


def made(about: dict[str, Any], seed: int) -> tuple[Tower, Layout, Any]:
    """A tower with random weights and biases, its layout and its table."""
    columns, first = [], 0
    for place, (width, pooling) in enumerate(about["ids"]):
        columns.append(IdColumn(f"c{place}", Side.USER, f"c{place}", first, width, pooling))
        first += width
    names = [*(c.table for c in columns), "liked"]
    numbers = about["numbers"]
    layout = Layout(
        tables=tuple(TableRange(name, VALUES * k, VALUES) for k, name in enumerate(names)),
        ids=tuple(columns),
        dense=(DenseColumn("numbers", Side.USER, 0, numbers),) if numbers else (),
    )
    draw = torch.Generator().manual_seed(seed)
    shape = TowerShape(DIM, DIM, (), 0.1, about["cosine"], about["length"])
    table = fused_table(layout, DIM, init_std=1.0, generator=draw)
    history = SequencePart(layout.table["liked"].start) if about["length"] else None
    fields = [c.name for c in columns]
    tower = Tower("sum", layout, fields, history, numbers, shape, draw, fixed=about["fixed"])
    if tower.dense is not None:
        with torch.no_grad():
            tower.dense.bias.normal_(generator=draw)
    return tower.eval(), layout, table


@pytest.mark.parametrize(
    ("network", "hidden", "pooling"),
    [("mlp", (), "mean"), ("sum", (3,), "mean"), ("sum", (), "max"), ("sum", (), "attention")],
)
def test_other_towers_have_no_kernel(network: Any, hidden: tuple[int, ...], pooling: str) -> None:
    layout = Layout((TableRange("a", 0, 5),), (IdColumn("a", Side.USER, "a", 0, 2, pooling),), ())
    draw = torch.Generator().manual_seed(0)
    table = fused_table(layout, DIM, init_std=1.0, generator=draw)
    shape = TowerShape(DIM, DIM, hidden, 0.0, True)
    tower = Tower(network, layout, ["a"], None, 0, shape, draw)
    assert SumTower.of(tower.eval(), layout, table) is None
