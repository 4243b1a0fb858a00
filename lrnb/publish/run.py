"""Notebooks executed by papermill into a staged copy of the book, or in place.

The tracked notebooks are never touched by a run, unless it is asked to write in place.
"""

import ast
import contextlib
import itertools
import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import filelock
import nbformat

from lrnb import _store, _work
from lrnb._progress import share_terminal, track
from lrnb._provenance import cores
from lrnb.models import get_profile
from lrnb.publish import plan, staleness
from lrnb.publish.contents import chapters

STAGED = ("_config.yml", "_toc.yml", "book", "notebooks", "results", "_static")
_SUFFIXES = (".yml", ".md", ".bib", ".css", ".js", ".ipynb", ".csv", ".json", ".png", ".svg")


class ChapterFailed(RuntimeError):
    """A notebook raised an error, or lost a figure; the message says which."""


def run(
    root: Path,
    *,
    profile: str,
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    chosen: Sequence[str] = (),
    in_place: bool = False,
    engine: str | None = None,
) -> list[Path]:
    """Execute chapters with papermill into ``_build/<profile>/``; return the executed notebooks.

    What the store lacks for them is made first, side by side. Then the chapters are executed side
    by side, except those whose inputs are what they were; those that rest on no works of their own
    read the tables of the others, so they come last.

    Args:
        root: of the project.
        datasets, seeds: what to run on; the profile's own where empty.
        chosen: beginnings of the names of the chapters; all where empty.
        in_place: replace the tracked notebooks and tables too, without the injected parameters.
        engine: as of `lrnb._work.compute`.

    Raises EngineFailed; UnknownName or MissingData before anything runs; ChapterFailed if a notebook
    raised an error, whose copy is left in ``_build/running``.
    """
    size, notebooks = get_profile(profile), chapters(root, chosen)
    datasets = list(dict.fromkeys(datasets or size.datasets))
    seeds = list(dict.fromkeys(seeds or size.seeds))
    parameters = {"profile": profile, "datasets": datasets, "seeds": seeds}
    needed = plan.works(notebooks, size, datasets, seeds)
    results, scratch = Path("results", profile), root / "_build" / "running" / profile
    with alone(root):
        staged = stage(root, profile)
        executed = [staged / "notebooks" / notebook.name for notebook in notebooks]
        keys = {stem: [work.key for work in works] for stem, works in needed.items()}
        jobs = min(cores(), len(notebooks))
        ours = {"LRNB_RESULTS": str(staged / results)}
        ours["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // jobs)))

        def execute(notebook: Path) -> None:
            target, stem = staged / "notebooks" / notebook.name, notebook.stem
            inputs = staleness.inputs(notebook, [parameters, keys[stem], ours], read(notebook))
            stamp = staged / ".inputs" / stem

            def state() -> str:
                made = [target, *(staged / results).glob(f"{stem}[.-]*")]
                return f"{inputs} {staleness.of_files(made)}"

            if stamp.is_file() and stamp.read_text() == state():
                sys.stderr.write(f"{stem}: unchanged\n")
            else:
                _execute(notebook, target, parameters, scratch)
                _store.write_text(stamp, state())

        def read(notebook: Path) -> list[Path]:
            """The tables that a chapter reads: those of benchmarks, of the chapters before it."""
            benchmarks = "show_benchmark" in notebook.read_text(encoding="utf-8")
            files = [*(staged / "results" / "bench").glob("*")] if benchmarks else []
            if not needed[notebook.stem]:
                for earlier in itertools.takewhile(lambda n: n != notebook, chapters(root)):
                    files += (staged / results).glob(f"{earlier.stem}[.-]*")
            return files

        with share_terminal(), own_kernel(), mock.patch.dict(os.environ, ours):
            os.environ.pop("MPLBACKEND", None)  # it would leave the notebooks without figures
            every = [work for works in needed.values() for work in works]
            _work.compute(every, engine=engine, label="models and tables")
            first = [notebook for notebook in notebooks if needed[notebook.stem]]
            last = [notebook for notebook in notebooks if not needed[notebook.stem]]
            steps = [_side_by_side(execute, first, jobs), map(execute, last)]
            total = len(notebooks)
            # (once for all: papermill would change it for each chapter, and threads mix that up)
            here = Path.cwd()
            os.chdir(staged / "notebooks")
            try:
                for _ in track(itertools.chain.from_iterable(steps), "chapters", total=total):
                    pass
            finally:
                os.chdir(here)
        for notebook in executed if in_place else ():
            _publish(notebook, root / "notebooks" / notebook.name)
            notebook.touch()  # (newer than the tracked one: it stays staged)
            for table in (staged / results).glob(f"{notebook.stem}*"):
                _copy(table, root / results / table.name)
    return executed


def _side_by_side(task: Callable[[Path], None], items: Sequence[Path], jobs: int) -> Iterator[None]:
    """Yield as the task is done with each item, ``jobs`` at once; raise its errors at the end.

    (Daemon threads, so that Ctrl-C waits for none of them; a kernel ends with its parent.)
    """
    todo: queue.SimpleQueue[Path] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = todo.get_nowait()
                try:
                    task(item)
                    done.put(None)
                except BaseException as error:
                    done.put(error)

    errors = []
    try:
        for _ in range(jobs):
            threading.Thread(target=work, daemon=True).start()
        for _ in items:
            errors.append(done.get())
            yield
    finally:  # (interrupted: what has not begun does not begin)
        with contextlib.suppress(queue.Empty):
            while True:
                todo.get_nowait()
    failed = [error for error in errors if error]
    if len(failed) > 1 and all(isinstance(error, ChapterFailed) for error in failed):
        raise ChapterFailed("\n\n".join(map(str, failed)))
    for error in failed:
        raise error


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
            extra_arguments=["--log-level=ERROR"],
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
    sys.stderr.write(f"{source.stem}: {time.monotonic() - start:.0f} s\n")


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
