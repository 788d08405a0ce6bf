"""The public face: every exported name exists, is documented, and has a real signature."""

import ast
import builtins
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.schema import Component
from tamis.service import registry

PACKAGE = Path(__file__).parents[2] / "src" / "tamis"
FILES = sorted(PACKAGE.rglob("*.py"))
PAGES = [
    "tamis",
    *(
        ".".join(("tamis", *path.parent.relative_to(PACKAGE).parts))
        for path in sorted(PACKAGE.glob("*/__init__.py"))
    ),
]
LAZY = [page for page in PAGES if "attach_stub" in inspect.getsource(importlib.import_module(page))]
EXPORTED = [(page, name) for page in PAGES for name in importlib.import_module(page).__all__]


@pytest.mark.parametrize("page", PAGES)
def test_all_is_explicit_and_real(page: str) -> None:
    module = importlib.import_module(page)
    names = getattr(module, "__all__", None)
    assert names is not None, f"{page}/__init__.py has no __all__: list what the package offers"
    assert len(names) == len(set(names))
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing, f"{page}.__all__ names {missing}, which do not exist"
    hidden = set(names) - set(dir(module))
    assert not hidden, f"dir({page}) hides {hidden}"


@pytest.mark.parametrize("page", PAGES)
def test_star_imports_hide_no_builtin(page: str) -> None:
    shadowed = set(importlib.import_module(page).__all__) & set(dir(builtins))
    assert not shadowed, f"from {page} import * replaces {shadowed}"


@pytest.mark.parametrize("page", PAGES)
def test_every_package_has_a_docstring(page: str) -> None:
    assert importlib.import_module(page).__doc__, f"{page}/__init__.py has no docstring"


@pytest.mark.parametrize("page", LAZY)
def test_stubs_list_what_they_import(page: str) -> None:
    """In a stub, a name that is imported but not in `__all__` is private to type checkers."""
    stub = ast.parse((PACKAGE / Path(*page.split(".")[1:]) / "__init__.pyi").read_text("utf-8"))
    listed = next(
        ast.literal_eval(node.value)
        for node in stub.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert set(listed) == set(importlib.import_module(page).__all__)


def test_every_exported_class_and_function_is_documented() -> None:
    silent = [
        f"{page}.{name}"
        for page, name in EXPORTED
        for thing in [getattr(importlib.import_module(page), name)]
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not own_doc(thing)
    ]
    assert not silent, f"write docstrings: {silent}"


def own_doc(thing: Any) -> str | None:
    return thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__


def test_every_exported_function_has_a_real_signature() -> None:
    """Not only `*args, **kwargs`, which tell neither a reader nor a type checker anything."""
    vague: list[str] = []
    for page, name in EXPORTED:
        thing = getattr(importlib.import_module(page), name)
        if inspect.isfunction(thing) or name == "evaluate":
            kinds = [p.kind for p in inspect.signature(thing).parameters.values()]
            only = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
            if kinds and set(kinds) <= only:
                vague.append(f"{page}.{name}")
    assert not vague


STAGES = [(kind, stage) for kind in registry.KINDS for stage in registry.available(kind).values()]


@pytest.mark.parametrize(("kind", "stage"), STAGES, ids=lambda value: getattr(value, "name", value))
def test_every_stage_and_its_config_are_exported(kind: str, stage: type[Component]) -> None:
    page = importlib.import_module(f"tamis.{kind}")
    for exported in (stage, stage.Config):
        name = exported.__name__
        assert getattr(page, name, None) is exported, f"tamis.{kind} does not export {name}"
        assert name in page.__all__


def test_stages_with_a_name_of_their_own_are_exported_from_tamis() -> None:
    names = [stage.__name__ for _, stage in STAGES]
    for _, stage in STAGES:
        twins = names.count(stage.__name__) > 1
        assert (stage.__name__ in tamis.__all__) == (not twins), stage.__name__
        assert twins or getattr(tamis, stage.__name__) is stage


def test_stages_of_one_name_are_distinguished_by_their_package() -> None:
    assert tamis.rank.FM is not tamis.recall.FM
    assert tamis.rank.GBDT is not tamis.prerank.GBDT
    assert not hasattr(tamis, "FM")


def test_open_is_importable() -> None:
    assert tamis.open is tamis.jobs.open
    assert list(inspect.signature(tamis.evaluate).parameters)[:2] == ["models", "split"]


def test_functions_with_the_name_of_a_module_stay_functions() -> None:
    code = (
        "import tamis.evaluate.full_rank, tamis.evaluate.stage_loss, tamis.jobs.evaluate_rank\n"
        "import tamis\n"
        "assert callable(tamis.evaluate.full_rank) and callable(tamis.evaluate.stage_loss)\n"
        "assert callable(tamis.jobs.evaluate_rank) and callable(tamis.evaluate)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_no_wildcard_imports() -> None:
    stars = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert not stars, f"name what you import: {stars}"


def test_no_package_shadows_the_standard_library() -> None:
    top = {path.stem for path in PACKAGE.iterdir()}
    assert not top & sys.stdlib_module_names, f"rename: {top & sys.stdlib_module_names}"


PUBLIC_MODULES = {
    "tamis.service.registry",
    "tamis.data.column_names",
    "tamis._version.__version__",
    "tamis.runtime.compiled",
}
"""What other packages import directly: finding stages, usual column names, the version."""


def _from_others(path: Path) -> list[str]:
    """Imports of a module of another package instead of the package."""
    own = path.relative_to(PACKAGE).parts[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            page = importlib.import_module(base) if base.count(".") == 1 and _ours(base) else None
            offered = set(getattr(page, "__all__", ()))
            names = [
                base,
                *(f"{base}.{a.name}" for a in node.names if page and a.name not in offered),
            ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [
            f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
            for name in names
            if _ours(name)
            and name.count(".") >= 2
            and name.split(".")[1] != own
            and name not in PUBLIC_MODULES
            and not (name.endswith(".open") and name.count(".") == 2)  # kept out of `__all__`
        ]
    return found


def _ours(name: str) -> bool:
    return name.split(".")[0] == "tamis"


def test_packages_import_each_others_public_names_only() -> None:
    found = [line for path in FILES for line in _from_others(path)]
    assert not found, f"export the name from its package, or import the package: {found}"
