"""Classes have different names, except the same model in two stages (`rank.FM`, `recall.FM`)."""

import ast
from collections import defaultdict
from pathlib import Path

from tamis.service import registry

PACKAGE = Path(__file__).parents[2] / "src" / "tamis"


def classes(root: Path) -> dict[str, list[str]]:
    """Name of each class of a folder's files -> the files that define it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(root).as_posix())
    return found


def test_no_two_classes_share_a_name() -> None:
    stages = {
        f"{module.removeprefix('tamis.').replace('.', '/')}.py"
        for kind in registry.KINDS
        for module in registry.modules(kind).values()
    }
    shared = {name: files for name, files in classes(PACKAGE).items() if len(files) > 1}
    unclear = {name: files for name, files in shared.items() if not stages.issuperset(files)}
    assert not unclear, f"give these classes names that tell them apart: {unclear}"
    assert set(shared) == {"FM", "FMConfig", "GBDT", "GBDTConfig", "LR", "LRConfig"}


def test_the_check_finds_two_classes_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("class Same: ...\n", "utf-8")
    assert classes(tmp_path) == {"Same": ["a.py", "b.py"]}
