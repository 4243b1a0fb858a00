"""The book: notebooks executed by papermill into a staged copy, built by Jupyter Book there.

The tracked notebooks are never touched by a run, unless it is asked to write in place.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml

from lrnb import checks, data, freshness
from lrnb.experiments import get_profile
from lrnb.progress import track

STAGED = ("_config.yml", "_toc.yml", "book", "notebooks", "results", "_static")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SUFFIXES = (".yml", ".md", ".bib", ".css", ".js", ".ipynb", ".csv", ".json", ".png", ".svg")


class ChapterFailed(RuntimeError):
    """A notebook raised an error; the message holds it."""


class NotValid(RuntimeError):
    """A notebook's facts are not what is stored; the message is nbval's."""


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
    with _environment(LRNB_RESULTS=str(results)):
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


def build(source: Path) -> Path:
    """Build the HTML of the book in a folder, warnings as errors; return its first page.

    Raises:
        BuildFailed: Sphinx reported errors or warnings, or a stored output is an error.
    """
    return _jupyter_book(source, "html", "-n", "-W", "--keep-going") / "index.html"


def build_pdf(source: Path) -> Path:
    """Build the book in a folder as one PDF, printed by Chromium; return its path.

    Raises:
        FileNotFoundError: there is no Chromium or Chrome.
        BuildFailed: Sphinx reported errors, a stored output is an error, or nothing was printed.
    """
    browser = chromium()
    if browser is None:
        raise FileNotFoundError(
            f"the PDF is printed by Chromium; looked for {', '.join(BROWSERS)} on the PATH"
        )
    built = _jupyter_book(source, "singlehtml")
    # its links are those of a page at the top, but it is put where the first page's source is
    contents = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))
    shutil.copy2(built / f"{contents['root']}.html", built / "whole.html")
    pdf = source / "_build" / "book.pdf"
    pdf.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer"]
        # (it cannot shut itself in where it runs as root, in a container)
        command += ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
        command += [f"--user-data-dir={scratch}", "--virtual-time-budget=60000"]
        command += [f"--print-to-pdf={pdf}", (built / "whole.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
    if not pdf.is_file():
        raise BuildFailed(f"{browser} printed nothing:\n{done.stderr}")
    return pdf


def chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine, if there is one."""
    found = (shutil.which(name) for name in BROWSERS)
    return next((path for path in found if path), None)


def _jupyter_book(source: Path, builder: str, *options: str) -> Path:
    """Build the book anew, unless a stored output is an error; return the folder it is built in."""
    for notebook in chapters(source):
        _refuse_errors(notebook)
    built = source / "_build" / builder
    shutil.rmtree(built, ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(source), "--builder", builder, "-q"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode or not (built / "index.html").is_file():
        said = (done.stdout + done.stderr).splitlines()
        reasons = [line for line in said if "WARNING" in line or "ERROR" in line] or said[-40:]
        raise BuildFailed(f"jupyter-book could not build {source}:\n" + "\n".join(reasons))
    return built


def validate(root: Path, chosen: Sequence[str] = ()) -> str:
    """Run the tracked notebooks at smoke scale under nbval, which compares their marked cells.

    These print facts that hold at any scale and on any machine, so what they print must be what is
    stored. The tracked notebooks stay as they are.

    Args:
        root: of the project.
        chosen: beginnings of the names of the chapters; all where empty.

    Returns:
        What nbval said.

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
        said = [half.communicate()[0] for half in running]
    if any(half.returncode for half in running):
        raise NotValid("\n".join(said))
    return "\n".join(said)


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


def _execute(source: Path, target: Path, parameters: dict[str, Any], scratch: Path) -> None:
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
    _tell_figures(notebook)
    freshness.stamp(notebook, parameters)
    nbformat.write(notebook, running)
    running.replace(target)
    print(f"{source.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def _tell_figures(notebook: nbformat.NotebookNode) -> None:
    """Write each figure's alternative text from the numbers that the notebook glued.

    A figure's cell has the text under "alt" in its metadata, with ``{name:format}`` for numbers.
    """
    glued = {}
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        told = output.get("data", {}).get("application/papermill.record/text/plain")
        if name and told:
            glued[name] = float(told) if told in ("nan", "inf", "-inf") else ast.literal_eval(told)
    for cell in notebook.cells:
        if "alt" in cell.metadata:
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
