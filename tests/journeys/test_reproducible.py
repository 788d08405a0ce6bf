"""The same data and seed give the same version for any number of threads and order of hashes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

MAY_DIFFER = {
    "version.json": "the time at which it was written, seconds and memory of the stages",
}
"""Files of a version whose bytes differ from run to run, and why."""

CASCADE = """
name = "same"
clock = "data"
repeats = true
[events]
path = "events.csv"
time = "timestamp"
value = "rating"
[items]
path = "items.csv"
id = "item_id"
category = "genres"
category_separator = "|"
[users]
path = "users.csv"
id = "user_id"
[behaviours.like]
min_value = 4.0
positive = true
[behaviours.rate]
weight = 0.0
[split]
windows = 2
[[features]]
kind = "sparse"
name = "gender"
side = "user"
[[features]]
kind = "dense"
name = "age"
side = "user"
[[features]]
kind = "varlen"
name = "genres"
side = "item"
separator = "|"
[cascade.prerank]
use = "gbdt"
trees = 20
[cascade.rank]
use = "deepfm"
epochs = 1
"""
SMALL = {"epochs": 1, "embedding_dim": 8}
CHANNELS = {
    "again": {},
    "content": {},
    "deep_retrieval": {**SMALL, "layers": 2, "nodes": 6, "beam": 20, "training_beam": 10},
    "ease": {},
    "fm": SMALL,
    "hot": {},
    "itemcf": {},
    "mf": SMALL,
    "sasrec": SMALL,
    "swing": {},
    "two_tower": SMALL,
}


def declared() -> str:
    lines = [CASCADE]
    for name, options in CHANNELS.items():
        lines += [f"[cascade.channels.{name}]", "quota = 40"]
        lines += [f"{key} = {value}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


def trained(folder: Path, threads: int, hash_seed: int) -> dict[str, str]:
    """{file of the version: SHA-256 of its bytes} of a training in a process of its own."""
    count = str(threads)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": str(hash_seed),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "POLARS_MAX_THREADS": count,
        "OMP_WAIT_POLICY": "passive",  # threads that wait would take the time of others
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from tamis.cli import main; main()",
            "train",
            folder,
            "--only",
            "serving",
            "--json",
        ],
        env=environment,
        check=True,
        capture_output=True,
    )
    version = folder / "versions" / (folder / "versions" / "serving").read_text("utf-8").strip()
    return {
        str(path.relative_to(version)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(version.rglob("*"))
        if path.is_file()
    }


def test_a_version_does_not_depend_on_threads_and_hashes(ratings_tables, tmp_path):
    found = []
    for k, (threads, hash_seed) in enumerate([(1, 1), (2, 2)]):
        folder = ratings_tables(tmp_path / str(k) / "same", users=120, items=60, each=12)
        (folder / "tamis.toml").write_text(declared(), "utf-8")
        found.append(trained(folder, threads, hash_seed))
    first, second = found
    assert set(first) == set(second)
    assert {name for name in first if first[name] != second[name]} <= set(MAY_DIFFER)
    assert len(first) > 50
