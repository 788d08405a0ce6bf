"""Converts recorded networks to ONNX: every operator, dynamic sizes, and what is refused."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import DeepFM
from tamis.rank._engine.convert import onnx_model
from tamis.rank._engine.engine import Engine
from tamis.rank._engine.export import export
from tamis.rank._engine.operators import OPERATORS
from tamis.rank._engine.trace import (
    DataDependentError,
    OperatorTrace,
    Size,
    UnknownSize,
    UnsupportedOperatorError,
    trace,
)
from tamis.schema import Side, TrainingError

SYMBOLS = [[("x", 0), ("ids", 0)], [("past", 1)]]
WEIGHT = torch.linspace(-1.0, 1.0, 12).reshape(4, 3)
ROW = torch.tensor([0.5, -1.0, 2.0])
VAR = torch.tensor([0.5, 1.5, 2.5])
"""Variance of a batch norm of three units."""


class Function(nn.Module):
    """A function of x float32 (n, 3), ids int32 (n, 2) and past float32 (1, L, 3)."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, ids, past):
        return self.function(x, ids, past)


def example(n: int = 5, length: int = 4) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return {
        "x": torch.randn(n, 3, generator=draw),
        "ids": torch.randint(0, 4, (n, 2), generator=draw, dtype=torch.int32),
        "past": torch.randn(1, length, 3, generator=draw),
    }


def recorded(function) -> OperatorTrace:
    return trace(Function(function), example(), SYMBOLS)


