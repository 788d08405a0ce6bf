"""Fails where files of the package import each other in a circle; part of `make check`.

Imports inside functions and under TYPE_CHECKING count, too. Run:
python scripts/check_import_cycles.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import grimp
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other, from {module: modules that it imports}."""
    modules = sorted(imports)
    number = {module: k for k, module in enumerate(modules)}
    edges = [(number[a], number[b]) for a in modules for b in imports[a] if b in number]
    pairs = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(modules), len(modules)))
    _, group = connected_components(graph, directed=True, connection="strong")
    found: dict[int, list[str]] = {}
    for module in modules:
        found.setdefault(int(group[number[module]]), []).append(module)
    return [members for members in found.values() if len(members) > 1]


def package_imports(package: str) -> dict[str, set[str]]:
    """{module: modules of the package that it imports}, read from the source files."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {m: set(graph.find_modules_directly_imported_by(m)) for m in graph.modules}


def main() -> int:
    """Prints every circle; returns the exit code."""
    imports = package_imports("tamis")
    found = cycles(imports)
    for members in found:
        print("circular imports: " + ", ".join(members), file=sys.stderr)
        for module in members:
            inside = sorted(imports[module] & set(members))
            print(f"  {module} imports {', '.join(inside)}", file=sys.stderr)
    if not found:
        print(f"import cycles: none among {len(imports)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
