"""Shared by all tests: one thread per process, small projects trained once, the command line."""

import compileall
import contextlib
import fcntl
import gc
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

# Set before numpy, torch and polars are loaded. `make test` runs one worker per core; threads of
# each would wait for one another, spinning, and take twice the processor time.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, "1")

# Bytecode for all processes that tests start, once, before the workers start. Without it, and with
# PYTHONDONTWRITEBYTECODE, each process would compile the 400 modules of the package anew: 0.8 s.
if "PYTEST_XDIST_WORKER" not in os.environ:
    compileall.compile_dir(Path(__file__).parents[1] / "src" / "tamis", quiet=2)

import numpy as np  # noqa: E402

os.environ["COLUMNS"] = "240"  # consoles read their width once; tests compare whole lines

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The first example may compile kernels, and machines are of different speeds.
settings.register_profile("tamis", deadline=None)
settings.load_profile("tamis")

GENRES = ("Drama", "Comedy|Romance", "Horror|Thriller")
"""One per group of taste."""
MOODS = ("sad", "gay", "grim")

SHOWN = """
name = "shown"
[events]
path = "events.csv"
behaviour = "what"
request = "request"
[items]
path = "items.csv"
id = "item_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[split]
windows = 2
[cascade.channels.hot]
quota = 12
[cascade.filters.exposed]
months = 2
target = 0.0001
[cascade.rank]
use = "lr"
epochs = 1
"""
"""A project of impressions; nobody is shown an item twice."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The objects that the imports of all test modules make, 600,000, stay until the end. The
    garbage collector does not look through them again and again (0.2 s each time), and looks less
    often: tests and kernels that compile make many objects that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(7_000, 10, 10)
        gc.enable()


@dataclass(frozen=True)
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def problems(self) -> str:
        """Standard error without the lines of the progress, "job: stage … 1.2 s"."""
        lines = self.err.splitlines()
        return "\n".join(
            line for line in lines if not re.fullmatch(r"[a-z ]+: .* … \d+\.\d s", line)
        )

    @property
    def json(self):
        return json.loads(self.out)


def call(*words: object) -> Said:
    """`tamis WORDS` in this process; an exception that is not a reported error is raised."""
    from tamis.cli import main  # not at the top: tests of small packages need no command line

    if words[:1] == ("evaluate",):
        from tamis.jobs import _latency

        _latency.REQUESTS = 40  # of 500: tests read that it is measured, not the figure
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["tamis", *map(str, words)]
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "240"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code: int | str | None = 0
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return Said(int(code or 0), out.getvalue(), err.getvalue())


def write_ratings(
    folder: Path,
    users: int = 300,
    items: int = 200,
    each: int = 24,
    user: str = "u{}",
    item: str = "m{}",
) -> Path:
    """Three groups of taste: users like the films of their group and rate some others badly.

    `user` and `item` format the ids of user and item number 0, 1, …
    """
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    films = [
        f'{item.format(i)},"Film {i}, the {MOODS[i % 3]} one ({1990 + i % 20})",{GENRES[i % 3]}'
        for i in range(items)
    ]
    (folder / "items.csv").write_text("item_id,title,genres\n" + "\n".join(films) + "\n", "utf-8")
    people = [f"{user.format(u)},{'FM'[u % 2]},{18 + u % 50}" for u in range(users)]
    (folder / "users.csv").write_text("user_id,gender,age\n" + "\n".join(people) + "\n", "utf-8")
    lines: list[tuple[int, str]] = []
    for u in range(users):
        own = random.random(each) < 0.8
        first = (items * random.beta(1, 2, size=each)).astype(int) // 3 * 3
        shift = np.where(own, u % 3, random.integers(0, 3, each))
        for film in np.unique(np.minimum(first + shift, items - 1)):
            liked = film % 3 == u % 3
            rating = random.integers(4, 6) if liked else random.integers(1, 4)
            time = 1_600_000_000 + int(random.integers(0, 100 * 86_400))
            ids = f"{user.format(u)},{item.format(film)}"
            lines.append((time, f"{ids},{rating},{time}"))
    text = "\n".join(line for _, line in sorted(lines))
    (folder / "events.csv").write_text(f"user_id,item_id,rating,timestamp\n{text}\n", "utf-8")
    return folder


def lighten(folder: Path) -> None:
    """Quotas for 200 films, not thousands, and short fits: tests check the way, not the quality."""
    declared = (folder / "tamis.toml").read_text("utf-8")
    tower = "[cascade.channels.two_tower]\n"
    for usual, light in (
        ("= 300", "= 60"),
        ("quota = 200", "quota = 90"),
        ("epochs = 4", "epochs = 2"),
        ("epochs = 6", "epochs = 2"),
        ("hidden_units = [128, 64]", "hidden_units = [32, 16]"),
        (tower, tower + "epochs = 3\n"),
    ):
        assert usual in declared, f"`tamis init` no longer writes {usual}"
        declared = declared.replace(usual, light)
    (folder / "tamis.toml").write_text(declared, "utf-8")


@pytest.fixture(scope="session")
def tamis_cli() -> Callable[..., Said]:
    return call


@pytest.fixture(scope="session")
def ratings_tables() -> Callable[..., Path]:
    return write_ratings


@pytest.fixture(scope="session")
def ratings(made_once: Callable[..., Path]) -> Path:
    """A trained project of ratings; tests read or copy it and do not change it."""

    def make(folder: Path) -> None:
        write_ratings(folder)
        assert call("init", folder).code == 0
        lighten(folder)
        for words in (("doctor", folder), ("train", folder, "--json")):
            said = call(*words)
            assert said.code == 0, said

    return made_once("films", make)


@pytest.fixture(scope="session")
def simulated(made_once: Callable[..., Path]) -> Path:
    """A trained project of impressions and several tasks."""

    def make(folder: Path) -> None:
        words = ("simulate", "--items", 300, "--users", 400, "--days", 20, "--out", folder)
        said = call(*words)
        assert said.code == 0, said
        declared = (folder / "tamis.toml").read_text("utf-8")
        (folder / "tamis.toml").write_text('groups = "auto"\n' + declared, "utf-8")
        said = call("train", folder, "--json")
        assert said.code == 0, said

    return made_once("shop", make)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`made_once(name, make)`: a folder that `make(folder)` fills in one of the workers of
    pytest-xdist and all of them read. If `make` fails, the next worker that asks tries again."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        parent = shared / f"shared-{name}"
        parent.mkdir(exist_ok=True)
        with (parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = parent / "done"
            if not done.exists():
                make(parent / name)
                done.touch()
        return parent / name

    return folder


@pytest.fixture(scope="session")
def corner(made_once: Callable[..., Path]) -> Path:
    """A trained project without files: its events and items are in its journal."""

    def make(folder: Path) -> None:
        from tamis.testing import corner_shop

        corner_shop(folder)
        said = call("train", folder)
        assert said.code == 0, said.err

    return made_once("corner", make)


@pytest.fixture(scope="session")
def numbered(made_once: Callable[..., Path]) -> Path:
    """A project of ratings whose ids are numbers, as on the pages (user 42, item 1193).

    Only its serving version is trained. `ratings.csv` has the ratings with the ages of the users.
    """

    def make(folder: Path) -> None:
        write_ratings(folder, user="{}", item="1{:03}")
        users = (folder / "users.csv").read_text("utf-8").splitlines()[1:]
        age = {line.split(",")[0]: line.rsplit(",", 1)[1] for line in users}
        head, *rows = (folder / "events.csv").read_text("utf-8").splitlines()
        aged = [f"{row},{age[row.split(',')[0]]}" for row in rows]
        (folder.parent / "ratings.csv").write_text(
            "\n".join([f"{head},age", *aged]) + "\n", "utf-8"
        )
        assert call("init", folder).code == 0
        lighten(folder)
        said = call("train", folder, "--only", "serving", "--json")
        assert said.code == 0, said

    return made_once("numbered", make)


@pytest.fixture(scope="session")
def another_version() -> Callable[..., object]:
    """`another_version(project, name, slate)`: a copy of the serving version, not published, with
    `name` in its titles and slates of `slate` items, so that answers show which version made them.
    """
    import polars as pl

    from tamis.bundle import MANIFEST, Kind, Manifest, Version, Versions, files_of

    def copy(project: Path, name: str, slate: int) -> Version:
        versions = Versions(project)
        folder = versions.root / name
        shutil.copytree(versions.current(Kind.SERVING).path, folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        config["cascade"]["slate"] = slate
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        table = folder / "tables" / "items.parquet"
        items = pl.read_parquet(table)
        items.with_columns(title=pl.lit(name) + " " + pl.col("title")).write_parquet(table)
        manifest = Manifest.read(folder / MANIFEST)
        changed = {"name": name, "created": f"{name}T", "files": files_of(folder)}
        Manifest(**{**vars(manifest), **changed}).write(folder / MANIFEST)
        return versions.open(name)

    return copy


@pytest.fixture(scope="session")
def shown_once(made_once: Callable[..., Path]) -> Path:
    """A trained project of impressions with the filter `exposed`: 12 items; each request showed
    three, and user u0 has been shown m0 and m1 only."""

    def make(folder: Path) -> None:
        folder.mkdir()
        draw = np.random.default_rng(0)
        lines = []
        for request in range(300):
            user, time = int(draw.integers(1, 20)), 1_700_000_000 + 3600 * request
            for item in draw.choice(12, 3, replace=False).tolist():
                lines.append(f"u{user},m{item},show,{time},{request}")
                if draw.random() < 0.4:
                    lines.append(f"u{user},m{item},click,{time + 1},{request}")
        lines += [f"u0,m{item},show,{time + 10 + item},300" for item in (0, 1)]
        head = "user_id,item_id,what,time,request"
        (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n", "utf-8")
        items = [f"m{item},{'ab'[item % 2]}" for item in range(12)]
        (folder / "items.csv").write_text("\n".join(["item_id,kind", *items]) + "\n", "utf-8")
        (folder / "tamis.toml").write_text(SHOWN, "utf-8")
        said = call("train", folder, "--only", "serving", "--json")
        assert said.code == 0, said

    return made_once("shown", make)