FUNCTIONS = {
    "abs": lambda x, ids, past: x.abs(),
    "exp": lambda x, ids, past: x.exp(),
    "log": lambda x, ids, past: x.abs().log(),
    "neg": lambda x, ids, past: -x,
    "relu": lambda x, ids, past: torch.relu(x),
    "sigmoid": lambda x, ids, past: torch.sigmoid(x),
    "sqrt": lambda x, ids, past: x.abs().sqrt(),
    "tanh": lambda x, ids, past: x.tanh(),
    "reciprocal": lambda x, ids, past: x.reciprocal(),
    "gelu": lambda x, ids, past: F.gelu(x),
    "gelu, tanh": lambda x, ids, past: F.gelu(x, approximate="tanh"),
    "silu": lambda x, ids, past: F.silu(x),
    "leaky_relu": lambda x, ids, past: F.leaky_relu(x, 0.3),
    "prelu": lambda x, ids, past: F.prelu(x, ROW),
    "add with a factor": lambda x, ids, past: torch.add(x, ROW, alpha=0.5),
    "sub of mixed types": lambda x, ids, past: x - ids[:, :1],
    "mul by booleans": lambda x, ids, past: x * (x > 0),
    "rsub": lambda x, ids, past: 1 - x,
    "division of integers": lambda x, ids, past: ids / 4,
    "square": lambda x, ids, past: x.square(),
    "cube": lambda x, ids, past: x**3,
    "addcmul": lambda x, ids, past: torch.addcmul(ROW, x, x, value=0.5),
    "maximum": lambda x, ids, past: torch.maximum(x, ROW),
    "minimum": lambda x, ids, past: torch.minimum(x, ROW),
    "clamp": lambda x, ids, past: x.clamp(-0.5, 0.5),
    "clamp from below": lambda x, ids, past: (ids > 1).sum(1).clamp(min=1),
    "clamp from above": lambda x, ids, past: x.clamp(max=0.1),
    "comparisons": lambda x, ids, past: torch.cat(
        [ids == 1, ids != 2, ids > 1, ids >= 1, ids < 2, ids <= 2.5, x > ROW], 1
    ),
    "logic": lambda x, ids, past: (ids > 1) & ~(ids > 2) | (ids < 1),
    "where": lambda x, ids, past: torch.where(x > 0, x, ROW),
    "masked_fill": lambda x, ids, past: x.masked_fill(x > 0, -1.0),
    "any of two dimensions": lambda x, ids, past: torch.any(past > 2, dim=(0, 2)),
    "alias": lambda x, ids, past: torch.ops.aten.alias(x),
    "a cast": lambda x, ids, past: x.to(torch.int64),
    "clone": lambda x, ids, past: x.clone(),
    "sum": lambda x, ids, past: x.sum(1, keepdim=True),
    "sum of booleans": lambda x, ids, past: (x > 0).sum(1),
    "mean": lambda x, ids, past: past.mean((1, 2)),
    "amax": lambda x, ids, past: x.amax(-1),
    "amin": lambda x, ids, past: x.amin(-1, keepdim=True),
    "any": lambda x, ids, past: (ids > 2).any(1, keepdim=True),
    "softmax": lambda x, ids, past: torch.softmax(past, 1),
    "log_softmax": lambda x, ids, past: torch.log_softmax(x, -1),
    "cumsum of booleans": lambda x, ids, past: (past > 0).cumsum(1),
    "layer norm": lambda x, ids, past: F.layer_norm(x, (3,), ROW, ROW, 1e-3),
    "layer norm without weights": lambda x, ids, past: F.layer_norm(x, (3,)),
    "batch norm": lambda x, ids, past: F.batch_norm(x, ROW, VAR, ROW, ROW, eps=1e-3),
    "batch norm without weights": lambda x, ids, past: F.batch_norm(x, ROW, VAR),
    "mm": lambda x, ids, past: x @ WEIGHT.T,
    "linear": lambda x, ids, past: F.linear(x, WEIGHT, torch.ones(4)),
    "addmm with factors": lambda x, ids, past: torch.addmm(ROW, x, WEIGHT[:3], beta=2, alpha=0.5),
    "bmm": lambda x, ids, past: torch.bmm(past, past.transpose(1, 2)),
    "baddbmm": lambda x, ids, past: torch.baddbmm(ROW, past, WEIGHT[None, :3], beta=2, alpha=0.5),
    "baddbmm without its bias": lambda x, ids, past: torch.baddbmm(
        ROW, past, WEIGHT[None, :3], beta=0
    ),
    "embedding": lambda x, ids, past: F.embedding(ids, WEIGHT),
    "index": lambda x, ids, past: WEIGHT[:, :2][:, (ids[:, 0] > 1).long()],
    "index_select": lambda x, ids, past: x.index_select(1, torch.tensor([2, 0, 0])),
    "select": lambda x, ids, past: x[:, -1],
    "slices": lambda x, ids, past: torch.cat([x[:, 1:], x[:, :-2], x[:, ::2]], 1),
    "a slice up to a size": lambda x, ids, past: x[: past.shape[1] - 2],
    "flip": lambda x, ids, past: past.flip(1, 2),
    "chunk": lambda x, ids, past: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split": lambda x, ids, past: torch.cat(x.split([1, 2], 1)[::-1], 1),
    "unbind": lambda x, ids, past: x.unbind(1)[1] - x.unbind(1)[2],
    "cat with nothing": lambda x, ids, past: torch.cat([x[:, :0], x, x], 1),
    "cat of nothing": lambda x, ids, past: torch.cat([x[:, :0], x[:, :0]], 1),
    "stack": lambda x, ids, past: torch.stack([x, -x], -1),
    "unsqueeze": lambda x, ids, past: x.unsqueeze(-1),
    "squeeze": lambda x, ids, past: past.squeeze(0).squeeze(1),
    "squeeze of two dimensions": lambda x, ids, past: x.view(1, -1, 1, 3).squeeze((0, 2)),
    "transpose": lambda x, ids, past: past.transpose(-1, 0),
    "permute": lambda x, ids, past: past.permute(2, -3, 1),
    "flatten": lambda x, ids, past: past.expand(x.shape[0], -1, -1).flatten(1),
    "flatten all": lambda x, ids, past: past.expand(x.shape[0], -1, -1).reshape(-1),
    "view in three sizes": lambda x, ids, past: (
        (x @ past[0].T).reshape(-1).view(x.shape[0], past.shape[1], 1)
    ),
    "heads": lambda x, ids, past: torch.cat(
        [x.unsqueeze(1), past.expand(x.shape[0], -1, -1)], 1
    ).view(x.shape[0], 1 + past.shape[1], 3, 1),
    "expand to a product": lambda x, ids, past: x[0, :1].expand(2 * x.shape[0] * past.shape[1]) * 1,
    "zeros": lambda x, ids, past: torch.cat([x, torch.zeros(x.shape[0], 2)], 1),
    "zeros of a type": lambda x, ids, past: torch.cat([ids, ids.new_zeros(ids.shape[0], 1)], 1),
    "ones": lambda x, ids, past: torch.cat([x.new_ones(x.shape[0], 1), x], 1),
    "full": lambda x, ids, past: x + torch.full((x.shape[0], 1), 3.0),
    "full of a type": lambda x, ids, past: ids + ids.new_full((ids.shape[0], 1), 3),
    "what depends on no input": lambda x, ids, past: x + WEIGHT.exp().sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_graph_equals_pytorch(name: str) -> None:
    """At the sizes of the example and at other sizes, including a single row and a single item."""
    function = FUNCTIONS[name]
    model = onnx_model(recorded(function), "logits")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [tensor.name for tensor in session.get_inputs()]
    for n, length in ((5, 4), (1, 1), (7, 9)):
        tensors = example(n, length)
        reference = function(**tensors).numpy()
        answer = session.run(None, {name: tensors[name].numpy() for name in names})[0]
        assert answer.dtype == reference.dtype
        np.testing.assert_allclose(answer, reference, rtol=1e-5, atol=1e-6, strict=True)


def test_the_functions_above_use_every_translation() -> None:
    used = set()
    for function in FUNCTIONS.values():
        for call in recorded(function).calls:
            full = str(call.operator).removeprefix("aten.")
            used |= {full, full.split(".")[0]}
    rare = {"to", "reshape", "logical_not", "logical_and", "logical_or", "clamp_min", "detach"}
    assert set(OPERATORS) - used - rare == set()


def test_sizes_are_written_as_expressions() -> None:
    def function(x, ids, past):
        return x[0, 0].expand(2 * x.shape[0] * past.shape[1], 3 * past.shape[1] - 1)

    expand = [call for call in recorded(function).calls if "expand" in str(call.operator)]
    assert expand[0].arguments[1] == (Size(2, (0, 1)), Size(3, (1,), -1))
    sums = recorded(lambda x, ids, past: x[0, 0].expand(x.shape[0] + past.shape[1]))
    assert sums.calls[-1].arguments[1] == (UnknownSize(),)
    with pytest.raises(UnsupportedOperatorError, match="not a simple expression"):
        onnx_model(sums, "logits")


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x, ids, past: x.add_(1), "aten.add_"),
        (lambda x, ids, past: x + torch.rand(3), "aten.rand"),
        (lambda x, ids, past: x if x.shape[0] > 4 else -x, "depend on the sizes"),
        (lambda x, ids, past: x[:, (x[0] > 9).logical_not()], "mask"),
        (lambda x, ids, past: x.sort(1).values, "aten.sort"),
        (lambda x, ids, past: ~ids, "bitwise Not"),
        (lambda x, ids, past: torch.div(x, 2, rounding_mode="floor"), "floor"),
        (lambda x, ids, past: x * x.shape[0], "depends on the inputs' sizes"),
        (lambda x, ids, past: x + x.new_empty(x.shape), "aten.new_empty"),
    ],
)
def test_unsupported_operators_are_refused(function, match: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=match):
        onnx_model(recorded(function), "logits")


