"""What the machine can do: native bfloat16, threads; and memory kept between training steps."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from tamis.schema import ConfigError

BFLOAT16 = "TAMIS_BFLOAT16"
"""Environment variable that replaces the detection of native bfloat16: 0 = absent, 1 = present."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Of glibc's mallopt: see mallopt(3). What is set at the end is what glibc itself grows to."""
_kept_memory_allowed = False
"""Set by `allow_kept_memory`."""


def native_bfloat16(device_type: str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 in hardware (CPU: AVX512-BF16, AMX, Arm bf16).

    The environment variable TAMIS_BFLOAT16 (0 or 1), where set, is returned instead.

    Raises:
        ConfigError: TAMIS_BFLOAT16 is set to something else.
    """
    given = os.environ.get(BFLOAT16)
    if given is None:
        return _detected(device_type)
    if given not in ("0", "1"):
        raise ConfigError(
            f"environment variable {BFLOAT16} is {given!r}: set it to 0 (treat the device as one "
            "without native bfloat16) or 1 (as one with it), or unset it to detect the hardware"
        )
    return given == "1"


@cache
def _detected(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    if device_type != "cpu" or not info.is_file():
        return False
    flags: set[str] = set()
    for line in info.read_text().splitlines():
        if line.lower().startswith(("flags", "features")):
            flags = set(line.split())
            break
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def use_bfloat16(choice: str, device_type: str) -> bool:
    """Whether to use bfloat16, by the value of `FitOptions.bfloat16`: "auto", "on" or "off"."""
    return native_bfloat16(device_type) if choice == "auto" else choice == "on"


def check_device(name: str) -> torch.device:
    """The device that a name such as "cpu", "cuda:1" or "mps" stands for.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device {name!r} is unknown: give cpu, cuda, cuda:NUMBER or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = f"torch finds {torch.cuda.device_count()} CUDA devices here"
        raise ConfigError(
            f"device {name!r} is not available: {there}; give another device, such as cpu, or "
            "check the driver and that torch was installed with CUDA"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            f"device {name!r} is not available: torch finds no Apple GPU here; give another "
            "device, such as cpu"
        )
    return device


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Sets the number of torch's threads within a `with` block; None leaves it unchanged."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if n is not None:
            torch.set_num_threads(before)


def allow_kept_memory() -> None:
    """Allows `kept_memory` to change the memory allocator of this process, from now on.

    Call it in a process that only trains, as the commands `train`, `evaluate channels` and
    `demo` do. Do not call it in a service: the settings of the allocator apply to all its threads.
    """
    global _kept_memory_allowed
    _kept_memory_allowed = True


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, freed memory stays with the process; it is returned at the end.

    Without effect unless `allow_kept_memory` was called, and with C libraries other than glibc.

    glibc maps every array above 32 MB anew and unmaps it when it is freed. Where each training step
    allocates such arrays (logits and gradients of a whole catalogue), the kernel spends as long on
    clearing pages as the step takes (two-tower model on Gowalla: 61 s of processor time per epoch,
    36 s with this). The peak may grow by the memory that is free between two steps.
    """
    if not _kept_memory_allowed or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 2**16)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)
