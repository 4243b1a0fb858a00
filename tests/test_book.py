"""The book: chapters run at smoke scale, nbval agrees with what is committed, the pages build."""

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import golden
import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lrnb import _store
from lrnb.cli import main
from lrnb.models import get_profile
from lrnb.publish import build, contents, plan, run, staleness
from lrnb.publish.pages import glue

ROOT = Path(__file__).parents[1]
CHAPTERS = contents.chapters(ROOT)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The store of the chapters of this module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def clone(copied, tmp_path_factory, home):
    """A copy of the project in which the chapters were run and the book built."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(home))
    # without the weights of LPIPS, as a newcomer has none
    patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    patch.chdir(copied)
    yield copied
    patch.undo()


@pytest.fixture(scope="module")
def built(clone):
    for arguments in (["run", "--profile", "smoke"], ["build", "--profile", "smoke"]):
        shown = CliRunner().invoke(main, arguments)
        assert shown.exit_code == 0, shown.output
    return clone / "_build" / "smoke"


def test_every_chapter_ran_and_saved_its_table(built):
    assert CHAPTERS
    for chapter in CHAPTERS:
        notebook = nbformat.read(built / "notebooks" / chapter.name, as_version=4)
        assert all(c.get("execution_count") for c in notebook.cells if c.cell_type == "code")
        assert len(pd.read_csv(built / "results" / "smoke" / f"{chapter.stem}.csv"))
        assert (built / "results" / "smoke" / f"{chapter.stem}.json").is_file()


def test_the_plan_names_just_what_the_chapters_make(built, home, monkeypatch):
    monkeypatch.setenv("LRNB_HOME", str(home))
    size = get_profile("smoke")
    planned, todo = set(), plan.works(CHAPTERS, size, size.datasets, size.seeds).values()
    todo = [work for works in todo for work in works]
    while todo:
        work = todo.pop()
        planned.add(work.key)
        todo += work.needs
    assert planned == {entry.key for entry in _store.entries()}


def test_what_nothing_has_changed_for_is_not_executed_or_built_again(built, home, monkeypatch):
    monkeypatch.setenv("LRNB_HOME", str(home))
    files = [built / "_build" / "html" / "index.html", *(built / "notebooks").glob("*.ipynb")]
    before = [file.stat().st_mtime_ns for file in files]
    for arguments in (["run", "--profile", "smoke"], ["build", "--profile", "smoke"]):
        assert CliRunner().invoke(main, arguments).exit_code == 0
    assert [file.stat().st_mtime_ns for file in files] == before


def test_a_chapter_is_executed_again_where_something_has_changed(tmp_path, capfd):
    book = small_book(tmp_path / "book")

    def executed(**changes):
        here = Path.cwd()
        run.run(book, profile="smoke", **changes)
        assert Path.cwd() == here
        told = capfd.readouterr().err
        assert ("01_a: unchanged" in told) != (re.search(r"01_a: \d+ s", told) is not None)
        return "unchanged" not in told

    assert executed() and not executed()
    assert executed(seeds=[1]) and not executed(seeds=[1]) and executed()
    (book / "results" / "bench").mkdir(parents=True)
    (book / "results" / "bench" / "peers.csv").write_text("1")
    assert not executed()  # (it reads no benchmark)
    source = book / "notebooks" / "01_a.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[1].source += "\n# show_benchmark"
    nbformat.write(notebook, source)
    assert executed() and not executed()
    (book / "results" / "bench" / "peers.csv").write_text("2")
    assert executed() and not executed()
    (book / "_build" / "smoke" / "results" / "smoke" / "01_a.csv").unlink()
    assert executed()


def test_the_run_reproduces_the_golden_numbers(built):
    known = ["table", "group", "column"]
    found = golden.means(built / "results" / "smoke")
    both = pd.read_csv(golden.FILE).merge(found, on=known, how="outer", suffixes=("", "_now"))
    near = np.isclose(
        both["value_now"], both["value"], rtol=golden.RELATIVE, atol=golden.ABSOLUTE, equal_nan=True
    )
    assert near.all(), both[~near].to_string()


def test_no_output_holds_an_error_a_warning_or_progress(built):
    for chapter in CHAPTERS:
        notebook = nbformat.read(built / "notebooks" / chapter.name, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error"
                assert output.get("name") != "stderr", output
                assert " left" not in str(output.get("text", "")), output


def test_tracked_notebooks_are_untouched(built, clone):
    for chapter in CHAPTERS:
        assert (clone / "notebooks" / chapter.name).read_bytes() == chapter.read_bytes()


def visible_text(page):
    return re.sub(r"<[^>]+>", "", page.read_text())


def test_pages_say_that_lpips_was_not_computed_and_how_to_get_it(built):
    for name in ("02_untargeted_attack", "03_targeted_attack"):
        text = visible_text(built / "_build" / "html" / "notebooks" / f"{name}.html")
        assert "LPIPS was not computed" in text and "lrnb fetch lpips" in text


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.ids, self.images = [], set(), []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.targets.append(given["href"])
        if tag == "img":
            self.images.append(given)


def test_links_inside_the_book_lead_somewhere(built):
    html = built / "_build" / "html"
    pages = {}
    for page in html.rglob("*.html"):
        pages[page.resolve()] = Links()
        pages[page.resolve()].feed(page.read_text())
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            url = urlparse(target)
            if url.scheme or url.netloc:
                continue
            file = (page.parent / unquote(url.path)).resolve() if url.path else page
            anchor = url.fragment
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].ids):
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_every_table_of_a_chapter_can_be_downloaded_from_its_page(built):
    for chapter in CHAPTERS:
        page = built / "_build" / "html" / "notebooks" / f"{chapter.stem}.html"
        offered = set(re.findall(r'href="([^"]*_downloads[^"]*\.csv)"', page.read_text()))
        assert all((page.parent / unquote(target)).is_file() for target in offered)
        tables = (built / "results" / "smoke").glob(f"{chapter.stem}*.csv")
        assert {t.name for t in tables} <= {Path(target).name for target in offered}


def test_figures_have_alt_text_and_keep_their_colors_in_the_dark(built):
    for chapter in CHAPTERS:
        links = Links()
        links.feed((built / "_build" / "html" / "notebooks" / f"{chapter.stem}.html").read_text())
        figures = [i for i in links.images if "_images" in i["src"]]
        assert figures
        for image in figures:
            assert len(image["alt"]) > 30 and "dark-light" in image["class"], image


def test_glued_numbers_arrive_on_the_first_page(built):
    text = visible_text(built / "_build" / "html" / "book" / "intro.html")
    assert re.search(r"lowers the SSIM of a VAE.s decoding by\s+0\.\d\d", text)
    # (after two epochs the target's own reconstruction may be no nearer to the target)
    assert re.search(r"covers\s+(-?\d+|nan)% of the distance", text)


def test_each_page_is_small(built):
    for page in (built / "_build" / "html").rglob("*.html"):
        links = Links()
        links.feed(page.read_text())
        images = {(page.parent / unquote(i["src"])) for i in links.images if "_images" in i["src"]}
        size = page.stat().st_size + sum(i.stat().st_size for i in images)
        assert size < 3e6, page.name


def test_a_warning_stops_the_build(built, tmp_path):
    source = tmp_path / "book"
    shutil.copytree(built, source, ignore=shutil.ignore_patterns("_build"))
    page = source / "book" / "glossary.md"
    page.write_text(page.read_text() + "\n[nowhere](no-such-page.md)\n")
    with pytest.raises(build.BuildFailed, match="no-such-page"):
        build.build(source)


def test_a_stored_error_stops_the_build(tmp_path):
    (tmp_path / "notebooks").mkdir()
    error = nbformat.v4.new_output("error", ename="KeyError", evalue="x", traceback=[])
    cell = nbformat.v4.new_code_cell("x", outputs=[error])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, tmp_path / "notebooks" / "01_a.ipynb")
    with pytest.raises(build.BuildFailed, match="KeyError"):
        build.build(tmp_path)


def notebook_of(*cells):
    language = {"language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=list(cells), metadata=language)


def test_a_chapter_that_fails_leaves_no_page_behind(tmp_path):
    (tmp_path / "notebooks").mkdir()
    cells = [
        nbformat.v4.new_code_cell("profile = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("raise KeyError('broken')"),
    ]
    source = tmp_path / "notebooks" / "01_a.ipynb"
    nbformat.write(notebook_of(*cells), source)
    with pytest.raises(run.ChapterFailed, match="broken"):
        run.run(tmp_path, profile="smoke")
    staged = tmp_path / "_build" / "smoke" / "notebooks"
    assert [p.name for p in staged.iterdir()] == ["01_a.ipynb"]
    assert (staged / "01_a.ipynb").read_bytes() == source.read_bytes()
    assert (tmp_path / "_build" / "running" / "smoke" / "01_a.ipynb").is_file()


def test_in_place_writes_outputs_without_the_injected_cell(tmp_path):
    (tmp_path / "notebooks").mkdir()
    code = "import os, pathlib; p = pathlib.Path(os.environ['LRNB_RESULTS']); p.mkdir(parents=True, exist_ok=True); (p / '01_a.csv').write_text(profile); print(profile, seeds)"
    cells = [
        nbformat.v4.new_code_cell("profile = 'quick'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code),
    ]
    tracked = tmp_path / "notebooks" / "01_a.ipynb"
    nbformat.write(notebook_of(*cells), tracked)
    run.run(tmp_path, profile="smoke", seeds=[3], in_place=True)
    after = nbformat.read(tracked, as_version=4)
    assert [c.source for c in after.cells] == [c.source for c in cells]
    assert after.cells[1].outputs[0].text == "smoke [3]\n"
    (fresh,) = staleness.check([tracked])
    assert fresh.own and fresh.package
    assert fresh.refresh == (
        "lrnb run --chapters 01 --profile smoke --datasets digits,shapes --seeds 3 --in-place"
    )
    assert "papermill" not in after.metadata
    assert (tmp_path / "results" / "smoke" / "01_a.csv").read_text() == "smoke"


def test_only_what_ran_is_published(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    tracked = tmp_path / "notebooks" / "02_b.ipynb"
    nbformat.write(notebook_of(nbformat.v4.new_code_cell("1")), tracked)
    stale = tmp_path / "_build" / "smoke" / "results" / "smoke" / "01_a.csv"
    stale.parent.mkdir(parents=True)
    stale.write_text("of another run")
    (stale.parent / "02_b.csv").write_text("of this run")
    monkeypatch.setattr(run, "_execute", lambda source, target, *rest: shutil.copy(source, target))
    (tmp_path / "_build" / "smoke" / "notebooks").mkdir()
    run.run(tmp_path, profile="smoke", in_place=True)
    assert [p.name for p in (tmp_path / "results" / "smoke").iterdir()] == ["02_b.csv"]


CODE = """import os, pathlib, sys, time
place = pathlib.Path(os.environ['LRNB_RESULTS'])
place.mkdir(parents=True, exist_ok=True)
(place / '01_a.csv').write_text(profile)
print(sys.executable)"""


def small_book(root):
    (root / "notebooks").mkdir(parents=True)
    cells = [
        nbformat.v4.new_code_cell("profile = 'quick'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(CODE),
    ]
    nbformat.write(notebook_of(*cells), root / "notebooks" / "01_a.ipynb")
    return root


def test_chapters_are_computed_by_this_very_interpreter(tmp_path, monkeypatch):
    other = tmp_path / "hub" / "kernels" / "python3" / "kernel.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "hub"))
    # (papermill would take what stands between braces for the name of a parameter)
    (made,) = run.run(small_book(tmp_path / "a {x} book"), profile="smoke")
    assert nbformat.read(made, as_version=4).cells[-1].outputs[0].text == f"{sys.executable}\n"


def test_two_runs_at_once_wait_for_each_other(tmp_path):
    book = small_book(tmp_path / "book")
    command = f"from pathlib import Path; from lrnb.publish import run; run.run(Path({str(book)!r}), profile='smoke')"
    both = [subprocess.Popen([sys.executable, "-c", command]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]


def test_what_no_model_can_have_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="seeds must be an integer ≥ 0, got -1"):
        run.run(small_book(tmp_path / "book"), profile="smoke", seeds=[0, -1])
    assert not (tmp_path / "book" / "_build").exists()


def test_staging_follows_newer_sources_and_keeps_newer_runs(tmp_path):
    source = tmp_path / "notebooks" / "01_a.ipynb"
    source.parent.mkdir()
    source.write_text("old")
    staged = run.stage(tmp_path, "smoke") / "notebooks" / "01_a.ipynb"
    staged.write_text("executed")
    os.utime(source, (1, 1))
    run.stage(tmp_path, "smoke")
    assert staged.read_text() == "executed"
    source.write_text("new")
    os.utime(staged, (1, 1))
    run.stage(tmp_path, "smoke")
    assert staged.read_text() == "new"


def facts(notebook):
    """What the cells that nbval checks have printed."""
    return [
        [output.get("text") for output in cell.outputs]
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and "NBVAL_CHECK_OUTPUT" in cell.source
    ]


def test_the_facts_in_the_committed_notebooks_hold_at_smoke_scale(built):
    for chapter in CHAPTERS:
        committed = facts(chapter)
        assert committed and facts(built / "notebooks" / chapter.name) == committed, chapter.name


def test_nbval_passes_on_a_chapter(built, home, monkeypatch):
    # what this very code computed for the built chapters is not computed again
    monkeypatch.setenv("LRNB_HOME", str(home))
    assert "passed" in build.validate(ROOT, ["02"])


def test_validation_notices_a_broken_attack(tmp_path, monkeypatch):
    broken = shutil.copytree(ROOT / "lrnb", tmp_path / "lrnb") / "attacks" / "__init__.py"
    code = f"{broken.read_text()}\nimport lrnb.attacks.pgd as _pgd\n_evaluate = _pgd.evaluate\n"
    code += "def _downwards(problem, delta):\n    point = _evaluate(problem, delta)\n"
    code += "    return _pgd.Point(point.delta, -point.loss, -point.gradient)\n"
    broken.write_text(code + "_pgd.evaluate = _downwards\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(build.NotValid, match="attack beats noise"):
        build.validate(ROOT, ["02"])


def test_a_notebook_without_outputs_is_not_valid(tmp_path):
    (tmp_path / "notebooks").mkdir()
    cell = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(1)")
    nbformat.write(notebook_of(cell), tmp_path / "notebooks" / "01_a.ipynb")
    with pytest.raises(build.NotValid, match="01_a"):
        build.validate(tmp_path)


def test_setup_cells_install_from_the_configured_address():
    url, branch = contents.repository(ROOT)
    for chapter in CHAPTERS:
        notebook = nbformat.read(chapter, as_version=4)
        (setup,) = [c.source for c in notebook.cells if "%pip" in c.source]
        assert f"git+{url}@{branch}" in setup, chapter.name
        installs = [line for line in setup.splitlines() if "%pip" in line]
        assert all("--no-deps" in line for line in installs), chapter.name  # Colab's torch stays


def test_outputs_are_those_of_the_notebooks_own_code():
    stale = [found for found in staleness.check(CHAPTERS) if not found.own]
    told = "\n".join(f"{found.notebook}: {found.refresh}" for found in stale)
    assert not stale, f"code has changed since the outputs were made; refresh with\n{told}"


def test_notebooks_hold_no_myst_and_one_parameters_cell():
    for chapter in CHAPTERS:
        notebook = nbformat.read(chapter, as_version=4)
        tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        assert len(tagged) == 1
        assert chapter.stat().st_size < 2_000_000, chapter.name
        text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        assert not re.search(r"\{[a-z:]+\}`|^:::|```\{", text, flags=re.M)


def test_alternative_texts_hold_numbers_of_the_run(built):
    for chapter in CHAPTERS:
        notebook = nbformat.read(built / "notebooks" / chapter.name, as_version=4)
        page = (built / "_build" / "html" / "notebooks" / f"{chapter.stem}.html").read_text()
        figures = [c for c in notebook.cells if "image" in c.metadata.get("mystnb", {})]
        assert figures, chapter.name
        for cell in figures:
            alt = cell.metadata["mystnb"]["image"]["alt"]
            assert "{" in cell.metadata["alt"] and "{" not in alt
            assert alt in html.unescape(page)


def test_an_alternative_text_without_its_number_stops_the_run(tmp_path):
    (tmp_path / "notebooks").mkdir()
    cell = nbformat.v4.new_code_cell("1", metadata={"alt": "A curve that ends at {missing:.2f}."})
    cell.metadata["mystnb"] = {"image": {}}
    first = nbformat.v4.new_code_cell("profile = 1", metadata={"tags": ["parameters"]})
    nbformat.write(notebook_of(first, cell), tmp_path / "notebooks" / "01_a.ipynb")
    with pytest.raises(run.ChapterFailed, match="missing"):
        run.run(tmp_path, profile="smoke")


def test_what_pages_paste_is_in_the_committed_notebooks():
    pasted = set()
    for page in (ROOT / "book").glob("*.md"):
        found = re.findall(r"`\.\./notebooks/(\w+)\.ipynb::(\w+)", page.read_text())
        pasted |= set(found)
    assert pasted
    for chapter, name in pasted:
        assert f'"name": "{name}"' in (ROOT / "notebooks" / f"{chapter}.ipynb").read_text(), name


def test_glue_refuses_what_cannot_be_formatted():
    with pytest.raises(ValueError, match="value must be a number or a string"):
        glue("name", [1])
