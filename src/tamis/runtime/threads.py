"""Work split over threads, and scratch arrays that each thread reuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray


def threads() -> int:
    """Number of threads to use, at least 1.

    It is the number of processors that this process may use. The environment variable
    OMP_NUM_THREADS lowers it, as it does for BLAS and torch.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(allowed or 1, int(limit) if limit.isdigit() and int(limit) else 1024))


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Within the block, NumPy's and SciPy's linear algebra runs on one thread, in all threads.

    OpenBLAS rounds products, factorisations and sums differently for each number of threads. Fits
    run in such a block, so that they give the same arrays for any number of threads; what needs
    several threads to be fast is split by `in_blocks`, or multiplied by torch.
    """
    from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]

    with threadpool_limits(1, user_api="blas"):
        yield


def in_blocks(work: Callable[[int, int], Any], n: int, size: int) -> list[Any]:
    """Calls `work(begin, end)` on blocks of `size` that cover [0, n), on several threads.

    For kernels that release the interpreter lock. A single block runs in the calling thread.

    Returns:
        The results of `work` in the order of the blocks; an empty list if n is 0.
    """
    starts = range(0, n, size)
    if len(starts) <= 1 or threads() == 1:
        return [work(start, min(start + size, n)) for start in starts]

    def block(start: int) -> Any:
        return work(start, min(start + size, n))

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(block, starts))


class _ThreadArrays(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[tuple[str, int], NDArray[Any]] = {}


_thread_arrays = _ThreadArrays()


def scratch(name: str, n: int, dtype: type[np.generic]) -> NDArray[Any]:
    """The calling thread's (n,) array of zeros with this name; the caller must zero it after use.

    Resetting the few entries that a query changed is far cheaper than allocating an array for each
    query. The array stays allocated for as long as its thread lives.
    """
    arrays = _thread_arrays.arrays
    if (name, n) not in arrays:
        arrays[name, n] = np.zeros(n, dtype)
    return arrays[name, n]
