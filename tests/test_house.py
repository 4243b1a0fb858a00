"""The house: a module imports only from floors below its own, and says what it is for."""

import ast
from pathlib import Path

import pytest

import lrnb

FLOORS = [
    {"checks", "cost", "intervals", "names", "progress", "provenance"},
    {"agreement", "store", "balls"},
    {"jacobian", "steprules"},
    {"data", "models", "objectives", "attacks", "metrics", "disentanglement"},
    {"minimal"},
    {"training", "folding"},
    {"experiments"},
    {"robustness"},
    {"comparison", "defence", "geometry", "shift", "steering", "strength", "sweep"},
    {"figures", "results", "pictures"},
    {"claims", "freshness"},
    {"book", "cli"},
]
HOUSE = Path(lrnb.__file__).parent
MODULES = sorted(p for p in HOUSE.rglob("*.py") if p.parent != HOUSE or p.stem != "__init__")
# two rooms of one floor, the second built on the first
NEIGHBOURS = {("objectives", "models"), ("cli", "book")}


def room(module: Path) -> str:
    """A folder of modules is one room."""
    return module.relative_to(HOUSE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    (found,) = [i for i, rooms in enumerate(FLOORS) if name in rooms]
    return found


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lrnb":
            names |= {alias.name for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrnb."):
            names.add(node.module.split(".")[1])
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_come_from_below(module):
    here = room(module)
    for name in imported(ast.parse(module.read_text())) - {here}:
        assert floor(name) < floor(here) or (here, name) in NEIGHBOURS, name


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_everything_public_says_what_it_does(module):
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module.stem}.{node.name}"


def test_the_api_of_the_readme_is_there():
    for name in lrnb.__all__:
        assert getattr(lrnb, name) is not None
    for score in ("mig", "sap", "dci", "factor_vae", "modularity"):
        assert callable(getattr(lrnb.disentanglement, score))
    with pytest.raises(AttributeError, match="nothing"):
        lrnb.nothing  # noqa: B018
