"""An ONNX graph under construction: nodes, stored constants, and sizes computed from the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

from tamis.rank._engine.trace import OperatorTrace, Ref, Size, UnknownSize, UnsupportedOperatorError


class GraphParts(NamedTuple):
    """What an ONNX graph is made of, except its inputs and outputs."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


class Graph:
    """An ONNX graph under construction, in which every value has a name.

    Args:
        trace: the recorded network; its inputs are the graph's.
    """

    def __init__(self, trace: OperatorTrace) -> None:
        self._trace = trace
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[str, onnx.TensorProto] = {}
        self._names: dict[int, str] = dict(enumerate(trace.names))
        self._sizes: dict[Size, str] = {}
        self._count = 0

    def name(self, value: Ref) -> str:
        """Name of a tensor of the trace; a constant is stored when it is first read."""
        if value.number not in self._names:
            array = self._trace.values[value.number].detach().contiguous().numpy()
            self._names[value.number] = self.constant(array)
        return self._names[value.number]

    def tensor(self, value: Ref) -> Tensor:
        """The tensor's value in the example run, for its type and rank."""
        return self._trace.values[value.number]

    def constant(self, array: NDArray[Any]) -> str:
        """Stores an array; returns its name."""
        name = self._new()
        self._stored[name] = numpy_helper.from_array(
            np.ascontiguousarray(array).reshape(array.shape), name
        )
        return name

    def integers(self, *values: int) -> str:
        """Stores an int64 array (len(values),); returns its name."""
        return self.constant(np.array(values, np.int64))

    def assign(self, value: int, name: str) -> None:
        """Gives the trace's tensor of number `value` the name of a value in the graph."""
        self._names[value] = name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an ONNX node of operator `kind`; returns the name of its output."""
        return self.nodes(kind, 1, *inputs, **attributes)[0]

    def nodes(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds an ONNX node of operator `kind`; returns the names of its outputs."""
        names = [self._new() for _ in range(outputs)]
        self._add(kind, list(inputs), names, attributes)
        return names

    def cast(self, name: str, before: torch.dtype, after: torch.dtype) -> str:
        """A value of type `before` as type `after`; no node if they are equal."""
        return name if before == after else self.node("Cast", name, to=element_type(after))

    def shape(self, sizes: Any) -> str:
        """Name of an int64 value (len(sizes),), given integers and `Size` expressions.

        Raises UnsupportedOperatorError for an `UnknownSize`.
        """
        if all(type(size) is int for size in sizes):
            return self.integers(*sizes)
        return self.node("Concat", *(self._size(size) for size in sizes), axis=0)

    def _size(self, size: int | Size | UnknownSize) -> str:
        """Name of an int64 value (1,)."""
        if isinstance(size, UnknownSize):
            raise UnsupportedOperatorError("a size is not a simple expression of the inputs' sizes")
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

    def finish(self, outputs: Mapping[str, str]) -> GraphParts:
        """The nodes and constants, with graph outputs (name → name of a value) added."""
        for output, value in outputs.items():
            self._add("Identity", [value], [output], {})
        return GraphParts(self._nodes, list(self._stored.values()))

    def _dimension(self, symbol: int) -> str:
        name, dim = self._trace.symbols[symbol][0]
        return self.node("Shape", name, start=dim, end=dim + 1)

    def _add(
        self, kind: str, inputs: list[str], outputs: list[str], attributes: dict[str, Any]
    ) -> None:
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def _new(self) -> str:
        self._count += 1
        return f"v{self._count}"


def element_type(dtype: torch.dtype) -> int:
    """ONNX's number for an element type."""
    return helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)
