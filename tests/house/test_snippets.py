"""The code of README.md and docs/ is run: Python blocks, TOML blocks and commands that only read.

A block that cannot run has `<!-- not run: reason -->` on the line before it.
"""

import contextlib
import io
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tamis.schema import parse_config, parse_features
from tamis.service import registry

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
SIMULATED = {"docs/tutorial-shop.md": "shop", "docs/tutorial-feed.md": "feed"}
"""Pages whose project is simulated, with its folder."""
READ_ONLY = ("doctor", "recommend", "versions")
"""Commands that are run: they are fast and change nothing."""
BASE = """
name = "snippet"

[events]
path = "events.csv"
behaviour = "behaviour"
value = "value"

[items]
path = "items.csv"
id = "item_id"
category = "category"
author = "author_id"
published = "published"
latitude = "latitude"
longitude = "longitude"
city = "city"

[users]
path = "users.csv"
id = "user_id"
city = "city"

[behaviours.impression]
impression = true

[behaviours.click]
positive = true

[behaviours.like]
[behaviours.cart]
[behaviours.purchase]
[behaviours.watch]

[cascade.channels.hot]

[cascade.rank]
use = "deepfm"
"""
"""What a fragment of tamis.toml is completed with."""
TASKS = """
[tasks.click]
[tasks."like|click"]
[tasks."cart|click"]
[tasks."purchase|click"]
[tasks."watch|click"]
kind = "watch_time"
"""
"""The tasks of a fragment that has a fusion and declares no tasks."""
SECTIONS = {"recall": "channels", "filters": "filters", "rerank": "rerank"}
"""Kind of stage -> its tables below [cascade]."""


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    page: str
    line: int
    language: str
    title: str
    code: str
    reason: str | None
    """Why the block is not run; None if it is run."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages (all of them if none is given)."""
    return blocks_of((ROOT / page).read_text("utf-8"), page, *languages)


def blocks_of(text: str, page: str, *languages: str) -> list[Block]:
    """The fenced blocks of a text, each with the mark on the line before it."""
    pattern = r'^```([\w-]+)(?: title="(.*?)")?\n(.*?)^```'
    found = []
    for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        mark = re.fullmatch(r"<!-- not run:\s*(.*?)\s*-->", before)
        line = text[: match.start()].count("\n") + 1
        reason = mark[1] if mark else None
        found.append(Block(page, line, match[1], match[2] or "", match[3], reason))
    return [block for block in found if not languages or block.language in languages]


def pages_with(*languages: str) -> list[str]:
    return [page for page in PAGES if any(b.reason is None for b in blocks(page, *languages))]


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """`folder(page)`: a folder with the projects and tables that the page names, and its files."""

    def prepare(page: str) -> Path:
        if page in SIMULATED:
            shutil.copytree(request.getfixturevalue("simulated"), tmp_path / SIMULATED[page])
        else:
            numbered: Path = request.getfixturevalue("numbered")
            for name in ("films", "shop", "tamis-demo"):
                shutil.copytree(numbered, tmp_path / name)
            ratings = pl.read_csv(numbered.parent / "ratings.csv")
            ratings.write_csv(tmp_path / "ratings.csv")
            ratings.rename({"timestamp": "time"}).write_csv(tmp_path / "events.csv")
        for block in blocks(page, "python", "toml"):
            if block.title:
                (tmp_path / block.title).write_text(block.code, "utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        monkeypatch.setenv("TAMIS_STORE", "redis://127.0.0.1:6379/0")
        return tmp_path

    return prepare


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run(page: str, folder: Callable[[str], Path]) -> None:
    """In order, in one namespace per page. Blocks with a title are files, which other tests run."""
    folder(page)
    namespace: dict[str, Any] = {"__name__": page}
    for block in blocks(page, "python"):
        if block.reason is None and not block.title:
            code = "\n" * block.line + block.code  # tracebacks then give the line of the page
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, str(ROOT / page), "exec"), namespace)


@pytest.mark.parametrize("page", pages_with("toml"))
def test_toml_blocks_build_their_stages(page: str, folder: Callable[[str], Path]) -> None:
    titled = [b for b in blocks(page, "python") if b.title]
    if titled:
        registry.look_in(folder(page))
    for block in blocks(page, "toml"):
        if block.reason is None:
            try:
                check_toml(block.code)
            except Exception as error:
                error.add_note(f"in the block at {block.place}")
                raise
    for block in titled:
        sys.modules.pop(Path(block.title).stem, None)


def check_toml(code: str) -> None:
    """Completes a fragment of tamis.toml, checks it, and builds every stage that it declares."""
    declared = tomllib.loads(code)
    if list(declared) == ["features"]:
        parse_features(declared, "features.toml")
        return
    if list(declared) == ["fusion"]:
        declared = {"cascade": declared}
    base = tomllib.loads(BASE)
    if "fusion" in declared.get("cascade", {}) and "tasks" not in declared:
        base |= tomllib.loads(TASKS)
    config = parse_config(completed(declared, base))
    for kind, section in SECTIONS.items():
        for name, stage in getattr(config.cascade, section).items():
            registry.build(kind, name, stage)
    registry.build("rank", "rank", config.cascade.rank)
    if config.cascade.prerank is not None:
        registry.build("prerank", "prerank", config.cascade.prerank)


def completed(declared: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`declared` with the missing tables and keys of `base`."""
    whole = dict(base)
    for key, value in declared.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        whole[key] = completed(value, base[key]) if both else value
    return whole


def commands(code: str) -> list[list[str]]:
    """The arguments of every `tamis …` command of a block."""
    lines = re.sub(r"\\\n", " ", code).splitlines()
    found = [
        shlex.split(part, comments=True)
        for line in lines
        for part in re.split(r"&&|;", re.sub(r"^\$ ", "", line))
    ]
    return [words[1:] for words in found if words and words[0].rsplit("/", 1)[-1] == "tamis"]


def read_only(page: str) -> list[tuple[Block, list[str]]]:
    return [
        (block, words)
        for block in blocks(page, "sh", "console")
        if block.reason is None
        for words in commands(block.code)
        if words and words[0] in READ_ONLY
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if read_only(page)])
def test_commands_that_only_read_run(
    page: str, folder: Callable[[str], Path], tamis_cli: Callable[..., Any]
) -> None:
    place = folder(page)
    for block, words in read_only(page):
        assert (place / words[1]).is_dir(), f"{block.place}: no project {words[1]} is prepared"
        said = tamis_cli(*words)
        assert said.code == 0, f"{block.place}: tamis {shlex.join(words)}\n{said.err}"


def test_blocks_that_are_not_run_have_a_reason() -> None:
    unexplained = [
        block.place
        for page in PAGES
        for block in blocks(page)
        if block.reason is not None and len(block.reason) < 10
    ]
    assert not unexplained, f"write why, <!-- not run: reason -->: {unexplained}"


def test_a_mark_without_a_reason_is_found() -> None:
    text = (
        "<!-- not run: -->\n```python\n1 / 0\n```\n<!-- not run: it never ends -->\n\n```sh\n```\n"
    )
    assert [b.reason for b in blocks_of(text, "page.md")] == ["", "it never ends"]
    assert [b.line for b in blocks_of(text, "page.md")] == [2, 7]


def test_commands_are_found_in_a_block() -> None:
    code = "tamis init a && tamis train a  # both\n$ .venv/bin/tamis versions \\\n  a\nmake demo\n"
    assert commands(code) == [["init", "a"], ["train", "a"], ["versions", "a"]]
