"""What every package needs of the machine: array types, threads, memory and progress."""

from tamis.runtime.arrays import Bool, Float32, Float64, Floats, Index, Int32, Int64, Ints, UInt32
from tamis.runtime.progress import progress_bar
from tamis.runtime.stage_meter import Meter, resident_mb
from tamis.runtime.steps import Bar, Steps

__all__ = [
    "Bar",
    "Bool",
    "Float32",
    "Float64",
    "Floats",
    "Index",
    "Int32",
    "Int64",
    "Ints",
    "Meter",
    "Steps",
    "UInt32",
    "progress_bar",
    "resident_mb",
]
