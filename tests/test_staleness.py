"""Outputs carry what they were made with, and a change is noticed."""

import nbformat
import pytest

from lrnb import _provenance
from lrnb.publish.staleness import check, stamp

PARAMETERS = {"profile": "quick", "datasets": ["mnist", "celeba"], "seeds": [0, 1]}


def notebook(*sources, text="words"):
    cells = [nbformat.v4.new_markdown_cell(text)]
    return nbformat.v4.new_notebook(cells=cells + [nbformat.v4.new_code_cell(s) for s in sources])


@pytest.fixture
def executed(tmp_path):
    path = tmp_path / "03_c.ipynb"
    made = notebook("a = 1", "print(a)")
    stamp(made, PARAMETERS)
    nbformat.write(made, path)
    return path


def change(path, edit):
    made = nbformat.read(path, as_version=4)
    edit(made)
    nbformat.write(made, path)
    (found,) = check([path])
    return found


def test_just_executed_is_fresh(executed):
    (found,) = check([executed])
    assert found.own and found.package and "commit" in found.made_with
    assert found.refresh == (
        "lrnb run --chapters 03 --profile quick --datasets mnist,celeba --seeds 0,1 --in-place"
    )


def test_changed_code_is_noticed_and_changed_text_is_not(executed):
    assert change(executed, lambda n: n.cells[0].update(source="other words")).own
    assert not change(executed, lambda n: n.cells[2].update(source="print(2 * a)")).own


def test_injected_parameters_do_not_count(executed):
    injected = nbformat.v4.new_code_cell("a = 2", metadata={"tags": ["injected-parameters"]})
    assert change(executed, lambda n: n.cells.insert(1, injected)).own


def test_a_package_that_moved_on_is_noticed_apart(executed, monkeypatch):
    monkeypatch.setattr(_provenance, "code_hash", lambda *objects: "of other code")
    (found,) = check([executed])
    assert found.own and not found.package


def test_what_was_never_stamped_is_not_fresh(tmp_path):
    nbformat.write(notebook("a = 1"), tmp_path / "01_a.ipynb")
    (found,) = check([tmp_path / "01_a.ipynb"])
    assert not found.own and not found.package and found.made_with == "unknown code"
