"""Saves a module's weights as one .npy file per tensor and opens them memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tamis.schema import VersionError

INDEX = "weights.json"


def save_weights(model: nn.Module, directory: Path) -> None:
    """Writes every tensor of `model.state_dict()` into `directory`, and an index of their names."""
    directory.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    for name, value in state.items():
        np.save(directory / f"{name}.npy", value.detach().cpu().numpy())
    (directory / INDEX).write_text(json.dumps(sorted(state), indent=1))


def load_weights(model: nn.Module, directory: Path) -> None:
    """Loads saved weights into `model`, mapped copy-on-write so that processes share the memory.

    Raises VersionError where a file is missing, or where names or shapes differ from the model's.
    """
    index = directory / INDEX
    if not index.is_file():
        raise VersionError(f"{index} is missing: the saved model is incomplete; train it again")
    saved, wanted = set(json.loads(index.read_text())), model.state_dict()
    if saved != set(wanted):
        odd = ", ".join(sorted(saved ^ set(wanted)))
        raise VersionError(
            f"{directory} was saved by another model (only one of them has the weights {odd}); "
            "train it again"
        )
    state = {
        name: _mapped(directory / f"{name}.npy", value.shape) for name, value in wanted.items()
    }
    model.load_state_dict(state, assign=True)


def _mapped(path: Path, shape: torch.Size) -> torch.Tensor:
    """The array of a file. Raises VersionError where it is missing or of another shape."""
    if not path.is_file():
        raise VersionError(f"{path} is missing: the saved model is incomplete; train it again")
    # The system refuses to map an empty file, so empty arrays are read.
    array = np.load(path, mmap_mode="c" if shape.numel() else None)
    if array.shape != tuple(shape):
        raise VersionError(
            f"{path} has shape {array.shape}, the model expects {tuple(shape)}; train it again"
        )
    return torch.from_numpy(np.asarray(array))
