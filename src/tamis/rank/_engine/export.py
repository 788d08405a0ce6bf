"""A ranker's network as an ONNX file, for one user and any number of candidates."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tamis.features import Layout, Rows
from tamis.rank._engine.example import example
from tamis.rank._engine.gather import Gather
from tamis.rank._engine.network import RequestNetwork
from tamis.rank._engine.request_fields import USER_SIDES
from tamis.rank._engine.session import FOLDER, GRAPH, Session
from tamis.rank._engine.trace import UnsupportedOperatorError, trace
from tamis.rank._network import Network
from tamis.schema import TrainingError

log = logging.getLogger("tamis.rank")
OUTPUT = "logits"
TOLERANCE = 1e-4
"""Of a logit, in units of the larger of 1 and its size."""
EXAMPLE = 13
"""Candidates of the traced example; the file takes any number."""


def export(layout: Layout, network: nn.Module, directory: Path) -> None:
    """Writes `directory/engine`, after its answers have been compared with the network's.

    Raises TrainingError where the network cannot be exported or would answer otherwise.
    """
    folder = directory / FOLDER
    discard(directory)
    reason = unsupported(layout, network)
    if reason:
        raise TrainingError(f"the scoring engine cannot take this ranker: {reason}")
    assert isinstance(network, Network)
    folder.mkdir(parents=True)
    try:
        request = RequestNetwork(layout, network).eval()
        gather = Gather(layout, network)
        _write(request, _tensors(gather, example(layout, EXAMPLE, layout.id_width)), folder / GRAPH)
        session, others = Session(directory), [(EXAMPLE, layout.id_width), (3, 2), (1, 0)]
        error = np.max(
            [
                _difference(network, gather, session, example(layout, n, longest))
                for n, longest in others
            ]
        )
        if not error <= TOLERANCE:
            raise TrainingError(
                f"the exported ranker differs from PyTorch's by {error:.2g} (at most {TOLERANCE} "
                'is allowed): set engine = "torch", and please report its configuration'
            )
    except Exception as error:
        discard(directory)
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(
            f"the ranker could not be exported to the scoring engine ({_cause(error)}); set "
            'engine = "torch"'
        ) from error


def discard(directory: Path) -> None:
    """Removes an engine of former weights."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def unsupported(layout: Layout, network: nn.Module) -> str | None:
    """Why a network has no request-time form, if it has none."""
    if not isinstance(network, Network):
        return f"its module is a {type(network).__name__}, not a Network"
    sides = {*(c.side for c in layout.ids), *(c.side for c in layout.dense)}
    if sides <= set(USER_SIDES):
        return "none of its inputs belongs to the candidate"
    for history, target in network.inputs.pairs:
        if history.side not in USER_SIDES:
            return f"the history {history.name!r} is not the user's"
        if target.side in USER_SIDES:
            return f"{target.name!r}, which the history {history.name!r} meets, is not the item's"
    return None


def _tensors(gather: Gather, rows: Rows) -> dict[str, Tensor]:
    arrays = gather.user(rows, 0) | gather.candidates(rows, None)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _write(request: RequestNetwork, given: dict[str, Tensor], path: Path) -> None:
    """Writes the graph by Tamis's own translation, in milliseconds, or by PyTorch's exporter, which
    takes seconds, where that translation lacks an operator."""
    from tamis.rank._engine.graph import onnx_model  # imported here: only an export needs onnx

    tensors = {name: given[name] for name in request.names}
    try:
        model = onnx_model(trace(request, tensors, _dynamic_sizes(tensors)), OUTPUT)
    except UnsupportedOperatorError as error:
        log.info("exported by torch.onnx: %s", error)
        _write_by_torch(request, tensors, path)
    else:
        path.write_bytes(model.SerializeToString())


def _dynamic_sizes(tensors: dict[str, Tensor]) -> list[list[tuple[str, int]]]:
    """Dimensions that requests choose, by size: how many candidates, and how long each past is."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, tensor in tensors.items():
        for dim in _dynamic(name, tensor):
            found.setdefault("candidates" if dim == 0 else name, []).append((name, dim))
    return list(found.values())


def _write_by_torch(request: RequestNetwork, given: dict[str, Tensor], path: Path) -> None:
    tensors = tuple(given.values())
    shapes = tuple(_dynamic(name, given[name]) for name in request.names)
    with _quiet(), torch.no_grad():
        traced = torch.export.export(request, tensors, dynamic_shapes=(shapes,), strict=False)
        program = torch.onnx.export(
            traced,
            input_names=list(request.names),
            output_names=[OUTPUT],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        _forget_origin(program.model.graph)
        program.save(str(path))


def _forget_origin(graph: Any) -> None:
    """Removes stack traces: a version does not tell of the machine that wrote it."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    graph.metadata_props.clear()


def _dynamic(name: str, tensor: Tensor) -> dict[int, object]:
    """Dimensions that requests choose: how many candidates, and how long the past is."""
    if name.startswith(("candidate", "crossed")):
        return {0: torch.export.Dim.DYNAMIC}
    past = name.startswith("past") and tensor.shape[1] > 1
    return {1: torch.export.Dim.DYNAMIC} if past else {}


def _difference(network: Network, gather: Gather, session: Session, rows: Rows) -> float:
    """The largest, in units of the larger of 1 and the logit's size; NaN where one is NaN."""
    with torch.inference_mode():
        reference = network(rows.take(torch.arange(len(rows)))).numpy()
    answer = session.run({k: t.numpy() for k, t in _tensors(gather, rows).items()})
    return float((np.abs(answer - reference) / np.maximum(1, np.abs(reference))).max())


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first: the exporter's own text is a page long."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk of its own insides."""
    talkers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [talker.level for talker in talkers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for talker in talkers:
            talker.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)
