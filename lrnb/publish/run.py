"""Notebooks executed by papermill into a staged copy of the book, or in place.

The tracked notebooks are never touched by a run, unless it is asked to write in place.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import nbformat
import yaml

from lrnb import _store, data
from lrnb._progress import share_terminal, track
from lrnb._validation import check_name
from lrnb.models import get_profile
from lrnb.publish import staleness

STAGED = ("_config.yml", "_toc.yml", "book", "notebooks", "results", "_static")
_SUFFIXES = (".yml", ".md", ".bib", ".css", ".js", ".ipynb", ".csv", ".json", ".png", ".svg")


class ChapterFailed(RuntimeError):
    """A notebook raised an error, or lost a figure; the message says which."""


def chapters(root: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """The notebooks of the book in order; only those whose name begins with one of ``chosen``."""
    notebooks = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    for name in chosen:
        if not any(n.stem.startswith(name) for n in notebooks):
            check_name("chapters", name, [n.stem for n in notebooks])
    return [n for n in notebooks if not chosen or n.stem.startswith(tuple(chosen))]


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
        in_place: also replace the tracked notebooks and their tables by the executed ones, without
            the parameters they ran with.

    Raises:
        UnknownName, MissingData: before anything runs.
        ChapterFailed: a notebook raised an error; its copy is left in ``_build/running``.
    """
    size = get_profile(profile)
    datasets = list(dict.fromkeys(datasets or size.datasets))
    parameters = {
        "profile": profile,
        "datasets": datasets,
        "seeds": list(dict.fromkeys(seeds or size.seeds)),
    }
    for name in datasets:
        data.fingerprint(name)  # raises now rather than after the first models are trained
    notebooks = chapters(root, chosen)
    staged = stage(root, profile)
    results = staged / "results" / profile
    executed = []
    # (a drawing backend in the environment would leave the notebooks without figures)
    with share_terminal(), _environment(LRNB_RESULTS=str(results), MPLBACKEND=None):
        for notebook in track(notebooks, "chapters"):
            target = staged / "notebooks" / notebook.name
            _execute(notebook, target, parameters, root / "_build" / "running" / profile)
            executed.append(target)
    if in_place:
        for notebook in executed:
            _publish(notebook, root / "notebooks" / notebook.name)
            for table in results.glob(f"{notebook.stem}*"):
                _copy(table, root / "results" / profile / table.name)
    return executed


def stage(root: Path, profile: str) -> Path:
    """Copy what the book is built from to ``_build/<profile>/``.

    Chapters that were executed there, and their tables, stay unless the tracked ones are newer.
    """
    staged = root / "_build" / profile
    for name in STAGED:
        source = root / name
        kept = name in ("notebooks", "results")
        if source.is_dir() and not kept:
            shutil.rmtree(staged / name, ignore_errors=True)
        files = [source] if source.is_file() else source.rglob("*")
        for file in files:
            target = staged / file.relative_to(root)
            if file.is_dir() or file.suffix not in _SUFFIXES or ".ipynb_checkpoints" in file.parts:
                continue
            if kept and target.exists() and target.stat().st_mtime >= file.stat().st_mtime:
                continue
            _copy(file, target)
    return staged


def _execute(source: Path, target: Path, parameters: Mapping[str, object], scratch: Path) -> None:
    """Execute one notebook in ``scratch`` and move it to its place when it is whole."""
    import papermill

    scratch.mkdir(parents=True, exist_ok=True)
    running = scratch / source.name
    start = time.monotonic()
    try:
        papermill.execute_notebook(
            source,
            running,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            cwd=target.parent,
            extra_arguments=["--log-level=ERROR"],
        )
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
    for cell in notebook.cells:
        if "alt" in cell.metadata:
            if not any("image/png" in output.get("data", {}) for output in cell.outputs):
                raise ChapterFailed(f"the figure described by {cell.metadata['alt']!r} is missing")
            try:
                cell.metadata["mystnb"]["image"]["alt"] = cell.metadata["alt"].format_map(glued)
            except (KeyError, ValueError) as error:
                raise ChapterFailed(
                    f"no value for the alternative text {cell.metadata['alt']!r}: {error!r}"
                ) from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"{target.name}.part")
    shutil.copy2(source, scratch)
    scratch.replace(target)


def _publish(executed: Path, tracked: Path) -> None:
    """Put an executed notebook in place, without the injected cell and papermill's metadata."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for noise in ("papermill", "execution"):
            cell.metadata.pop(noise, None)
    _store.write_text(tracked, nbformat.writes(notebook) + "\n")


@contextlib.contextmanager
def _environment(**variables: str | None) -> Generator[None, None, None]:
    def change(values: dict[str, str | None]) -> None:
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    before = {name: os.environ.get(name) for name in variables}
    change(variables)
    try:
        yield
    finally:
        change(before)