def test_a_branch_that_depends_on_values_is_refused() -> None:
    with pytest.raises(DataDependentError, match="values"):
        recorded(lambda x, ids, past: x if x.sum() > 0 else -x)


LAYOUT = Layout(
    tables=(TableRange("user", 0, 6), TableRange("item", 6, 30)),
    ids=(IdColumn("user", Side.USER, "user", 0), IdColumn("item", Side.ITEM, "item", 1)),
    dense=(),
)


class Length(nn.Module):
    """A core with an operator that only PyTorch's exporter can translate."""

    def forward(self, fields):
        return torch.linalg.vector_norm(fields.vectors.flatten(1), dim=1, keepdim=True)


class LengthRanker(DeepFM):
    """A ranker with a core that is not part of the package."""

    def core(self, shape, n_tasks, generator):
        return Length()


def test_operators_without_a_translation_are_exported_by_pytorch(tmp_path: Path) -> None:
    network = LengthRanker(embedding_dim=4).build(LAYOUT, 1, torch.Generator()).eval()
    with torch.no_grad():
        network.inputs.table.weight.normal_(generator=torch.Generator())
        network.inputs.table.weight[[0, 6]] = 0.0  # padding
    export(LAYOUT, network, tmp_path)
    items = np.arange(7, 27, dtype=np.int32)
    user = Block(np.array([[3]], np.int32), np.empty((1, 0), np.float32), np.zeros(20, np.int32))
    rows = Rows(LAYOUT, [user, Block(items[:, None], np.empty((20, 0), np.float32))], 20)
    scored = Engine(tmp_path, LAYOUT, network).logits(rows)
    assert scored is not None
    ids = np.stack([np.full_like(items, 3), items], 1)
    vectors = network.inputs.table.weight.detach().numpy()[ids, :4]
    np.testing.assert_allclose(scored[:, 0], np.sqrt((vectors**2).sum((1, 2))), rtol=1e-5)


def test_a_graph_with_different_logits_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(OPERATORS, "relu", OPERATORS["abs"])
    network = DeepFM(hidden_units=(8,)).build(LAYOUT, 1, torch.Generator()).eval()
    with pytest.raises(TrainingError, match="differs from PyTorch's"):
        export(LAYOUT, network, tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_exported_file_contains_no_paths(tmp_path: Path) -> None:
    network = DeepFM(hidden_units=(8,)).build(LAYOUT, 1, torch.Generator()).eval()
    export(LAYOUT, network, tmp_path)
    written = (tmp_path / "engine" / "scoring.onnx").read_bytes()
    assert b"tamis" in written  # the producer
    assert b".py" not in written
