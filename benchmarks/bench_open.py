"""What opening a version costs, with a million items: seconds by part, restart, memory of two.

    python -m benchmarks.bench_open [--project build/bench/million] [--items 1000000]

Every measurement is a process of its own. "opened" is from the folder to an object that answers,
in a process that has the libraries loaded, as when a service switches to it; "with imports" is the
first opening of the process; "first answer" includes the warm-up; "restart" is the whole program.
Memory is what the kernel counts for the process alone (private) and what it maps from files that
others may map, too. The second version differs from the first in its ranker alone; its other files
are hard links to the first's, or copies.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.million import million
from rich.console import Console
from rich.table import Table

from tamis.bundle import MANIFEST, Kind, Manifest, Version, Versions, files_of
from tamis.bundle.equal_files import link_equal_files

BUILD = Path(__file__).parent.parent / "build" / "bench"


def measured(project: Path, *words: str) -> dict[str, Any]:
    """The JSON that a process of this module prints."""
    command = [sys.executable, "-m", "benchmarks.bench_open", "--one", *words]
    began = perf_counter()
    done = subprocess.run(
        [*command, "--project", str(project)], stdout=subprocess.PIPE, text=True, check=True
    )
    return {**json.loads(done.stdout.splitlines()[-1]), "restart": perf_counter() - began}


def opened(project: Path) -> dict[str, Any]:
    """Seconds to open the version in this process, in total and by part."""
    from tamis.service import FORMATS, Recommender, registry
    from tamis.service.assembly import part_readers, read_config, read_part

    registry.look_in(project)
    version = Versions(project).current(Kind.SERVING)
    began = perf_counter()
    Recommender(version)
    with_imports = perf_counter() - began
    began, processor = perf_counter(), process_time()
    recommender = Recommender(version)
    total, total_processor = perf_counter() - began, process_time() - processor
    recommender.warm_up()
    first = perf_counter() - began
    parts: dict[str, float] = {}
    began = perf_counter()
    version.check(FORMATS)
    parts["checksums and sizes"] = perf_counter() - began
    for part, open_it in part_readers(read_config(version)).items():
        began = perf_counter()
        read_part(version.path / part, open_it)
        parts[part] = perf_counter() - began
    return {
        "opened": total,
        "with imports": with_imports,
        "processor": total_processor,
        "first answer": first,
        "parts": parts,
        "items": len(recommender.parts.items),
    }


def memory() -> dict[str, float]:
    """MB of this process: private, and mapped from files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {
        name: int(value.split()[0]) / 1024 for name, _, value in (x.partition(":") for x in lines)
    }
    private = found["Private_Clean"] + found["Private_Dirty"]
    return {"resident": found["Rss"], "anonymous": found["Anonymous"], "private": private}


def two(project: Path, other: str) -> dict[str, Any]:
    """Memory with one version open, and with another beside it."""
    from tamis.service import Recommender

    versions = Versions(project)
    one = Recommender(versions.current(Kind.SERVING))
    one.warm_up()
    before = memory()
    second = Recommender(versions.open(other))
    second.warm_up()
    after = memory()
    return {"before": before, "after": after}


def with_another_ranker(project: Path, *, linked: bool) -> str:
    """A copy of the serving version with other bytes in its ranker's files; its name."""
    versions = Versions(project)
    source = versions.current(Kind.SERVING)
    name = f"{source.name}-{'linked' if linked else 'copied'}"
    folder = versions.root / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source.path, folder)
    about = folder / "rank" / "estimator.json"
    about.write_text(about.read_text("utf-8") + "\n", "utf-8")
    files = files_of(folder)
    if linked:
        link_equal_files(folder, files, [(source.path, source.manifest.files)])
    Manifest(**{**vars(source.manifest), "name": name, "files": files}).write(folder / MANIFEST)
    return Version(folder, Manifest.read(folder / MANIFEST)).name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, default=BUILD / "million")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        result = two(given.project, given.one[0]) if given.one else opened(given.project)
        print(json.dumps(result))
        return
    million(given.project, given.items, given.users)
    once = measured(given.project)
    table = Table("opening", "seconds", title=f"{once['items']:,} items", box=None)
    for name in ("opened", "processor", "first answer", "with imports", "restart"):
        table.add_row(name, f"{once[name]:.2f}")
    for name, seconds in sorted(once["parts"].items(), key=lambda pair: -pair[1])[:8]:
        table.add_row(f"  {name}", f"{seconds:.3f}")
    Console().print(table)
    table = Table("second version", "resident MB", "anonymous MB", "private MB", box=None)
    results: dict[str, Any] = {"opening": once}
    with tempfile.TemporaryDirectory(dir=given.project.parent) as place:
        project = Path(place) / "project"
        shutil.copytree(given.project, project, copy_function=os.link)
        for linked in (True, False):
            name = with_another_ranker(project, linked=linked)
            found = results["linked" if linked else "copied"] = measured(project, name)
            more = {k: found["after"][k] - found["before"][k] for k in found["after"]}
            table.add_row(
                "equal files linked" if linked else "equal files copied",
                *(f"+{more[k]:,.0f}" for k in ("resident", "anonymous", "private")),
            )
    Console().print(table)
    (BUILD / "open.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
