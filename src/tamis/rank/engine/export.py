"""A ranker's network as an ONNX file, for one user and any number of candidates."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tamis.features import Batch, Block, Layout, Rows
from tamis.rank.backbone import Network
from tamis.rank.engine.gather import Gather
from tamis.rank.engine.request import USER_SIDES, RequestNetwork
from tamis.rank.engine.session import ABOUT, FOLDER, GRAPH, Session
from tamis.schema import TrainingError

TOLERANCE = 1e-4
"""Of a logit, in units of the larger of 1 and its size."""
EXAMPLE = 5
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
        batch, tensors = example(layout, network, request)
        _write(request, tensors, folder / GRAPH)
        (folder / ABOUT).write_text(json.dumps({"inputs": request.names}, indent=1), "utf-8")
        error = _difference(network, batch, tensors, Session(directory))
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
    for history, _ in network.inputs.pairs:
        if history.side not in USER_SIDES:
            return f"the history {history.name!r} is not the user's"
    return None


def example(
    layout: Layout, network: Network, request: RequestNetwork
) -> tuple[Batch, tuple[Tensor, ...]]:
    """Random rows of one user: as the network reads them, and as the request's does."""
    random = np.random.default_rng(0)
    ids = np.zeros((EXAMPLE, layout.id_width), np.int32)
    for column in layout.ids:
        table, places = layout.table[column.table], slice(column.first, column.first + column.width)
        drawn = random.integers(0, table.size, (EXAMPLE, column.width))
        if column.side in USER_SIDES:
            drawn[:] = drawn[0]
        ids[:, places] = table.start + drawn
    dense = random.normal(size=(EXAMPLE, layout.dense_width)).astype(np.float32)
    for number in layout.dense:
        if number.side in USER_SIDES:
            dense[:, number.first : number.first + number.width] = 0.5
    rows = Rows(layout, [Block(ids, dense)], EXAMPLE)
    gather = Gather(layout, network.inputs)
    arrays = {
        **gather.user(rows, 0),
        **gather.candidates(rows, np.arange(EXAMPLE)),
    }
    return rows.take(torch.arange(EXAMPLE)), tuple(
        torch.from_numpy(arrays[name]) for name in request.names
    )


def _write(request: RequestNetwork, tensors: tuple[Tensor, ...], path: Path) -> None:
    n = torch.export.Dim("candidates")
    shapes = tuple({0: n} if per_candidate(name) else {} for name in request.names)
    with _quiet():
        program = torch.onnx.export(
            request,
            tensors,
            input_names=list(request.names),
            output_names=["logits"],
            dynamic_shapes=(shapes,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def per_candidate(name: str) -> bool:
    """Whether a tensor's first dimension is the candidates'."""
    return name == "crossed" or name.startswith("candidate")


def _difference(
    network: Network, batch: Batch, tensors: tuple[Tensor, ...], session: Session
) -> float:
    """The largest, in units of the larger of 1 and the logit's size; NaN where one is NaN."""
    with torch.inference_mode():
        reference = network(batch).numpy()
    arrays = {name: t.numpy() for name, t in zip(session.names, tensors, strict=True)}
    answer = session.run(arrays)
    return float((np.abs(answer - reference) / np.maximum(1, np.abs(reference))).max())


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first: the exporter's own text is a page long."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk of its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
