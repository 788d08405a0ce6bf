"""What every package needs of the machine: array types, threads, memory and progress."""

from tamis.runtime.arrays import (
    Bool,
    Float32,
    Float64,
    Floats,
    Index,
    Int32,
    Int64,
    Ints,
    UInt32,
    read_only,
)
from tamis.runtime.background import run_in_background
from tamis.runtime.growing import grown, with_unknown
from tamis.runtime.memory import peak_mb, reset_peak, resident_mb
from tamis.runtime.progress import Progress
from tamis.runtime.ranks import mean_ranks
from tamis.runtime.row_by_row import row_by_row
from tamis.runtime.stage_meter import Meter
from tamis.runtime.threads import in_blocks, one_blas_thread, scratch, threads

__all__ = [
    "Bool",
    "Float32",
    "Float64",
    "Floats",
    "Index",
    "Int32",
    "Int64",
    "Ints",
    "Meter",
    "Progress",
    "UInt32",
    "grown",
    "in_blocks",
    "mean_ranks",
    "one_blas_thread",
    "peak_mb",
    "read_only",
    "reset_peak",
    "resident_mb",
    "row_by_row",
    "run_in_background",
    "scratch",
    "threads",
    "with_unknown",
]
