"""Translates PyTorch's operators to ONNX's.

Each translation is a function `(graph, output, *arguments) -> name`.
`output` is the operator's first output in the example run, for its type and rank. Arguments are in
the order of the operator's schema. A function adds nodes to the graph and returns the name of the
value that stands for the output, or the names of several outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tamis.rank._engine.graph import Graph
from tamis.rank._engine.trace import OperatorCall, Ref, Size, UnknownSize, UnsupportedOperatorError

Translation = Callable[..., "str | list[str]"]
T = TypeVar("T", bound=Translation)
OPERATORS: dict[str, Translation] = {}
"""Name in PyTorch, with or without the overload → translation."""
_END = 2**31 - 1
"""A slice that ends here or later reaches the end of the dimension."""


def operator(*names: str) -> Callable[[T], T]:
    """Decorator that registers a translation in `OPERATORS`."""

    def register(translation: T) -> T:
        OPERATORS.update(dict.fromkeys(names, translation))
        return translation

    return register


def translation(call: OperatorCall) -> Translation:
    """The translation of a call; raises UnsupportedOperatorError if there is none."""
    full = str(call.operator).removeprefix("aten.")  # mean.dim
    found = OPERATORS.get(full) or OPERATORS.get(full.split(".")[0])
    if found is None:
        raise UnsupportedOperatorError(str(call.operator))
    return found


def _as(g: Graph, value: Any, dtype: torch.dtype) -> str:
    """Name of a tensor, or of a number, converted to a type."""
    if isinstance(value, Ref):
        return g.cast(g.name(value), g.tensor(value).dtype, dtype)
    if not isinstance(value, int | float):
        raise UnsupportedOperatorError("a number depends on the inputs' sizes")
    return g.constant(torch.tensor(value, dtype=dtype).numpy())


# Elementwise operators


def _unary(kind: str) -> Translation:
    return lambda g, out, x: g.node(kind, _as(g, x, out.dtype))


def _binary(kind: str) -> Callable[..., str]:
    def translated(g: Graph, out: Tensor, x: Any, y: Any, alpha: float = 1) -> str:
        right = _as(g, y, out.dtype)
        if alpha != 1:
            right = g.node("Mul", right, _as(g, alpha, out.dtype))
        return g.node(kind, _as(g, x, out.dtype), right)

    return translated


def _logical(kind: str) -> Translation:
    def translated(g: Graph, out: Tensor, *values: Any) -> str:
        if out.dtype is not torch.bool:
            raise UnsupportedOperatorError(f"bitwise {kind} of {out.dtype}")
        return g.node(kind, *(_as(g, value, torch.bool) for value in values))

    return translated


def _comparison(kind: str, negated: bool = False) -> Translation:
    def translated(g: Graph, out: Tensor, x: Ref, y: Any) -> str:
        dtype = torch.result_type(g.tensor(x), g.tensor(y) if isinstance(y, Ref) else y)
        found = g.node(kind, _as(g, x, dtype), _as(g, y, dtype))
        return g.node("Not", found) if negated else found

    return translated


for _name in ("abs", "exp", "log", "neg", "relu", "sigmoid", "sqrt", "tanh", "reciprocal"):
    operator(_name)(_unary(_name.capitalize()))
operator("add")(_binary("Add"))
operator("sub")(_binary("Sub"))
operator("mul")(_binary("Mul"))
operator("maximum")(_binary("Max"))
operator("minimum")(_binary("Min"))
operator("bitwise_not", "logical_not")(_logical("Not"))
operator("bitwise_and", "logical_and")(_logical("And"))
operator("bitwise_or", "logical_or")(_logical("Or"))
operator("eq")(_comparison("Equal"))
operator("ne")(_comparison("Equal", negated=True))
operator("gt")(_comparison("Greater"))
operator("ge")(_comparison("GreaterOrEqual"))
operator("lt")(_comparison("Less"))
operator("le")(_comparison("LessOrEqual"))


@operator("rsub")
def _rsub(g: Graph, out: Tensor, x: Ref, y: Any, alpha: float = 1) -> str:
    return _binary("Sub")(g, out, y, x, alpha)


@operator("div")
def _div(g: Graph, out: Tensor, x: Any, y: Any, rounding: str | None = None) -> str:
    if rounding is not None:
        raise UnsupportedOperatorError(f"division rounded by {rounding!r}")
    return g.node("Div", _as(g, x, out.dtype), _as(g, y, out.dtype))


@operator("pow.Tensor_Scalar")
def _pow(g: Graph, out: Tensor, x: Ref, exponent: float) -> str:
    base = _as(g, x, out.dtype)
    if exponent == 2:
        return g.node("Mul", base, base)
    return g.node("Pow", base, _as(g, exponent, out.dtype))


@operator("addcmul")
def _addcmul(g: Graph, out: Tensor, x: Ref, y: Ref, z: Ref, value: float = 1) -> str:
    product = g.node("Mul", _as(g, y, out.dtype), _as(g, z, out.dtype))
    if value != 1:
        product = g.node("Mul", product, _as(g, value, out.dtype))
    return g.node("Add", _as(g, x, out.dtype), product)


@operator("clamp", "clamp_min")
def _clamp(g: Graph, out: Tensor, x: Ref, least: Any = None, most: Any = None) -> str:
    low = "" if least is None else _as(g, least, out.dtype)
    return g.node(
        "Clip", _as(g, x, out.dtype), low, "" if most is None else _as(g, most, out.dtype)
    )


@operator("gelu")
def _gelu(g: Graph, out: Tensor, x: Ref, approximate: str = "none") -> str:
    return g.node("Gelu", g.name(x), approximate=approximate)


@operator("silu")
def _silu(g: Graph, out: Tensor, x: Ref) -> str:
    return g.node("Mul", g.name(x), g.node("Sigmoid", g.name(x)))


@operator("leaky_relu")
def _leaky_relu(g: Graph, out: Tensor, x: Ref, slope: float = 0.01) -> str:
    return g.node("LeakyRelu", g.name(x), alpha=slope)


@operator("_prelu_kernel")
def _prelu(g: Graph, out: Tensor, x: Ref, slope: Ref) -> str:
    return g.node("PRelu", g.name(x), g.name(slope))


@operator("where.self")
def _where(g: Graph, out: Tensor, condition: Ref, x: Ref, y: Ref) -> str:
    return g.node("Where", g.name(condition), _as(g, x, out.dtype), _as(g, y, out.dtype))


@operator("masked_fill")
def _masked_fill(g: Graph, out: Tensor, x: Ref, mask: Ref, value: Any) -> str:
    return g.node("Where", g.name(mask), _as(g, value, out.dtype), g.name(x))


@operator("_to_copy", "to", "clone", "alias", "detach", "lift_fresh")
def _copy(g: Graph, out: Tensor, x: Ref, *_: Any) -> str:
    return _as(g, x, out.dtype)


# Reductions and normalisation over a dimension


def _reduction(kind: str) -> Translation:
    def translated(
        g: Graph, out: Tensor, x: Ref, dims: Any = None, keepdim: bool = False, *_: Any
    ) -> str:
        dims = [dims] if isinstance(dims, int) else dims or ()
        of, axes = _as(g, x, out.dtype), [g.integers(*dims)] if dims else []
        return g.node(kind, of, *axes, keepdims=int(keepdim))

    return translated


operator("sum.dim_IntList")(_reduction("ReduceSum"))
operator("mean.dim")(_reduction("ReduceMean"))
operator("amax")(_reduction("ReduceMax"))
operator("amin")(_reduction("ReduceMin"))


@operator("any.dim", "any.dims")
def _any(g: Graph, out: Tensor, x: Ref, dims: Any, keepdim: bool = False) -> str:
    """Computed on integers, as ONNX Runtime has no reduction of booleans."""
    dims = [dims] if isinstance(dims, int) else dims or ()
    axes = [g.integers(*dims)] if dims else []
    found = g.node("ReduceMax", _as(g, x, torch.int32), *axes, keepdims=int(keepdim))
    return g.cast(found, torch.int32, torch.bool)


@operator("_softmax")
def _softmax(g: Graph, out: Tensor, x: Ref, dim: int, half: bool) -> str:
    return g.node("Softmax", _as(g, x, out.dtype), axis=dim)


@operator("_log_softmax")
def _log_softmax(g: Graph, out: Tensor, x: Ref, dim: int, half: bool) -> str:
    return g.node("LogSoftmax", _as(g, x, out.dtype), axis=dim)


@operator("cumsum")
def _cumsum(g: Graph, out: Tensor, x: Ref, dim: int, dtype: Any = None) -> str:
    return g.node("CumSum", _as(g, x, out.dtype), g.constant(np.array(dim, np.int64)))


@operator("native_layer_norm")
def _layer_norm(
    g: Graph, out: Tensor, x: Ref, shape: Any, weight: Ref | None, bias: Ref | None, eps: float
) -> str:
    ones = np.ones([int(n) for n in shape], np.float32)
    scale = g.constant(ones) if weight is None else g.name(weight)
    shift = [] if bias is None else [g.name(bias)]
    return g.node("LayerNormalization", g.name(x), scale, *shift, axis=-len(shape), epsilon=eps)


@operator("native_batch_norm")
def _batch_norm(
    g: Graph,
    out: Tensor,
    x: Ref,
    weight: Ref | None,
    bias: Ref | None,
    mean: Ref,
    var: Ref,
    training: bool,
    momentum: float,
    eps: float,
) -> str:
    if training:
        raise UnsupportedOperatorError("batch normalisation in training mode")
    units = g.tensor(mean).shape[0]
    scale = g.constant(np.ones(units, np.float32)) if weight is None else g.name(weight)
    shift = g.constant(np.zeros(units, np.float32)) if bias is None else g.name(bias)
    inputs = (g.name(x), scale, shift, g.name(mean), g.name(var))
    return g.node("BatchNormalization", *inputs, epsilon=eps)


# Matrix products


@operator("mm", "bmm")
def _matmul(g: Graph, out: Tensor, x: Ref, y: Ref) -> str:
    return g.node("MatMul", g.name(x), g.name(y))


@operator("addmm")
def _addmm(
    g: Graph, out: Tensor, bias: Ref, x: Ref, y: Ref, beta: float = 1, alpha: float = 1
) -> str:
    inputs = (g.name(x), g.name(y), g.name(bias))
    return g.node("Gemm", *inputs, alpha=float(alpha), beta=float(beta))


@operator("baddbmm")
def _baddbmm(
    g: Graph, out: Tensor, bias: Ref, x: Ref, y: Ref, beta: float = 1, alpha: float = 1
) -> str:
    product, added = g.node("MatMul", g.name(x), g.name(y)), g.name(bias)
    if alpha != 1:
        product = g.node("Mul", product, _as(g, alpha, out.dtype))
    if beta == 0:
        return product  # PyTorch does not read the bias either
    if beta != 1:
        added = g.node("Mul", added, _as(g, beta, out.dtype))
    return g.node("Add", product, added)


# Indexing and shapes


@operator("embedding")
def _embedding(g: Graph, out: Tensor, table: Ref, ids: Ref, *_: Any) -> str:
    return g.node("Gather", g.name(table), g.name(ids), axis=0)


@operator("index_select")
def _index_select(g: Graph, out: Tensor, x: Ref, dim: int, index: Ref) -> str:
    return g.node("Gather", g.name(x), g.name(index), axis=dim)


@operator("index.Tensor")
def _index(g: Graph, out: Tensor, x: Ref, indices: Sequence[Ref | None]) -> str:
    places = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(places) != 1 or g.tensor(places[0][1]).dtype is torch.bool:
        raise UnsupportedOperatorError("indexing by a mask or in several dimensions")
    dim, index = places[0]
    return g.node("Gather", g.name(x), g.name(index), axis=dim)


@operator("select.int")
def _select(g: Graph, out: Tensor, x: Ref, dim: int, index: int | Size) -> str:
    if not isinstance(index, int):
        raise UnsupportedOperatorError("an index that depends on the inputs' sizes")
    return g.node("Gather", g.name(x), g.constant(np.array(index, np.int64)), axis=dim)


@operator("slice.Tensor")
def _slice(
    g: Graph, out: Tensor, x: Ref, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> str:
    start, end = start or 0, _END if end is None else end
    if start == 0 and isinstance(end, int) and end >= _END and step == 1:
        return g.name(x)
    end = min(end, _END) if isinstance(end, int) else end
    bounds = (g.shape([start]), g.shape([end]), g.integers(dim), g.integers(step))
    return g.node("Slice", g.name(x), *bounds)


@operator("flip")
def _flip(g: Graph, out: Tensor, x: Ref, dims: Sequence[int]) -> str:
    n = len(dims)
    bounds = (g.integers(*[-1] * n), g.integers(*[-_END] * n), g.integers(*dims))
    return g.node("Slice", g.name(x), *bounds, g.integers(*[-1] * n))


@operator("split.Tensor")
def _split(g: Graph, out: Tensor, x: Ref, size: Any, dim: int = 0) -> list[str]:
    whole = g.tensor(x).shape[dim]
    if not isinstance(size, int):
        raise UnsupportedOperatorError("parts whose size depends on the inputs' sizes")
    parts = [min(size, whole - first) for first in range(0, whole, size)]
    return _split_with_sizes(g, out, x, parts, dim)


@operator("split_with_sizes")
def _split_with_sizes(g: Graph, out: Tensor, x: Ref, sizes: Any, dim: int = 0) -> list[str]:
    return g.nodes("Split", len(sizes), g.name(x), g.shape(sizes), axis=dim)


@operator("unbind.int")
def _unbind(g: Graph, out: Tensor, x: Ref, dim: int = 0) -> list[str]:
    parts = range(g.tensor(x).shape[dim])
    return [g.node("Gather", g.name(x), g.constant(np.array(k, np.int64)), axis=dim) for k in parts]


@operator("cat")
def _cat(g: Graph, out: Tensor, parts: Sequence[Ref], dim: int = 0) -> str:
    filled = [part for part in parts if g.tensor(part).shape[dim % out.dim()]]
    names = [_as(g, part, out.dtype) for part in filled or parts[:1]]
    return names[0] if len(names) == 1 else g.node("Concat", *names, axis=dim)


@operator("stack")
def _stack(g: Graph, out: Tensor, parts: Sequence[Ref], dim: int = 0) -> str:
    axis = g.integers(dim % out.dim())
    names = [g.node("Unsqueeze", _as(g, part, out.dtype), axis) for part in parts]
    return g.node("Concat", *names, axis=dim)


@operator("unsqueeze")
def _unsqueeze(g: Graph, out: Tensor, x: Ref, dim: int) -> str:
    return g.node("Unsqueeze", g.name(x), g.integers(dim))


@operator("squeeze.dim", "squeeze.dims")
def _squeeze(g: Graph, out: Tensor, x: Ref, dims: Any) -> str:
    shape = g.tensor(x).shape
    axes = [dim for dim in ([dims] if isinstance(dims, int) else dims) if shape[dim] == 1]
    return g.node("Squeeze", g.name(x), g.integers(*axes)) if axes else g.name(x)


@operator("t")
def _t(g: Graph, out: Tensor, x: Ref) -> str:
    return g.node("Transpose", g.name(x), perm=[*range(out.dim())][::-1])


@operator("transpose.int")
def _transpose(g: Graph, out: Tensor, x: Ref, one: int, other: int) -> str:
    order = [*range(out.dim())]
    order[one], order[other] = order[other], order[one]
    return g.node("Transpose", g.name(x), perm=order)


@operator("permute")
def _permute(g: Graph, out: Tensor, x: Ref, dims: Sequence[int]) -> str:
    return g.node("Transpose", g.name(x), perm=[dim % out.dim() for dim in dims])


@operator("view", "_unsafe_view", "reshape")
def _view(g: Graph, out: Tensor, x: Ref, shape: Sequence[Any]) -> str:
    sizes = list(shape)
    varying = [k for k, size in enumerate(sizes) if not isinstance(size, int)]
    if varying and out.numel() and -1 not in sizes:
        unknown = [k for k in varying if isinstance(sizes[k], UnknownSize)]
        sizes[(unknown or varying)[0]] = -1
    empty = {"allowzero": 1} if 0 in sizes else {}
    return g.node("Reshape", g.name(x), g.shape(sizes), **empty)


@operator("expand")
def _expand(g: Graph, out: Tensor, x: Ref, shape: Sequence[Any], implicit: bool = False) -> str:
    """In ONNX, a dimension that is not expanded is written as 1."""
    before = g.tensor(x).shape
    new = len(shape) - len(before)
    kept = [k >= new and before[k - new] == out.shape[k] for k in range(len(shape))]
    if all(kept):
        return g.name(x)
    return g.node(
        "Expand", g.name(x), g.shape([1 if k else n for k, n in zip(kept, shape, strict=True)])
    )


@operator("zeros", "new_zeros", "ones", "new_ones", "full", "new_full")
def _filled(g: Graph, out: Tensor, *arguments: Any) -> str:
    """A constant tensor; its shape is the first list among the arguments."""
    shape = next(argument for argument in arguments if isinstance(argument, tuple))
    value = out.new_zeros(1) if not out.numel() else out.flatten()[:1]
    return g.node("Expand", g.constant(value.numpy()), g.shape(shape))
