"""Runs the lines of a suite: a folder of benchmarks, a file per line, a process per seed.

A line holds `PROTOCOL: str` and `run(seed, data, say) -> {metric: value}`; `data` is the file or
folder given by DATA=, None for the standard place; `say` takes a line of progress.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.peers import process_environment
from benchmarks.places import BUILD, MISSING, ROOT, folder
from rich.console import Console
from rich.table import Table

Result = dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """The lines of benchmarks/NAME."""

    name: str
    """Of its folder."""
    promised: tuple[str, ...]
    """The lines that the docs promise; others found beside them come after."""

    @property
    def lines(self) -> Path:
        """The folder that holds a file per line."""
        return ROOT / "benchmarks" / self.name

    @property
    def kept(self) -> Path:
        """What --keep writes, and the docs' page is made of."""
        return self.lines / "results.json"

    def names(self) -> list[str]:
        """Every line there is: the promised ones first."""
        found = {p.stem.replace("_", "-") for p in self.lines.glob("*.py") if _is_line(p)}
        promised = [name for name in self.promised if name in found]
        return promised + sorted(found - set(promised))


def _is_line(path: Path) -> bool:
    """Whether a file defines `run` (others are parts that lines share)."""
    tree = ast.parse(path.read_text("utf-8"))
    return path.stem[0] != "_" and any(
        isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body
    )


def one_seed(suite: Suite, name: str, seed: int, given: argparse.Namespace) -> Result | str:
    """What the line's process answers, or in words why it did not."""
    words = [sys.executable, "-m", "benchmarks.one_seed", suite.name, name, str(seed)]
    words += [str(Path(given.data).resolve())] if given.data else []
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=process_environment(given.threads),
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
    """The line of JSON: means, standard deviations (0 of one seed), protocol, time.

    What the first seed alone measures (other libraries, which take most of a line's time) has no
    standard deviation.
    """
    values = {
        key: [run["metrics"][key] for run in runs if key in run["metrics"]]
        for key in runs[0]["metrics"]
    }
    return {
        "name": name,
        "metrics": {key: _short(fmean(v)) for key, v in values.items()},
        "protocol": runs[0]["protocol"],
        "seconds": round(seconds, 1),
        "seeds": len(runs),
        "sd": {key: _short(_spread(v)) for key, v in values.items() if len(v) == len(runs)},
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


def run_line(suite: Suite, name: str, given: argparse.Namespace) -> Result:
    """All seeds of a line; `error` where it did not run."""
    print(f"{name}: {given.seeds} seed(s)", flush=True)
    start = time.perf_counter()
    runs: list[Result] = []
    for seed in range(given.seeds):
        answer = one_seed(suite, name, seed, given)
        if isinstance(answer, str):
            print(f"{name}: {answer}", flush=True)
            return {"name": name, "error": answer}
        runs.append(answer)
    result = summary(name, runs, time.perf_counter() - start)
    with given.results.open("a", encoding="utf-8") as file:
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
            f"{key} –" if value is None else f"{key} {value:g}" + _plus(sd.get(key, 0.0))
            for key, value in result["metrics"].items()
        ]
        row = [str(result["seeds"]), f"{result['seconds']:,.0f}", f"{result['peak_mb']:,}"]
        out.add_row(result["name"], "\n".join(cells), *row)
    return out


def _plus(sd: float) -> str:
    return f" ± {sd:.2g}" if sd else ""


def keep(suite: Suite, results: list[Result]) -> None:
    """Writes what ran into the file that the docs' table is made of; other lines stay."""
    kept = json.loads(suite.kept.read_text("utf-8")) if suite.kept.exists() else {}
    kept |= {result["name"]: result for result in results if "error" not in result}
    suite.kept.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def arguments(suite: Suite, about: str) -> tuple[argparse.Namespace, list[str]]:
    """What the command line says, checked; the lines wanted."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="one line's name")
    parser.add_argument("--data", default="", help="another file of the line's format")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help=f"write {suite.kept.relative_to(ROOT)}")
    parser.add_argument(
        "--results",
        type=Path,
        default=BUILD / f"{suite.name}.jsonl",
        help="file to append every line's JSON to",
    )
    given = parser.parse_args()
    wanted = given.only.replace(",", " ").split() or suite.names()
    unknown = [name for name in wanted if name not in suite.names()]
    if unknown:
        parser.error(f"there is no line {unknown[0]!r}; the lines are {', '.join(suite.names())}")
    if given.seeds < 1:
        parser.error(f"--seeds {given.seeds}: at least 1")
    if given.data and len(wanted) > 1:
        parser.error("DATA= is for one line: name it by ONLY=")
    if given.data and given.keep:
        parser.error("the kept figures are those of the standard data: leave DATA= or KEEP= out")
    return given, wanted


def main(suite: Suite, about: str) -> None:
    """The whole command: lines, table, one line of JSON each; exit code 1 where one did not run."""
    given, wanted = arguments(suite, about)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    results = [run_line(suite, name, given) for name in wanted]
    Console(width=110).print(table(results))
    if given.keep:
        keep(suite, results)
    done = [result for result in results if "error" not in result]
    for result in done:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    sys.exit(len(done) < len(results))


def suite_of(name: str, promised: str | Sequence[str]) -> Suite:
    """A suite whose promised lines are written in one text, blanks between them."""
    return Suite(name, tuple(promised.split() if isinstance(promised, str) else promised))
