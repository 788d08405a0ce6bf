"""Work split over threads, and scratch arrays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tamis.runtime import in_blocks, scratch, threads


def test_the_results_of_blocks_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert in_blocks(lambda a, b: (a, b), 7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert in_blocks(lambda a, b: (a, b), 0, 3) == []


@pytest.mark.parametrize("value", ["", "0", "many", "100000"])
def test_the_number_of_threads_is_that_of_the_processors(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    expected = threads()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == expected >= 1


def test_a_variable_lowers_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1


def test_a_scratch_array_is_reused_within_a_thread_only() -> None:
    array = scratch("test", 5, np.int32)
    assert array.dtype == np.int32
    assert not array.any()
    assert scratch("test", 5, np.int32) is array
    assert scratch("test", 6, np.int32) is not array
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(scratch, "test", 5, np.int32).result() is not array
