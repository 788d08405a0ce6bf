"""Converts a recorded network to an ONNX model."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper
from torch import Tensor

from tamis.rank._engine.graph import Graph, element_type
from tamis.rank._engine.operators import translation
from tamis.rank._engine.trace import OperatorCall, OperatorTrace, Ref, Size, UnknownSize, leaves

OPSET = 20
IR_VERSION = 10
"""Version of the file format that belongs to that operator set; old ONNX Runtimes can read it."""
_UNINITIALISED = {"aten::empty", "aten::new_empty", "aten::empty_like", "aten::empty_strided"}


def onnx_model(trace: OperatorTrace, output: str) -> onnx.ModelProto:
    """The model of a trace, with inputs of the trace's names and one output.

    Values that depend on no input are taken from the example run and stored as constants.

    Args:
        trace: the recorded network.
        output: name of the output.

    Raises UnsupportedOperatorError for an operator without a translation.
    """
    graph = Graph(trace)
    for call in _needed_calls(trace):
        result = translation(call)(graph, trace.values[call.outputs[0]], *call.arguments)
        names = [result] if isinstance(result, str) else result
        for value, name in zip(call.outputs, names, strict=False):  # unused outputs have no name
            graph.assign(value, name)
    nodes, constants = graph.finish({output: graph.name(Ref(trace.output))})
    dynamic = {dim: f"size{k}" for k, dims in enumerate(trace.symbols) for dim in dims}
    read = {name for node in nodes for name in node.input}
    inputs = [
        _declared(name, value, [dynamic.get((name, k), n) for k, n in enumerate(value.shape)])
        for name, value in zip(trace.names, trace.values, strict=False)  # inputs come first
        if name in read
    ]
    result = trace.values[trace.output]
    outputs = [_declared(output, result, [None, *result.shape[1:]])]
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        helper.make_graph(nodes, "scoring", inputs, outputs, constants),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="tamis",
    )


def _needed_calls(trace: OperatorTrace) -> list[OperatorCall]:
    """The calls that depend on the inputs and that the output depends on, in order."""
    varying = set(range(len(trace.names)))
    calls: list[OperatorCall] = []
    for call in trace.calls:
        sizes = any(isinstance(leaf, Size | UnknownSize) for leaf in leaves(call.arguments))
        if sizes or call.name in _UNINITIALISED or varying.intersection(call.inputs):
            varying.update(call.outputs)
            calls.append(call)
    needed: set[int] = {trace.output}
    kept: list[OperatorCall] = []
    for call in reversed(calls):
        if needed.intersection(call.outputs):
            needed.update(call.inputs)
            kept.append(call)
    return kept[::-1]


def _declared(name: str, tensor: Tensor, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(tensor.dtype), shape)
