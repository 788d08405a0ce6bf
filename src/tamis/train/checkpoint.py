"""Saves a module's weights as one .npy file per tensor and opens them memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tamis.schema import VersionError, read_array, read_json_value, reading

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
    names = read_json_value(index, list)
    with reading(index):
        saved, wanted = set(names), model.state_dict()
    if saved != set(wanted):
        odd = ", ".join(sorted(saved ^ set(wanted)))
        raise VersionError(
            f"{directory} was saved by another model (only one of them has the weights {odd}); "
            "train it again"
        )
    state = {name: _mapped(directory / f"{name}.npy", value) for name, value in wanted.items()}
    model.load_state_dict(state, assign=True)


def _mapped(path: Path, like: torch.Tensor) -> torch.Tensor:
    """The tensor of a file. Raises VersionError unless it has the type and shape of `like`."""
    dtype = torch.empty(0, dtype=like.dtype).numpy().dtype
    return torch.from_numpy(read_array(path, dtype, tuple(like.shape), mode="c"))
