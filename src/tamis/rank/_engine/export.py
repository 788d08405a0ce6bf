"""Exports a ranker's network as an ONNX file, for one user and any number of candidates."""

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
"""Maximum difference of a logit from PyTorch's, relative to max(1, |logit|)."""
EXAMPLE = 13
"""Candidates of the traced example; the exported network takes any number."""


def export(layout: Layout, network: nn.Module, directory: Path) -> None:
    """Writes `directory/engine` and compares its logits with the network's.

    Args:
        layout: layout of the ranker's rows.
        network: the ranker's network, in evaluation mode.
        directory: directory of the saved ranker.

    Raises TrainingError if the network cannot be exported or the exported logits differ; nothing is
    then left in `directory/engine`.
    """
    folder = directory / FOLDER
    discard(directory)
    reason = unsupported(layout, network)
    if reason:
        raise TrainingError(f"the scoring engine does not support this ranker: {reason}")
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
                'is allowed): set engine = "torch", and please report the configuration'
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
    """Removes an engine that was exported from earlier weights."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def unsupported(layout: Layout, network: nn.Module) -> str | None:
    """Why a network cannot be exported; None if it can."""
    if not isinstance(network, Network):
        return f"its module is a {type(network).__name__}, not a Network"
    sides = {*(c.side for c in layout.ids), *(c.side for c in layout.dense)}
    if sides <= set(USER_SIDES):
        return "none of its inputs belongs to the candidate"
    for history, target in network.inputs.pairs:
        if history.side not in USER_SIDES:
            return f"the history {history.name!r} is not a feature of the user"
        if target.side in USER_SIDES:
            return (
                f"{target.name!r}, which the history {history.name!r} is compared with, is not a "
                "feature of the item"
            )
    return None


def _tensors(gather: Gather, rows: Rows) -> dict[str, Tensor]:
    """The network's inputs for rows of one user."""
    arrays = gather.user(rows, 0) | gather.candidates(rows, None)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _write(request: RequestNetwork, given: dict[str, Tensor], path: Path) -> None:
    """Writes the graph with Tamis's own translation, which takes milliseconds; if that lacks an
    operator, with PyTorch's exporter, which takes seconds."""
    from tamis.rank._engine.convert import onnx_model  # imported here: only an export needs onnx

    tensors = {name: given[name] for name in request.names}
    try:
        model = onnx_model(trace(request, tensors, _dynamic_sizes(tensors)), OUTPUT)
    except UnsupportedOperatorError as error:
        log.info("exported by torch.onnx: %s", error)
        _write_by_torch(request, tensors, path)
    else:
        path.write_bytes(model.SerializeToString())


def _dynamic_sizes(tensors: dict[str, Tensor]) -> list[list[tuple[str, int]]]:
    """Dimensions that vary between requests, grouped by size: the number of candidates, and the
    length of each history."""
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
        _remove_origin(program.model.graph)
        program.save(str(path))


def _remove_origin(graph: Any) -> None:
    """Removes stack traces, so that a version holds no file paths of the machine that wrote it."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    graph.metadata_props.clear()


def _dynamic(name: str, tensor: Tensor) -> dict[int, object]:
    """Dimensions that vary between requests: the number of candidates, the length of a history."""
    if name.startswith(("candidate", "crossed")):
        return {0: torch.export.Dim.DYNAMIC}
    past = name.startswith("past") and tensor.shape[1] > 1
    return {1: torch.export.Dim.DYNAMIC} if past else {}


def _difference(network: Network, gather: Gather, session: Session, rows: Rows) -> float:
    """Largest difference of the session's logits from the network's, relative to max(1, |logit|);
    NaN if a logit is NaN."""
    with torch.inference_mode():
        reference = network(rows.take(torch.arange(len(rows)))).numpy()
    answer = session.run({k: t.numpy() for k, t in _tensors(gather, rows).items()})
    return float((np.abs(answer - reference) / np.maximum(1, np.abs(reference))).max())


def _cause(error: BaseException) -> str:
    """First line of the original error: the text of PyTorch's exporter is a page long."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses warnings and log messages of PyTorch's exporter."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
