"""ARCHITECTURE.md lists every file of the package, and nothing that does not exist."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGE = ROOT / "src" / "tamis"
INDENT = 2


def listed() -> dict[str, str]:
    """Path inside the package (folders end in /) -> its comment, from the page's tree."""
    tree = re.search(r"```text\n(src/tamis/\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert tree, "ARCHITECTURE.md holds no ```text block that begins with src/tamis/"
    found: dict[str, str] = {}
    folders = [""]
    for line in tree[1].splitlines()[1:]:
        name, _, comment = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // INDENT
        path = folders[depth - 1] + name
        if name.endswith("/"):
            folders = [*folders[:depth], path]
        assert path not in found, f"ARCHITECTURE.md lists {path} twice"
        found[path] = comment.strip()
    return found


def existing() -> dict[str, str]:
    """Path inside the package -> the first line of its docstring (a package's `__init__.py`)."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.is_dir() and (path / "__init__.py").exists():
            found[f"{name}/"] = summary(path / "__init__.py")
        elif path.suffix == ".py" and path.name not in ("__init__.py", "__main__.py"):
            found[name] = summary(path)
    return found


def summary(path: Path) -> str:
    words = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "?"
    return words.splitlines()[0].strip().rstrip(".")


def test_every_file_is_listed() -> None:
    page = listed()
    missing = [
        f"under {Path(name).parent}/:      {Path(name).name}  {text}"
        if not name.endswith("/") and "/" in name
        else f"a package:      {name}  {text}"
        for name, text in existing().items()
        if name not in page
    ]
    assert not missing, "add to the tree in ARCHITECTURE.md\n" + "\n".join(missing)


def test_everything_listed_exists() -> None:
    gone = sorted(set(listed()) - set(existing()))
    assert not gone, f"remove from the tree in ARCHITECTURE.md: {gone}"


def test_every_line_has_a_description() -> None:
    silent = [name for name, comment in listed().items() if len(comment) < 8]
    assert not silent, f"describe these in the tree in ARCHITECTURE.md: {silent}"


def test_the_layers_on_the_page_are_the_layers_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    checked = [re.sub(r"[()]", "", layer) for layer in layers]
    page = re.search(r"```text\n(testing\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert page, "ARCHITECTURE.md holds no ```text block of layers that begins with testing"
    assert [line.strip() for line in page[1].splitlines()] == checked


def test_every_package_is_in_a_layer() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = " ".join(contract["tool"]["importlinter"]["contracts"][0]["layers"])
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(re.findall(r"\w+", layers))
