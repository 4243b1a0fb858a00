"""The package as a whole: sizes, docstrings, the public API, old names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lrnb

PACKAGE = Path(lrnb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_is_short_and_everything_public_says_what_it_does(module):
    text = module.read_text()
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_the_public_api_is_there():
    for name in lrnb.__all__:
        assert getattr(lrnb, name) is not None
    for score in ("mig", "sap", "dci", "factor_vae", "modularity"):
        assert callable(getattr(lrnb.metrics.disentanglement, score))
    with pytest.raises(AttributeError, match="nothing"):
        lrnb.nothing  # noqa: B018


@pytest.mark.parametrize(("old", "new"), [
    ("minimal_norm", "attacks.minimum_norm"),
    ("MinimalNorm", "attacks.MinimumNorm"),
    ("disentanglement", "metrics.disentanglement"),
])  # fmt: skip
def test_a_renamed_name_still_works_and_says_so(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, f"lrnb.{old}", raising=False)
    lrnb.__dict__.pop(old, None)
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(lrnb, old) is not None


def test_help_does_not_wait_for_torch():
    code = "import sys; from lrnb.cli import main; main(['--help'], standalone_mode=False);"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
