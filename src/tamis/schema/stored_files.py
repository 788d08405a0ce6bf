"""Reads the JSON and npy files of a stored version; every fault becomes a VersionError."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tamis.schema.errors import MissingExtraError, VersionError

ADVICE = "Roll back to another version (`tamis versions`), or run `tamis train` again"
"""What to do about a damaged version; ends the message of every VersionError of a damaged file."""


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turns every exception of the body into a VersionError that names `path` and the fault.

    VersionError passes through unchanged. So do MissingExtraError, which is about the installation,
    and MemoryError, which is about the machine: training again would not help.
    """
    try:
        yield
    except (VersionError, MissingExtraError, MemoryError):
        raise
    # Damaged bytes reach numpy, polars, pydantic, LightGBM, faiss, torch, ONNX Runtime and classes
    # of the user's own, which raise exceptions of many types without a common base; this is the one
    # place where they are turned into the error that names the file and the remedy.
    except Exception as error:
        raise VersionError(f"{path} is missing or damaged: {one_line(error)}. {ADVICE}") from error


def one_line(error: Exception) -> str:
    """The type and the message of an exception in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300].rstrip(".: ")


def read_json(path: Path, **keys: type | tuple[type, ...]) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        keys: name → type of each key that must be present. bool is not taken for int; int is taken
            for float.

    Raises VersionError if the file is missing, is not JSON, holds no object, lacks a key or holds a
    value of another type.
    """
    saved = read_json_value(path, dict)
    for name, kind in keys.items():
        if name not in saved:
            raise VersionError(f"{path} is damaged: the key {name!r} is missing. {ADVICE}")
        _check_type(path, f"the key {name!r}", saved[name], kind)
    return saved


def read_json_value(path: Path, kind: type | tuple[type, ...]) -> Any:
    """The value of type `kind` in a JSON file. Raises VersionError as `read_json`."""
    with reading(path):
        saved = json.loads(path.read_text("utf-8"))
    _check_type(path, "the file", saved, kind)
    return saved


def read_array(
    path: Path,
    dtype: DTypeLike | None = None,
    shape: Sequence[int | None] | None = None,
    *,
    mode: str | None = "r",
) -> NDArray[Any]:
    """The array of an npy file as a plain ndarray, memory-mapped.

    Args:
        path: the file.
        dtype: its type; None accepts any.
        shape: its shape, None for a dimension of any length; None accepts any.
        mode: "r" maps for reading, "c" copy-on-write, None reads into memory. An array without
            elements cannot be mapped and is always read.

    Raises VersionError if the file is missing, is not an npy file, has another length than its
    header declares, or holds an array of another type or shape.
    """
    with reading(path):
        with path.open("rb") as stream:
            major, _ = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if major == 1 else _read_header_2
            stored, _, kind = read(stream)
            bytes_needed = stream.tell() + int(np.prod(stored, dtype=object)) * kind.itemsize
        size = path.stat().st_size
        if size != bytes_needed:
            raise ValueError(f"it has {size} bytes, its header declares {bytes_needed}")
        array = np.load(path, mmap_mode=mode if 0 not in stored else None)  # pyright: ignore
    check_array(path, array, dtype, shape)
    return array.view(np.ndarray)


def check_array(
    path: Path,
    array: NDArray[Any],
    dtype: DTypeLike | None = None,
    shape: Sequence[int | None] | None = None,
) -> None:
    """Raises VersionError if an array that was read from `path` has another type or shape."""
    if dtype is not None and array.dtype != np.dtype(dtype):
        raise VersionError(
            f"{path} is damaged: it holds {array.dtype}, not {np.dtype(dtype)}. {ADVICE}"
        )
    if shape is None:
        return
    same = len(shape) == array.ndim and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not same:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise VersionError(
            f"{path} is damaged: its array has shape {array.shape}, not ({wanted}). {ADVICE}"
        )


def described(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Name → dtype and shape of each array, as JSON values for `read_described`."""
    return {
        name: {"dtype": array.dtype.str, "shape": list(array.shape)}
        for name, array in arrays.items()
    }


def read_described(
    directory: Path, listed: Mapping[str, Any] | Sequence[str]
) -> dict[str, NDArray[Any]]:
    """The arrays NAME.npy that `described` listed, memory-mapped for reading.

    A plain list of names, as earlier releases wrote, is read without a check of types and shapes.
    Raises VersionError as `read_array`.
    """
    if not isinstance(listed, Mapping):
        return {name: read_array(directory / f"{name}.npy") for name in listed}
    with reading(directory):
        wanted = {n: (np.dtype(a["dtype"]), tuple(a["shape"])) for n, a in listed.items()}
    return {name: read_array(directory / f"{name}.npy", *given) for name, given in wanted.items()}


def _check_type(path: Path, what: str, value: Any, kind: type | tuple[type, ...]) -> None:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    accepted = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds)
        raise VersionError(
            f"{path} is damaged: {what} holds {type(value).__name__}, not {names}. {ADVICE}"
        )


def _read_header_2(stream: Any) -> Any:
    return np.lib.format.read_array_header_2_0(stream)
