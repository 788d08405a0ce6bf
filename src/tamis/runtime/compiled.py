"""numba's `njit` with a cache on disk that survives changes of the package.

numba pickles the types of a kernel's arguments into the cache index, and unpickles them before it
compares the index with the source file. After an upgrade that renamed such a type (a named tuple of
arrays), that fails, and so does the first call of the kernel. Here an index that cannot be read is
an old one: the kernel is compiled anew.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile


class _TolerantIndex(IndexDataCacheFile):
    """A cache index that counts as empty if its types no longer exist."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # pyright: ignore[reportUnknownVariableType]
        except (AttributeError, ImportError):
            return {}


def njit(*args: Any, **options: Any) -> Any:
    """`numba.njit`, with the same arguments, on a tolerant cache index."""
    made: Any = numba.njit(*args, **options)
    if args:
        return _tolerant(made)

    def compiled(function: Any) -> Any:
        return _tolerant(made(function))

    return compiled


def _tolerant(kernel: Any) -> Any:
    index = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if isinstance(index, IndexDataCacheFile):  # None without `cache = True`
        index.__class__ = _TolerantIndex
    return kernel
