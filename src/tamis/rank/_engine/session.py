"""An exported ranker opened in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.schema import MissingExtraError, VersionError

FOLDER, GRAPH = "engine", "scoring.onnx"


class Session:
    """Runs `directory/engine/scoring.onnx` with ONNX Runtime, in the calling thread by default.

    Args:
        directory: directory of the saved ranker.
        threads: threads of one run; a session may be used by several requests at once.

    Raises VersionError if the file is missing or damaged, MissingExtraError without the package
    `onnxruntime`.
    """

    def __init__(self, directory: Path, threads: int = 1) -> None:
        file = directory / FOLDER / GRAPH
        if not file.is_file():
            raise VersionError(
                f"{file} is missing: the ranker's scoring engine is incomplete; train again, or "
                'set engine = "torch"'
            )
        try:
            import onnxruntime  # optional dependency, read only here
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "the scoring engine needs the package onnxruntime: pip install onnxruntime, or set "
                'engine = "torch"'
            ) from error
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), _options(onnxruntime, threads), ["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises errors of many types
            raise VersionError(
                f"{file} is damaged or was written for another release of ONNX Runtime "
                f'({str(error).splitlines()[0]}); train again, or set engine = "torch"'
            ) from error
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The logits float32 (n, L) of tensors by name; tensors that the file has no input for are
        ignored."""
        return self._session.run(None, {name: tensors[name] for name in self._inputs})[0]


def _options(runtime: Any, threads: int) -> Any:
    """Session options of ONNX Runtime (`runtime` is the module)."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take processor time from other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
