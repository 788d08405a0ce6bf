"""Pre-rank and rank on public and simulated data: quality, calibration, speed.

    python -m benchmarks.bench_rank [--seeds 3] [--only NAME] [--data FILE] [--keep]

A line is a file of benchmarks/rank, each seed of it a process of its own. Prints mean ± sd over the
seeds; the last line of standard output is the line's JSON (one such line each where all run). Also
appended to build/bench/rank.jsonl (or --results FILE); --keep writes benchmarks/rank/results.json.
Exit code 1 where a line failed or its data is missing.
"""

from __future__ import annotations

from benchmarks import harness

SUITE = harness.suite_of(
    "rank",
    "frappe ml1m-ctr ml1m-din funnel kuairand calibration watch-time scoring prerank",
)

if __name__ == "__main__":
    harness.main(SUITE, __doc__.splitlines()[0])
