"""The book's HTML built by Jupyter Book, and the notebooks validated by nbval."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lrnb import _store
from lrnb.models import get_profile
from lrnb.publish import staleness
from lrnb.publish.contents import chapters
from lrnb.publish.run import STAGED, own_kernel


class BuildFailed(RuntimeError):
    """Jupyter Book reported errors or warnings; the message holds them."""


class NotValid(RuntimeError):
    """A notebook's facts are not those stored; the message is nbval's."""


def build(source: Path) -> Path:
    """Build the HTML of the book in a folder, warnings as errors; return its first page.

    What was built from the very same files is not built again. Raises BuildFailed if Sphinx reports errors or warnings, or a stored output is an error.
    """
    for notebook in chapters(source):
        for index, cell in enumerate(nbformat.read(notebook, as_version=4).cells):
            for error in (o for o in cell.get("outputs", []) if o.output_type == "error"):
                raise BuildFailed(f"{notebook} holds an error in cell {index}: {error.ename}")
    built = source / "_build" / "html"
    inputs, stamp = staleness.of_files(_sources(source)), built / ".inputs"
    if (built / "index.html").is_file() and stamp.is_file() and stamp.read_text() == inputs:
        return built / "index.html"
    shutil.rmtree(built, ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(source), "-q", "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not (built / "index.html").is_file():
        output = (done.stdout + done.stderr).splitlines()
        reasons = [line for line in output if "WARNING" in line or "ERROR" in line] or output[-40:]
        raise BuildFailed(f"jupyter-book could not build {source}:\n" + "\n".join(reasons))
    _store.write_text(stamp, inputs)
    return built / "index.html"


def _sources(source: Path) -> list[Path]:
    """The files that the book in a folder is built from."""
    places = [source / name for name in STAGED]
    found = [file for place in places for file in (place, *place.rglob("*"))]
    return [file for file in found if file.is_file()]


def validate(root: Path, chosen: Sequence[str] = ()) -> str:
    """Run the tracked notebooks at smoke scale under nbval, which compares their marked cells.

    These print facts that hold at any scale and on any machine, so the output must equal what is
    stored. Returns the report of nbval; raises NotValid if a fact did not hold, a cell failed, or a
    notebook has nothing to compare.
    """
    size = get_profile("smoke")
    parameters = dict(profile=size.name, datasets=list(size.datasets), seeds=list(size.seeds))
    kernel = {"kernel_name": "python3", "language": "python"}
    with tempfile.TemporaryDirectory() as scratch:
        for chapter in chapters(root, chosen):
            notebook = load_notebook_node(str(chapter))
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
            notebook = parameterize_notebook(notebook, parameters, **kernel)
            marked = [cell for cell in notebook.cells if "NBVAL_CHECK_OUTPUT" in cell.source]
            if not marked or not all(cell.outputs for cell in marked):
                raise NotValid(f"{chapter.name} has no stored outputs that could be compared")
            nbformat.write(notebook, Path(scratch) / chapter.name)
        # two at once: most of the time one core has nothing to do
        options = ["--nbval-lax", "-q", "-p", "no:cacheprovider", "-n2", "--dist=loadfile"]
        command = [sys.executable, "-m", "pytest", *options, scratch]
        with own_kernel():
            environment = os.environ | {"LRNB_RESULTS": str(Path(scratch) / "results")}
            done = subprocess.run(
                command, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True
            )
    if done.returncode:
        raise NotValid(done.stdout)
    return done.stdout
