"""Links of the pages lead somewhere, commands exist, the two READMEs agree."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from tamis.cli.app import app
from tamis.service import registry

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
GENERATED = "reference/index.md"
"""Written by `make docs` from the code."""
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]


def command_of(name: str, rest: str) -> Any:
    """The command that a line names: of a group its sub-command, by default the first one."""
    commands = getattr(COMMANDS[name], "commands", None)
    if commands is None:
        return COMMANDS[name]
    return commands.get(next(iter(rest.split()), ""), next(iter(commands.values())))


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced code blocks of a page in these languages (all when none is given)."""
    found = re.findall(r"^```([\w-]*)\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
    return [body for language, body in found if not languages or language in languages]


def without_comments(block: str) -> str:
    return re.sub(r"\s+#.*$", "", block, flags=re.MULTILINE)


def test_the_readmes_have_the_same_structure() -> None:
    shapes = [re.findall(r"^(#+) ", text(page), re.MULTILINE) for page in READMES]
    assert shapes[0] == shapes[1]


def test_the_readmes_have_the_same_code() -> None:
    english, chinese = ([without_comments(b) for b in blocks(page)] for page in READMES)
    assert english == chinese


def test_the_readmes_link_to_the_same_places() -> None:
    english, chinese = (set(re.findall(r"\]\(([^)]+)\)", text(page))) for page in READMES)
    assert english - {"README.zh-CN.md"} == chinese - {"README.md"}


def test_the_home_page_links_to_every_page_of_the_navigation() -> None:
    named = set(re.findall(r"\b([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M))
    pages = {page for page in named if not re.match(r"decisions/\d", page)} - {"index.md"}
    assert len(pages) > 30
    home = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert {page for page in pages if f"({page})" not in home} == set()


def test_no_page_has_an_unfilled_placeholder() -> None:
    unfilled = [page for page in PAGES if "‹" in text(page)]
    assert not unfilled, f"fill what stands between ‹ and › in {unfilled}"


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)[^)]*\)", prose)
    lost = [
        link
        for link in links
        if link != GENERATED and not (ROOT / page).parent.joinpath(link).exists()
    ]
    assert not lost, f"{page} links to {lost}"


@pytest.mark.parametrize("page", PAGES)
def test_named_commands_exist(page: str) -> None:
    code = "\n".join(
        [*blocks(page, "sh", "console"), *re.findall(r"`(tamis [^`\n]+)`", text(page))]
    )
    for name, rest in re.findall(r"(?:^|bin/|[`$] )tamis ([a-z-]+)([^#\n]*)", code, re.MULTILINE):
        assert name in COMMANDS, f"{page}: there is no `tamis {name}`"
        known = {o for p in command_of(name, rest).params for o in (*p.opts, *p.secondary_opts)} | {
            "--help"
        }
        unknown = set(re.findall(r"(?<=\s)--[a-z-]+", rest)) - known
        assert not unknown, f"{page}: `tamis {name}` has no {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES)
def test_make_verbs_exist(page: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text(page), re.MULTILINE)
    assert set(named) <= verbs, f"{page} names make verbs that are not in the Makefile"


@pytest.mark.parametrize("page", PAGES)
def test_python_snippets_compile_and_import_what_exists(page: str) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tamis"):
                module = __import__(str(node.module), fromlist=["_"])
                missing = [a.name for a in node.names if not hasattr(module, a.name)]
                assert not missing, f"{page}: {node.module} has no {missing}"


def test_the_page_of_commands_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_cli", ROOT / "docs" / "write_cli.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert text("docs/cli.md") == writer.page(), "run: .venv/bin/python docs/write_cli.py"


@pytest.mark.parametrize("page", READMES)
def test_the_stages_named_on_a_page_exist(page: str) -> None:
    rows = [r for r in text(page).splitlines() if r.startswith("| ") and r.count("|") == 4]
    named = [set(re.findall(r"`([a-z0-9_]+)`", row.split("|")[2])) for row in rows]
    stages = [set(registry.available(kind)) for kind in registry.KINDS]
    assert [n for n in named if n][-len(stages) :] == stages
