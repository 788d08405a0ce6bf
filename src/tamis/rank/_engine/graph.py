"""Writes a recorded network as an ONNX model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

from tamis.rank._engine.operators import translation
from tamis.rank._engine.trace import (
    Call,
    Ref,
    Size,
    Trace,
    UnknownSize,
    UnsupportedOperatorError,
    leaves,
)

OPSET = 20
IR_VERSION = 10
"""Of the file format: the one of that operator set, which older releases of ONNX Runtime read."""
_UNINITIALISED = {"aten::empty", "aten::new_empty", "aten::empty_like", "aten::empty_strided"}


def onnx_model(trace: Trace, output: str) -> onnx.ModelProto:
    """The model with inputs of the trace's names and one output.

    What depends on no input is computed here and stored. Raises UnsupportedOperatorError for an
    operator without a translation.
    """
    return Graph(trace).model(output)


class Graph:
    """An ONNX graph under construction; values are known by name."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[str, onnx.TensorProto] = {}
        self._names: dict[int, str] = dict(enumerate(trace.names))
        self._sizes: dict[Size, str] = {}
        self._count = 0

    def model(self, output: str) -> onnx.ModelProto:
        """The finished model."""
        trace = self._trace
        for call in self._needed():
            self._translate(call)
        self._add("Identity", [self.name(Ref(trace.output))], [output], {})
        dynamic = {dim: f"size{k}" for k, dims in enumerate(trace.symbols) for dim in dims}
        read = {name for node in self._nodes for name in node.input}
        inputs = [
            _declared(name, value, [dynamic.get((name, k), n) for k, n in enumerate(value.shape)])
            for name, value in zip(trace.names, trace.values, strict=False)
            if name in read
        ]
        logits = trace.values[trace.output]
        outputs = [_declared(output, logits, [None, *logits.shape[1:]])]
        graph = helper.make_graph(
            self._nodes, "scoring", inputs, outputs, list(self._stored.values())
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tamis"
        )

    def name(self, value: Ref) -> str:
        """Of a tensor of the trace; a constant is stored when it is first read."""
        if value.number not in self._names:
            array = self._trace.values[value.number].detach().contiguous().numpy()
            self._names[value.number] = self.constant(array)
        return self._names[value.number]

    def tensor(self, value: Ref) -> Tensor:
        """The tensor of the example run: its type, and its shape there."""
        return self._trace.values[value.number]

    def constant(self, array: NDArray[Any]) -> str:
        """Stores an array."""
        name = self._new()
        self._stored[name] = numpy_helper.from_array(
            np.ascontiguousarray(array).reshape(array.shape), name
        )
        return name

    def integers(self, *values: int) -> str:
        """Stores int64 (len(values),)."""
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new ONNX node."""
        return self.nodes(kind, 1, *inputs, **attributes)[0]

    def nodes(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """The outputs of a new ONNX node."""
        names = [self._new() for _ in range(outputs)]
        self._add(kind, list(inputs), names, attributes)
        return names

    def cast(self, name: str, before: torch.dtype, after: torch.dtype) -> str:
        """A value in another type, if it is another."""
        return name if before == after else self.node("Cast", name, to=_kind(after))

    def shape(self, sizes: Any) -> str:
        """int64 (len(sizes),) of integers and `Size` expressions."""
        if all(type(size) is int for size in sizes):
            return self.integers(*sizes)
        return self.node("Concat", *(self._size(size) for size in sizes), axis=0)

    def _size(self, size: int | Size | UnknownSize) -> str:
        """int64 (1,)."""
        if isinstance(size, UnknownSize):
            raise UnsupportedOperatorError("a size is no simple expression of the inputs' sizes")
        if isinstance(size, int):
            return self.integers(size)
        if size not in self._sizes:
            factors = [self._dimension(symbol) for symbol in size.symbols]
            if size.scale != 1:
                factors.append(self.integers(size.scale))
            total = factors[0]
            for factor in factors[1:]:
                total = self.node("Mul", total, factor)
            if size.offset:
                total = self.node("Add", total, self.integers(size.offset))
            self._sizes[size] = total
        return self._sizes[size]

    def _dimension(self, symbol: int) -> str:
        name, dim = self._trace.symbols[symbol][0]
        return self.node("Shape", name, start=dim, end=dim + 1)

    def _needed(self) -> list[Call]:
        """Calls whose outputs depend on the inputs and reach the output."""
        trace = self._trace
        varying = set(range(len(trace.names)))
        calls: list[Call] = []
        for call in trace.calls:
            sizes = any(isinstance(leaf, Size | UnknownSize) for leaf in leaves(call.arguments))
            if sizes or call.name in _UNINITIALISED or varying.intersection(call.inputs):
                varying.update(call.outputs)
                calls.append(call)
        needed, kept = {trace.output}, []
        for call in reversed(calls):
            if needed.intersection(call.outputs):
                needed.update(call.inputs)
                kept.append(call)
        return kept[::-1]

    def _translate(self, call: Call) -> None:
        out = translation(call)(self, self._trace.values[call.outputs[0]], *call.arguments)
        names = [out] if isinstance(out, str) else out
        self._names.update(zip(call.outputs, names, strict=False))

    def _add(
        self, kind: str, inputs: list[str], outputs: list[str], attributes: dict[str, Any]
    ) -> None:
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def _new(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _declared(name: str, tensor: Tensor, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _kind(tensor.dtype), shape)


def _kind(dtype: torch.dtype) -> int:
    """ONNX's number of an element type."""
    return helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)
