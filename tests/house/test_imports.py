"""Imports go down the layers, also those made at run time, and never in a circle."""

import ast
import importlib.util
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tamis"


def layers() -> list[list[str]]:
    """The layers of the import contract, highest first."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip(" ()") for name in line.split("|")] for line in lines]


def checker():
    """scripts/check_import_cycles.py as a module."""
    path = ROOT / "scripts" / "check_import_cycles.py"
    spec = importlib.util.spec_from_file_location("check_import_cycles", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dynamic_imports(path: Path) -> list[int]:
    """Lines of a file that import by name at run time."""
    names = {"import_module", "__import__", "resolve_name"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in names)
            or (isinstance(node.func, ast.Name) and node.func.id in names)
        )
    ]


def test_no_package_below_service_imports_by_name() -> None:
    order = layers()
    service = next(k for k, names in enumerate(order) if "service" in names)
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for names in order[service + 1 :]
        for name in names
        for path in sorted((PACKAGE / name).rglob("*.py"))
        for line in dynamic_imports(path)
    ]
    assert not found, f"only service may find stages by name: {found}"


def test_the_check_finds_imports_by_name(tmp_path: Path) -> None:
    file = tmp_path / "up.py"
    file.write_text("import importlib\nx = importlib.import_module('tamis.service')\n", "utf-8")
    assert dynamic_imports(file) == [2]


def test_the_check_finds_import_cycles() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}
    assert checker().cycles(imports) == [["a", "b", "c"]]
    assert checker().cycles({"a": {"b"}, "b": set()}) == []


def test_recall_lists_channels_and_families_only() -> None:
    entries = {p.name for p in (PACKAGE / "recall").iterdir() if p.name != "__pycache__"}
    pages = {"__init__.py", "__init__.pyi", "_common"}
    from tamis.service.registry import modules

    stages = modules("recall")
    families = {module.split(".")[2] for module in stages.values() if module.count(".") > 2}
    single = {f"{name}.py" for name, module in stages.items() if module.count(".") == 2}
    assert entries - pages == families | single
