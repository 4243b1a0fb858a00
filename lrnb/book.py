"""The book: notebooks executed by papermill into a staged copy, built by Jupyter Book there.

The tracked notebooks are never touched by a run, unless it is asked to write in place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import nbformat

from lrnb import checks, data
from lrnb.experiments import get_profile
from lrnb.progress import track

_STAGED = ("_config.yml", "_toc.yml", "README.md", "book", "notebooks", "results", "_static")


class ChapterFailed(RuntimeError):
    """A notebook raised an error; the message holds it."""


class BuildFailed(RuntimeError):
    """Jupyter Book reported errors or warnings; the message holds them."""


def project_root() -> Path:
    """The folder of the book: the working directory or the nearest one above with ``_toc.yml``.

    Raises:
        FileNotFoundError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"the book was looked for in {here} and the folders above it; none has _toc.yml and "
        "notebooks/. Change to a clone of the repository."
    )


def chapters(root: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """The notebooks of the book in order; only those whose name begins with one of ``chosen``.

    Raises:
        UnknownName: a name begins no notebook's.
    """
    notebooks = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    for name in chosen:
        if not any(n.stem.startswith(name) for n in notebooks):
            checks.one_of("chapters", name, [n.stem for n in notebooks])
    return [n for n in notebooks if not chosen or n.stem.startswith(tuple(chosen))]


def run(
    root: Path,
    *,
    profile: str,
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    chosen: Sequence[str] = (),
    in_place: bool = False,
) -> list[Path]:
    """Execute chapters with papermill into ``_build/<profile>/``.

    Args:
        root: of the project.
        profile: how big.
        datasets, seeds: what to run on; the profile's own where empty.
        chosen: beginnings of the names of the chapters; all where empty.
        in_place: also put the executed notebooks and their tables in place of the tracked ones,
            with the parameters they ran with taken out again.

    Returns:
        The executed notebooks.

    Raises:
        UnknownName, MissingData: before anything runs.
        ChapterFailed: a notebook raised an error; its own copy is left beside the others.
    """
    size = get_profile(profile)
    datasets = list(datasets or size.datasets)
    parameters = {"profile": profile, "datasets": datasets, "seeds": list(seeds or size.seeds)}
    for name in datasets:
        data.fingerprint(name)  # raises now rather than after the first models are trained
    notebooks = chapters(root, chosen)
    staged = stage(root, profile)
    results = staged / "results" / profile
    executed = []
    with _environment(LRNB_RESULTS=str(results)):
        for notebook in track(notebooks, "chapters"):
            target = staged / "notebooks" / notebook.name
            _execute(notebook, target, parameters)
            executed.append(target)
    if in_place:
        for notebook in executed:
            _publish(notebook, root / "notebooks" / notebook.name)
        shutil.copytree(results, root / "results" / profile, dirs_exist_ok=True)
    return executed


def stage(root: Path, profile: str) -> Path:
    """Copy what the book is built from to ``_build/<profile>/``; executed chapters stay."""
    staged = root / "_build" / profile
    staged.mkdir(parents=True, exist_ok=True)
    for name in _STAGED:
        source, target = root / name, staged / name
        if source.is_file():
            shutil.copy2(source, target)
        elif source.is_dir() and name in ("notebooks", "results"):
            target.mkdir(exist_ok=True)
            for item in source.rglob("*"):
                copy = target / item.relative_to(source)
                if item.is_file() and not copy.exists() and ".ipynb_checkpoints" not in item.parts:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(item, copy)
        elif source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
    return staged


def build(source: Path) -> Path:
    """Build the HTML of the book in a folder, warnings as errors; return its first page.

    Raises:
        BuildFailed: Sphinx reported errors or warnings, or a stored output is an error.
    """
    for notebook in chapters(source):
        _refuse_errors(notebook)
    shutil.rmtree(source / "_build" / "html", ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"
    strict = ["-n", "-W", "--keep-going", "-q"]
    command = [sys.executable, "-c", start, "build", str(source), *strict]
    done = subprocess.run(command, capture_output=True, text=True)
    page = source / "_build" / "html" / "index.html"
    if done.returncode or not page.is_file():
        raise BuildFailed(
            f"jupyter-book build {source} failed:\n{done.stdout[-4000:]}{done.stderr[-8000:]}"
        )
    return page


def _execute(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    import papermill

    running = target.with_name(f".{target.stem}.running.ipynb")
    start = time.monotonic()
    try:
        papermill.execute_notebook(
            source, running, parameters, kernel_name="python3", progress_bar=False,
            cwd=target.parent,
            extra_arguments=["--log-level=ERROR"],
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        running.replace(target.with_name(f"{target.stem}.failed.ipynb"))
        raise ChapterFailed(f"{source.name} failed in cell {error.cell_index}:\n{error}") from error
    notebook = nbformat.read(running, as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "remove-cell" not in tags:
            tags.append("remove-cell")
    nbformat.write(notebook, running)
    running.replace(target)
    target.with_name(f"{target.stem}.failed.ipynb").unlink(missing_ok=True)
    print(f"{source.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)


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
    scratch = tracked.with_name(f".{tracked.name}")
    nbformat.write(notebook, scratch)
    scratch.replace(tracked)


def _refuse_errors(notebook: Path) -> None:
    for index, cell in enumerate(nbformat.read(notebook, as_version=4).cells):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise BuildFailed(f"{notebook} holds an error in cell {index}: {output['ename']}")


@contextlib.contextmanager
def _environment(**variables: str) -> Generator[None, None, None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
