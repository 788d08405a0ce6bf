"""Recall on public data: every channel's figures beside the published ones.

    python -m benchmarks.bench_recall [--seeds 3] [--only NAME] [--data FILE] [--keep]

A line is a file of benchmarks/recall, each seed of it a process of its own. Prints mean ± sd over
the seeds; the last line of standard output is the line's JSON (one such line each where all run).
Also appended to build/bench/recall.jsonl (or --results FILE); --keep writes
benchmarks/recall/results.json, of which `make docs` makes the table on the page. Exit code 1 where
a line failed or its data is missing.
"""

from __future__ import annotations

from benchmarks import harness

SUITE = harness.suite_of(
    "recall",
    "beauty-sasrec beauty-ease beauty-two-tower ml1m-sasrec gowalla-itemcf gowalla-swing "
    "gowalla-two-tower gowalla-ease deep-retrieval foursquare-geo itemcf-speed index",
)

if __name__ == "__main__":
    harness.main(SUITE, __doc__.splitlines()[0])
