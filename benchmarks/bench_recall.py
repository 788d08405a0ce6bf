"""Recall on public data: every channel's figures beside the published ones.

    python -m benchmarks.bench_recall [--seeds 3] [--only NAME] [--data FILE] [--keep]

A line is a file of benchmarks/recall, each seed of it a process of its own. Prints mean ± sd over
the seeds; the last line of standard output is the line's JSON (one such line each where all run).
Also appended to build/bench/recall.jsonl; --keep writes benchmarks/recall/results.json, of which
`make docs` makes the table on the page. Exit code 1 where a line failed or its data is missing.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import time
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.recall import BUILD, MISSING, ROOT, folder
from rich.console import Console
from rich.table import Table

LINES = ROOT / "benchmarks" / "recall"
KEPT = LINES / "results.json"
PROMISED = (
    "beauty-sasrec beauty-ease beauty-two-tower ml1m-sasrec gowalla-itemcf gowalla-swing "
    "gowalla-two-tower gowalla-ease deep-retrieval foursquare-geo itemcf-speed index"
)
"""The lines that the docs promise; others found beside them come after."""

LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMBA")
"""Whose threads are set, by NAME_NUM_THREADS."""
Result = dict[str, Any]


def names() -> list[str]:
    """Every line there is: the promised ones first."""
    found = {p.stem.replace("_", "-") for p in LINES.glob("*.py") if _is_line(p)}
    promised = [name for name in PROMISED.split() if name in found]
    return promised + sorted(found - set(promised))


def _is_line(path: Path) -> bool:
    """Whether a file defines `run` (others are parts that lines share)."""
    tree = ast.parse(path.read_text("utf-8"))
    return path.stem[0] != "_" and any(
        isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body
    )


def one_seed(name: str, seed: int, given: argparse.Namespace) -> Result | str:
    """What the line's process answers, or in words why it did not."""
    words = [sys.executable, "-m", "benchmarks.recall", name, str(seed)]
    words += [str(Path(given.data).resolve())] if given.data else []
    threads = {f"{lib}_NUM_THREADS": str(given.threads) for lib in LIBRARIES}
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **threads, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    result: Result | None = None
    for line in process.stdout:
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
        else:
            print(line, end="", flush=True)
    code = process.wait()
    if code == MISSING:
        return f"not run: its data is missing or cannot be read (see above; TAMIS_DATA={folder()})"
    if code or result is None:
        return f"failed (exit code {code})"
    return result


def summary(name: str, runs: list[Result], seconds: float) -> Result:
    """The line of JSON: means, standard deviations (0 of one seed), protocol, time."""
    keys = [key for key in runs[0]["metrics"] if all(key in run["metrics"] for run in runs)]
    values = {key: [run["metrics"][key] for run in runs] for key in keys}
    return {
        "name": name,
        "metrics": {key: _short(fmean(v)) for key, v in values.items()},
        "protocol": runs[0]["protocol"],
        "seconds": round(seconds, 1),
        "seeds": len(runs),
        "sd": {key: _short(_spread(v)) for key, v in values.items()},
        "peak_mb": round(max(run["peak_mb"] for run in runs)),
    }


def _spread(values: list[float]) -> float:
    """The standard deviation over the seeds; 0 of one seed, and of what is not always finite."""
    return stdev(values) if len(values) > 1 and all(map(isfinite, values)) else 0.0


def _short(value: float) -> float | None:
    """Five significant digits below 10, two decimals above; None (JSON's null) if not finite."""
    if not isfinite(value):
        return None
    return float(f"{value:.5g}") if abs(value) < 10 else round(value, 2)


def run_line(name: str, given: argparse.Namespace) -> Result:
    """All seeds of a line; `error` where it did not run."""
    print(f"{name}: {given.seeds} seed(s)", flush=True)
    start = time.perf_counter()
    runs: list[Result] = []
    for seed in range(given.seeds):
        answer = one_seed(name, seed, given)
        if isinstance(answer, str):
            print(f"{name}: {answer}", flush=True)
            return {"name": name, "error": answer}
        runs.append(answer)
    result = summary(name, runs, time.perf_counter() - start)
    with (BUILD / "recall.jsonl").open("a", encoding="utf-8") as file:
        data = {"data": str(given.data)} if given.data else {}
        file.write(json.dumps({**result, **data, "when": time.strftime("%FT%T")}) + "\n")
    return result


def table(results: list[Result]) -> Table:
    """A row per line, a cell of all its metrics."""
    out = Table("line", "mean ± sd over the seeds", "seeds", "seconds", "peak MB", box=None)
    for result in results:
        if "error" in result:
            out.add_row(result["name"], result["error"], "", "", "")
            continue
        sd = result["sd"]
        cells = [
            f"{key} –" if value is None else f"{key} {value:g}" + _plus(sd[key])
            for key, value in result["metrics"].items()
        ]
        row = [str(result["seeds"]), f"{result['seconds']:,.0f}", f"{result['peak_mb']:,}"]
        out.add_row(result["name"], "\n".join(cells), *row)
    return out


def _plus(sd: float) -> str:
    return f" ± {sd:.2g}" if sd else ""


def keep(results: list[Result]) -> None:
    """Writes what ran into the file that the docs' table is made of; other lines stay."""
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    kept |= {result["name"]: result for result in results if "error" not in result}
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="one line's name")
    parser.add_argument("--data", default="", help="another file of the line's format")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/recall/results.json")
    given = parser.parse_args()
    wanted = given.only.replace(",", " ").split() or names()
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        parser.error(f"there is no line {unknown[0]!r}; the lines are {', '.join(names())}")
    if given.seeds < 1:
        parser.error(f"--seeds {given.seeds}: at least 1")
    if given.data and len(wanted) > 1:
        parser.error("DATA= is for one line: name it by ONLY=")
    if given.data and given.keep:
        parser.error("the kept figures are those of the standard data: leave DATA= or KEEP= out")
    BUILD.mkdir(parents=True, exist_ok=True)
    results = [run_line(name, given) for name in wanted]
    Console(width=110).print(table(results))
    if given.keep:
        keep(results)
    done = [result for result in results if "error" not in result]
    for result in done:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    sys.exit(len(done) < len(results))


if __name__ == "__main__":
    main()
