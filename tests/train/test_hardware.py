"""Detection of hardware features, and memory kept between training steps."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from tamis.schema import ConfigError
from tamis.train import (
    allow_kept_memory,
    check_device,
    hardware,
    kept_memory,
    native_bfloat16,
    use_bfloat16,
)

MANY = 2**24
"""Float32 values in an array of 64 MB, more than glibc keeps by default."""


def faults() -> int:
    """Page faults of three arrays allocated one after another."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(MANY)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's mallopt; a no-op elsewhere")
def test_freed_memory_is_kept_where_the_process_allows_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "_kept_memory_allowed", False)
    allow_kept_memory()
    with kept_memory():
        kept = min(faults() for _ in range(8))  # the first arrays need new pages
    assert kept < 20
    assert faults() > 60  # huge pages of 2 MB at the least


def test_the_allocator_is_not_changed_unless_the_process_allows_it(
    monkeypatch: pytest.MonkeyPatch,
):
    def refuse(name: object) -> None:
        raise AssertionError(f"the C library was opened: {name}")

    monkeypatch.setattr(hardware, "_kept_memory_allowed", False)
    monkeypatch.setattr(hardware.ctypes, "CDLL", refuse)
    with kept_memory():
        pass
    allow_kept_memory()
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("glibc", "2.36"))
    with pytest.raises(AssertionError, match="the C library was opened"), kept_memory():
        pass


def test_an_exception_inside_kept_memory_is_raised(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "_kept_memory_allowed", True)
    with pytest.raises(ValueError, match="inside"), kept_memory():
        raise ValueError("inside")


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("1", True)])
def test_a_variable_replaces_the_detection_of_bfloat16(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    native_bfloat16()  # a cached result must not outlive the variable
    monkeypatch.setenv("TAMIS_BFLOAT16", value)
    assert native_bfloat16() is expected
    assert use_bfloat16("auto", "cpu") is expected
    assert use_bfloat16("on", "cpu")
    assert not use_bfloat16("off", "cpu")


def test_without_the_variable_the_hardware_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TAMIS_BFLOAT16", raising=False)
    found = native_bfloat16()
    monkeypatch.setenv("TAMIS_BFLOAT16", str(int(not found)))
    assert native_bfloat16() is not found
    monkeypatch.delenv("TAMIS_BFLOAT16")
    assert native_bfloat16() is found


@pytest.mark.parametrize("value", ["", "2", "yes", "auto", " 1"])
def test_other_values_of_the_variable_are_an_error(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TAMIS_BFLOAT16", value)
    with pytest.raises(ConfigError, match=f"TAMIS_BFLOAT16 is '{value}': set it to 0 .* or 1 "):
        use_bfloat16("auto", "cpu")
    assert use_bfloat16("on", "cpu")  # an explicit choice does not read it


def test_a_device_is_checked_by_its_name(monkeypatch: pytest.MonkeyPatch):
    assert check_device("cpu") == torch.device("cpu")
    for name in ("gpu", "", "cuda:x", "meta"):
        with pytest.raises(
            ConfigError, match=f"device '{name}' is unknown: give cpu, cuda, .* mps"
        ):
            check_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert check_device("cuda") == torch.device("cuda")
    with pytest.raises(ConfigError, match="'cuda:1' is not available: torch finds 1 CUDA devices"):
        check_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="'cuda' is not available"):
        check_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'mps' is not available"):
        check_device("mps")
