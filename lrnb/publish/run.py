"""Notebooks executed by papermill into a staged copy of the book, or in place.

The tracked notebooks are never touched by a run, unless it is asked to write in place.
"""

import ast
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import filelock
import nbformat
import yaml

from lrnb import _store, data
from lrnb._progress import share_terminal, track
from lrnb._validation import check_integer, check_name
from lrnb.models import get_profile
from lrnb.publish import staleness

STAGED = ("_config.yml", "_toc.yml", "book", "notebooks", "results", "_static")
_SUFFIXES = (".yml", ".md", ".bib", ".css", ".js", ".ipynb", ".csv", ".json", ".png", ".svg")


class ChapterFailed(RuntimeError):
    """A notebook raised an error, or lost a figure; the message says which."""


def chapters(root: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """The notebooks in the order of ``_toc.yml``; those whose name begins with one of ``chosen``."""
    toc = root / "_toc.yml"
    listed = toc.read_text(encoding="utf-8") if toc.is_file() else ""
    files = (root / "notebooks").glob("[0-9]*.ipynb")
    notebooks = sorted(files, key=lambda n: (listed.find(f"notebooks/{n.stem}"), n.stem))
    for name in chosen:
        if not any(n.stem.startswith(name) for n in notebooks):
            check_name("chapters", name, [n.stem for n in notebooks])
    return [n for n in notebooks if n.stem.startswith(tuple(chosen) or "")]


def repository(root: Path) -> tuple[str, str]:
    """Address and branch that the book is published from, as ``_config.yml`` has them."""
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return str(settings["url"]).rstrip("/"), str(settings["branch"])


def run(
    root: Path,
    *,
    profile: str,
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    chosen: Sequence[str] = (),
    in_place: bool = False,
) -> list[Path]:
    """Execute chapters with papermill into ``_build/<profile>/``; return the executed notebooks.

    Args:
        root: of the project.
        datasets, seeds: what to run on; the profile's own where empty.
        chosen: beginnings of the names of the chapters; all where empty.
        in_place: replace the tracked notebooks and tables too, without the injected parameters.

    Raises UnknownName or MissingData before anything runs; ChapterFailed if a notebook raised an
    error, whose copy is left in ``_build/running``.
    """
    size = get_profile(profile)
    datasets = list(dict.fromkeys(datasets or size.datasets))
    seeds = list(dict.fromkeys(seeds or size.seeds))
    parameters = {"profile": profile, "datasets": datasets, "seeds": seeds}
    for name in datasets:
        data.fingerprint(name)  # raises now rather than after the first models are trained
    for seed in seeds:
        check_integer("seeds", seed, 0)
    notebooks = chapters(root, chosen)
    results, scratch = Path("results", profile), root / "_build" / "running" / profile
    with alone(root):
        staged = stage(root, profile)
        executed = [staged / "notebooks" / notebook.name for notebook in notebooks]
        ours = mock.patch.dict(os.environ, LRNB_RESULTS=str(staged / results))
        with share_terminal(), own_kernel(), ours:
            os.environ.pop("MPLBACKEND", None)  # it would leave the notebooks without figures
            for notebook, target in track(zip(notebooks, executed, strict=True), "chapters"):
                _execute(notebook, target, parameters, scratch)
        for notebook in executed if in_place else ():
            _publish(notebook, root / "notebooks" / notebook.name)
            for table in (staged / results).glob(f"{notebook.stem}*"):
                _copy(table, root / results / table.name)
    return executed


@contextlib.contextmanager
def alone(root: Path) -> Generator[None, None, None]:
    """Let one run or build at a time work in a project, staging included; others wait."""
    (root / "_build").mkdir(exist_ok=True)
    with filelock.FileLock(root / "_build" / ".lock", is_singleton=True):
        yield


@contextlib.contextmanager
def own_kernel() -> Generator[None, None, None]:
    """Let "python3", the kernel of notebooks, be this interpreter, whatever else is installed."""
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        about = {"argv": command, "display_name": "Python 3", "language": "python"}
        spec.write_text(json.dumps(about))
        path = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))
        with mock.patch.dict(os.environ, JUPYTER_PATH=path):
            yield


def stage(root: Path, profile: str) -> Path:
    """Copy what the book is built from to ``_build/<profile>/``.

    Chapters that were executed there, and their tables, stay unless the tracked ones are newer.
    """
    staged = root / "_build" / profile
    for name in STAGED:
        source, keep = root / name, name in ("notebooks", "results")
        if source.is_dir() and not keep:
            shutil.rmtree(staged / name, ignore_errors=True)
        for file in (source, *source.rglob("*")):
            target, hidden = staged / file.relative_to(root), ".ipynb_checkpoints" in file.parts
            if not file.is_file() or file.suffix not in _SUFFIXES or hidden:
                continue
            newer = not target.exists() or target.stat().st_mtime < file.stat().st_mtime
            if newer or not keep:
                _copy(file, target)
    return staged


def _execute(source: Path, target: Path, parameters: Mapping[str, object], scratch: Path) -> None:
    """Execute one notebook in ``scratch`` and move it to its place when it is whole."""
    import papermill

    scratch.mkdir(parents=True, exist_ok=True)
    running, start = scratch / source.name, time.monotonic()
    # (papermill would take what stands between braces for a parameter's name)
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, running)]
    try:
        papermill.execute_notebook(
            *paths, parameters, kernel_name="python3", progress_bar=False,
            cwd=target.parent, extra_arguments=["--log-level=ERROR"],
        )  # fmt: skip
    except Exception as error:  # raised by the notebook, or the kernel died (out of memory, say)
        raise ChapterFailed(f"{source.name} failed, see {running}:\n{error}") from error
    notebook = nbformat.read(running, as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "remove-cell" not in tags:
            tags.append("remove-cell")
    _describe_figures(notebook)
    staleness.stamp(notebook, parameters)
    nbformat.write(notebook, running)
    running.replace(target)
    print(f"{source.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def _describe_figures(notebook: nbformat.NotebookNode) -> None:
    """Write each figure's alternative text: "alt" in its cell's metadata, with glued numbers."""
    glued = {}
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        text = output.get("data", {}).get("application/papermill.record/text/plain")
        if name and text:
            glued[name] = float(text) if text in ("nan", "inf", "-inf") else ast.literal_eval(text)
    for cell in (cell for cell in notebook.cells if "alt" in cell.metadata):
        alt = cell.metadata["alt"]
        if not any("image/png" in output.get("data", {}) for output in cell.outputs):
            raise ChapterFailed(f"the figure described by {alt!r} is missing")
        try:
            cell.metadata["mystnb"]["image"]["alt"] = alt.format_map(glued)
        except (KeyError, ValueError) as error:
            message = f"no value for the alternative text {alt!r}: {error!r}"
            raise ChapterFailed(message) from error


def _publish(executed: Path, tracked: Path) -> None:
    """Put an executed notebook in place, without the injected cell and papermill's metadata."""
    notebook = nbformat.read(executed, as_version=4)
    injected = "injected-parameters"
    notebook.cells = [c for c in notebook.cells if injected not in c.metadata.get("tags", [])]
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    _store.write_text(tracked, nbformat.writes(notebook) + "\n")


def _copy(source: Path, target: Path) -> None:
    with _store.replacing(target) as scratch:
        shutil.copy2(source, scratch)
