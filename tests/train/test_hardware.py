"""Detection of bfloat16, and memory that stays with the process."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from tamis.schema import ConfigError
from tamis.train import kept_memory, native_bfloat16, use_bfloat16

MANY = 2**24
"""Numbers of an array of 64 MB: more than glibc keeps by itself."""


def faults() -> int:
    """Pages that the kernel has had to give to three arrays, made one after another."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(MANY)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's mallopt; a no-op elsewhere")
def test_freed_memory_is_kept_for_a_while():
    with kept_memory():
        kept = min(faults() for _ in range(8))  # the first ones are new
    assert kept < 20
    assert faults() > 60  # huge pages of 2 MB at the least


def test_what_fails_inside_is_not_swallowed():
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
