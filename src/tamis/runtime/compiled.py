"""numba's `njit` with a cache on disk that survives changes of the package and full disks.

numba pickles the types of a kernel's arguments into the cache index, and unpickles them before it
compares the index with the source file. After an upgrade that renamed such a type (a named tuple of
arrays), that fails, and so does the first call of the kernel. Here an index that cannot be read is
an old one: the kernel is compiled anew. A folder that cannot be written fails the import of the
kernel, and a full disk its first call; here the kernel is compiled and not kept.

numba compiles a kernel that another one calls with the literal 0 for `Literal[int](0)`, besides the
version for every integer. Here there is that version only.
"""

from __future__ import annotations

import logging
import pickle
from functools import cache
from typing import Any, cast

import numba
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile

log = logging.getLogger("tamis.runtime")


class _TolerantIndex(IndexDataCacheFile):
    """A cache index that counts as empty where its types no longer exist, or it cannot be read."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # pyright: ignore[reportUnknownVariableType]
        except (AttributeError, ImportError, EOFError, OSError, pickle.UnpicklingError):
            return {}


class _TolerantCache(FunctionCache):
    """A cache that keeps nothing where its folder cannot be written any more."""

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            cast("Any", super()).save_overload(sig, data)
        except OSError as problem:
            _report(str(problem))


def njit(*args: Any, **options: Any) -> Any:
    """`numba.njit`, with the same arguments, on a tolerant cache."""
    if args:
        return _made(options, *args)

    def compiled(function: Any) -> Any:
        return _made(options, function)

    return compiled


def inner_njit(*args: Any, **options: Any) -> Any:
    """`njit` with a cache, for kernels that only other kernels call.

    numba writes no code that would let Python call them. For arguments of many arrays that code
    takes as long to compile as the kernel itself.
    """
    return njit(*args, cache=True, no_cpython_wrapper=True, **options)


def _made(options: dict[str, Any], *args: Any) -> Any:
    options = {"no_cfunc_wrapper": True, **options}  # code for calls from C, which nothing makes
    try:
        return _tolerant(numba.njit(*args, **options))
    except RuntimeError as problem:  # numba has no folder that it may write
        if not options.get("cache"):
            raise
        _report(str(problem))
        return numba.njit(*args, **{**options, "cache": False})


def _tolerant(kernel: Any) -> Any:
    kept: Any = getattr(kernel, "_cache", None)
    index = getattr(kept, "_cache_file", None)
    if isinstance(index, IndexDataCacheFile):  # None without `cache = True`
        index.__class__ = _TolerantIndex
        kept.__class__ = _TolerantCache
    return _without_literals(kernel)


def _without_literals(kernel: Any) -> Any:
    """The kernel, compiled once for all literals that other kernels pass (0, −1, True)."""
    usual: Any = kernel.get_call_template
    general: Any = cast("Any", types).unliteral

    def get_call_template(args: Any, kws: Any) -> Any:
        placed: list[Any] = [general(each) for each in args]
        named: dict[str, Any] = {name: general(each) for name, each in kws.items()}
        return usual(tuple(placed), named)

    kernel.get_call_template = get_call_template
    return kernel


@cache
def _report(problem: str) -> None:
    """Logs a problem once."""
    log.warning(
        "compiled code is not kept, so each start takes longer: %s. Set NUMBA_CACHE_DIR to a "
        "folder that this process may write",
        problem,
    )
