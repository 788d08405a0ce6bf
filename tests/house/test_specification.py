"""The page of the specification names files, options, commands and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "specification.md").read_text("utf-8")
HEADER = "| what | where | how to reach it | test |"


class Clause(NamedTuple):
    what: str
    files: list[str]
    how: str
    tests: list[str]


def rows(page: str) -> list[list[str]]:
    """The cells of every row of the page's tables."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and line != HEADER]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def clauses(page: str) -> list[Clause]:
    names = re.compile(r"`([^`]+)`")
    return [Clause(a, names.findall(b), c, names.findall(d)) for a, b, c, d in rows(page)]


@cache
def functions(path: str) -> set[str]:
    """Names of the test functions of a file below the root; none where there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return set()
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def missing(page: str) -> list[str]:
    """The files and the tests that a page names and that do not exist."""
    found = []
    for clause in clauses(page):
        for name in clause.files:
            file = ROOT / name if name.startswith("docs/") else ROOT / "src" / "tamis" / name
            if not file.is_file():
                found.append(name)
        for test in clause.tests:
            path, _, function = test.partition("::")
            if function not in functions(path):
                found.append(test)
    return found


def test_every_clause_has_a_file_a_way_and_a_test() -> None:
    assert len(rows(PAGE)) > 250
    for cells in rows(PAGE):
        assert len(cells) == 4, cells
        assert all(cells), cells
    for clause in clauses(PAGE):
        assert clause.files, clause.what
        assert clause.tests, clause.what
        assert all("::test_" in test for test in clause.tests), clause


def test_every_file_and_every_test_exists() -> None:
    assert missing(PAGE) == []


def test_the_check_finds_what_is_missing() -> None:
    here = "tests/house/test_specification.py"
    row = "| a | `{}` | `b` | `{}::{}` |\n"
    assert (
        missing(row.format("features/encoders.py", here, "test_the_check_finds_what_is_missing"))
        == []
    )
    assert missing(row.format("features/none.py", here, "rows")) == ["features/none.py"]
    assert missing(row.format("docs/none.md", here, "test_none")) == [
        "docs/none.md",
        f"{here}::test_none",
    ]
    assert missing(row.format("cli/app.py", "tests/none.py", "test_a")) == ["tests/none.py::test_a"]


REFERENCE = ("tamis-toml", "channels", "filters", "prerankers", "rankers", "rerankers")
REFERENCE += ("features", "evaluation", "tasks", "text")
"""Pages that explain options."""
OF_CLASSES = {"gamma", "learn_gamma"}
"""Arguments of `tamis.DSSM`, which the Python reference explains."""


def test_every_option_is_one_of_the_reference() -> None:
    known = {
        w for p in REFERENCE for w in re.findall(r"\w+", (DOCS / f"{p}.md").read_text("utf-8"))
    }
    used = set()
    for clause in clauses(PAGE):
        for code in re.findall(r"`([^`]+)`", clause.how):
            used.update(re.findall(r"(\w+) ?= ?", code) or re.findall(r"^[a-z_]+$", code))
    assert len(used) > 120
    assert used - OF_CLASSES - known == set()


def test_no_clause_is_half_built() -> None:
    """A clause that is listed is built and tested."""
    assert not re.search(r"\b(partly|partially|not yet|planned|todo)\b", PAGE, re.IGNORECASE)


def test_the_page_on_calibration_says_when_it_matters() -> None:
    page = (DOCS / "calibration.md").read_text("utf-8")
    (section,) = re.findall(r"^## When it matters\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    answers = dict(re.findall(r"^\| (.+?) \| (yes|no)\b", section, re.MULTILINE))
    needs = {use for use, answer in answers.items() if answer == "yes"}
    for use in ("fusion of tasks", "different models", "threshold", "expected revenue"):
        assert any(use in need for need in needs), use
    assert any("order of one task" in use for use, answer in answers.items() if answer == "no")
