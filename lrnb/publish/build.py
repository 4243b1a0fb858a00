"""The book's HTML built by Jupyter Book, and the notebooks validated by nbval."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from lrnb.models import get_profile
from lrnb.publish.run import chapters


class BuildFailed(RuntimeError):
    """Jupyter Book reported errors or warnings; the message holds them."""


class NotValid(RuntimeError):
    """A notebook's facts are not those stored; the message is nbval's."""


def build(source: Path) -> Path:
    """Build the HTML of the book in a folder, warnings as errors; return its first page.

    Raises:
        BuildFailed: Sphinx reported errors or warnings, or a stored output is an error.
    """
    for notebook in chapters(source):
        _refuse_errors(notebook)
    built = source / "_build" / "html"
    shutil.rmtree(built, ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(source), "-q", "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not (built / "index.html").is_file():
        output = (done.stdout + done.stderr).splitlines()
        reasons = [line for line in output if "WARNING" in line or "ERROR" in line] or output[-40:]
        raise BuildFailed(f"jupyter-book could not build {source}:\n" + "\n".join(reasons))
    return built / "index.html"


def validate(root: Path, chosen: Sequence[str] = ()) -> str:
    """Run the tracked notebooks at smoke scale under nbval, which compares their marked cells.

    These print facts that hold at any scale and on any machine, so the output must equal what is
    stored. Returns the report of nbval.

    Raises:
        NotValid: a fact did not hold, a cell failed, or a notebook has nothing to compare.
    """
    size = get_profile("smoke")
    parameters = dict(profile=size.name, datasets=list(size.datasets), seeds=list(size.seeds))
    with tempfile.TemporaryDirectory() as scratch:
        copies = []
        for chapter in chapters(root, chosen):
            copies.append(Path(scratch) / chapter.name)
            _scale(chapter, copies[-1], parameters)
        environment = os.environ | {"LRNB_RESULTS": str(Path(scratch) / "results")}
        command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider"]
        options: dict[str, Any] = dict(env=environment, stdout=subprocess.PIPE, text=True)
        # two at once: most of the time one core has nothing to do
        running = [
            subprocess.Popen([*command, *map(str, half)], cwd=scratch, **options)
            for half in (copies[::2], copies[1::2])
            if half
        ]
        output = [half.communicate()[0] for half in running]
    if any(half.returncode for half in running):
        raise NotValid("\n".join(output))
    return "\n".join(output)


def _scale(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """A copy of a notebook with other parameters; its stored outputs stay."""
    from papermill.iorw import load_notebook_node, write_ipynb
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(source))
    notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
    marked = [cell for cell in notebook.cells if "NBVAL_CHECK_OUTPUT" in cell.source]
    if not marked or not all(cell.outputs for cell in marked):
        raise NotValid(f"{source.name} has no stored outputs that could be compared")
    write_ipynb(notebook, str(target))


def _refuse_errors(notebook: Path) -> None:
    for index, cell in enumerate(nbformat.read(notebook, as_version=4).cells):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise BuildFailed(f"{notebook} holds an error in cell {index}: {output['ename']}")
