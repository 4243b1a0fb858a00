"""Each notebook alone in an empty folder, as on Colab: its setup cell installs lrnb, torch stays.

`make colab` sets up `.colab`, an environment with the versions of Colab's runtime as far as they
can be had for the Python of this machine, and runs these tests; `make test` leaves all but the first
two chapters out.
"""

import subprocess
from pathlib import Path

import nbformat
import pytest

from lrnb.publish import contents as book

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / ".colab" / "bin" / "python"
CHAPTERS = book.chapters(ROOT)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not RUNTIME.is_file(), reason="no runtime like Colab's: `make colab` sets one up"
    ),
]


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    run(RUNTIME, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=ROOT)
    (built,) = place.glob("lrnb-*.whl")
    return built


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def runtime(tmp_path):
    """A runtime that was just started: Colab's packages, and nothing installed on top of them."""
    run(RUNTIME, "-m", "venv", tmp_path / "runtime")
    python = tmp_path / "runtime" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    below, own = (Path(run(p, "-c", where).strip()) for p in (RUNTIME, python))
    (own / "below.pth").write_text(str(below))
    return python, own


def test_chapters_differ_in_their_imports_alone_when_they_set_up():
    setups = {
        tuple(line.strip() for line in cell.source.splitlines() if "%pip" in line)
        for chapter in CHAPTERS
        for cell in nbformat.read(chapter, as_version=4).cells
        if "%pip" in cell.source
    }
    assert len(setups) == 1


@pytest.mark.parametrize(
    "chapter",
    [*CHAPTERS[:2], *(pytest.param(c, marks=pytest.mark.thorough) for c in CHAPTERS[2:])],
    ids=lambda p: p.stem,
)
def test_notebook_runs_alone(chapter, runtime, wheel, store, tmp_path, monkeypatch):
    python, site = runtime
    before = {entry.name for entry in site.iterdir()}
    notebook = nbformat.read(chapter, as_version=4)
    url, branch = book.repository(ROOT)
    for cell in notebook.cells:
        cell.source = cell.source.replace(f"git+{url}@{branch}", str(wheel))
    folder = tmp_path / "content"
    folder.mkdir()
    nbformat.write(notebook, folder / chapter.name)
    for name in ("PYTHONPATH", "LRNB_RESULTS", "LRNB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRNB_HOME", str(store))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    smoke = ["-p", "profile", "smoke", "-k", "python3", "--no-progress-bar"]
    run(python, "-m", "papermill", chapter.name, "out.ipynb", *smoke, cwd=folder)

    installed = {entry.name.split("-")[0] for entry in site.iterdir()} - before
    assert "lrnb" in installed and not installed & {"torch", "numpy", "torchvision"}, installed
    cells = nbformat.read(folder / "out.ipynb", as_version=4).cells
    assert all(c.get("execution_count") for c in cells if c.cell_type == "code")
    assert list(folder.rglob(f"{chapter.stem}.csv"))  # its table lies beside it
