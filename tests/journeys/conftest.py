"""Small projects, and the command line called as a user calls it."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tamis.cli import main

GENRES = ("Drama", "Comedy|Romance", "Horror|Thriller")
"""One per clan."""
MOODS = ("sad", "gay", "grim")


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

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
    """`tamis WORDS` in this process; whatever is not an error made to be read is raised."""
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


def write_ratings(folder: Path, users: int = 300, items: int = 200, each: int = 24) -> Path:
    """Three clans of taste: a user likes the films of his clan and rates some others badly."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    films = [
        f'm{i},"Film {i}, the {MOODS[i % 3]} one ({1990 + i % 20})",{GENRES[i % 3]}'
        for i in range(items)
    ]
    (folder / "items.csv").write_text("item_id,title,genres\n" + "\n".join(films) + "\n", "utf-8")
    people = [f"u{u},{'FM'[u % 2]},{18 + u % 50}" for u in range(users)]
    (folder / "users.csv").write_text("user_id,gender,age\n" + "\n".join(people) + "\n", "utf-8")
    lines: list[tuple[int, str]] = []
    for u in range(users):
        own = random.random(each) < 0.8
        first = (items * random.beta(1, 2, size=each)).astype(int) // 3 * 3
        shift = np.where(own, u % 3, random.integers(0, 3, each))
        for item in np.unique(np.minimum(first + shift, items - 1)):
            liked = item % 3 == u % 3
            rating = random.integers(4, 6) if liked else random.integers(1, 4)
            time = 1_600_000_000 + int(random.integers(0, 100 * 86_400))
            lines.append((time, f"u{u},m{item},{rating},{time}"))
    text = "\n".join(line for _, line in sorted(lines))
    (folder / "events.csv").write_text(f"user_id,item_id,rating,timestamp\n{text}\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def tamis_cli() -> Callable[..., Said]:
    return call


@pytest.fixture(scope="session")
def ratings_tables() -> Callable[..., Path]:
    return write_ratings


@pytest.fixture(scope="session")
def ratings(made_once: Callable[..., Path]) -> Path:
    """A trained project of ratings; tests read it and copy it, none changes it."""

    def make(folder: Path) -> None:
        write_ratings(folder)
        assert call("init", folder).code == 0
        declared = (folder / "tamis.toml").read_text("utf-8").replace("= 300", "= 60")
        (folder / "tamis.toml").write_text(declared, "utf-8")  # quotas for 200 films, not thousands
        for words in (("doctor", folder), ("train", folder, "--json")):
            said = call(*words)
            assert said.code == 0, said

    return made_once("films", make)


@pytest.fixture(scope="session")
def simulated(made_once: Callable[..., Path]) -> Path:
    """A trained project of impressions and several tasks."""

    def make(folder: Path) -> None:
        words = ("simulate", "--items", 300, "--users", 400, "--days", 20, "--out", folder)
        for command in (words, ("train", folder, "--json")):
            said = call(*command)
            assert said.code == 0, said

    return made_once("shop", make)
