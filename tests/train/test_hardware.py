"""What a fit may ask of the machine."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from tamis.train import kept_memory

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
