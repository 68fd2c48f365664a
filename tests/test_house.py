"""The order of the source tree: few packages, imports downwards without circles, tests where their package is."""

from __future__ import annotations

import ast
import graphlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/sobench"


def packages() -> set[str]:
    return {path.parent.name for path in SOURCE.glob("*/__init__.py")}


@cache
def imports() -> dict[str, frozenset[str]]:
    """{module: modules that it imports}, with imports inside functions and under TYPE_CHECKING."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("sobench", "hydra_plugins.sobench", cache_dir=None)
    return {module: frozenset(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def place(module: str) -> str:
    """The package, or the single module, at the top of sobench that a module is in."""
    return module.split(".")[1] if "." in module else module


def test_the_top_of_sobench_has_twelve_packages_and_three_modules():
    modules = {path.stem for path in SOURCE.glob("*.py")}
    assert len(packages()) <= 12, packages()
    assert len(modules) <= 3, modules


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(imports()).prepare()  # raises CycleError, which names the circle


def test_packages_are_at_most_eight_deep():
    between: dict[str, set[str]] = {}
    for module, imported in imports().items():
        if module.startswith("sobench."):
            others = between.setdefault(place(module), set())
            others |= {place(other) for other in imported if other.startswith("sobench.")} - {place(module)}

    @cache
    def depth(package: str) -> int:
        return 1 + max(map(depth, between.get(package, ())), default=0)

    assert max(map(depth, between)) <= 8, {package: depth(package) for package in between}


def test_a_folder_of_tests_is_named_like_the_package_that_it_tests():
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith(("_", "."))
    }
    assert folders - {"helpers", "fixtures"} <= packages()


def test_nothing_but_the_registry_decides_by_the_name_of_an_optimizer():
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition('[project.entry-points."sobench.optimizers"]')[2].partition("\n[")[0]
    names = set(re.findall(r"^(\w+) =", section, re.MULTILINE))
    assert {"sgd", "kfac"} <= names
    branches = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path != SOURCE / "config/registry.py" and "linalg" not in path.parts  # there "newton" names an iteration
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Compare, ast.MatchValue)) and _has_literal(node, names)
    ]
    assert branches == []


def _has_literal(node: ast.Compare | ast.MatchValue, names: set[str]) -> bool:
    """Whether one of these names is a literal in a comparison, a membership test or a `case`."""
    return any(isinstance(part, ast.Constant) and part.value in names for part in ast.walk(node))
