"""What chapters display and glue, read as a notebook receives it; figures survive a run."""

import html
import json

import IPython
import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

from lrnb.attacks import pgd
from lrnb.claims import CLAIMS, ledger
from lrnb.publish import ledger as verdict_pages
from lrnb.publish import pages, run

CHAPTER = "02_untargeted_attack"
PARAMETERS = {"profile": "smoke", "datasets": ["mnist"], "seeds": [0, 1]}


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (Markdown texts, glued values by name)."""
    texts, glued = [], {}

    def display(data, *, raw, metadata=None):
        if metadata:
            glued[metadata["scrapbook"]["name"]] = next(iter(data.values()))
        else:
            texts.append(data["text/markdown"])

    monkeypatch.setattr(IPython, "get_ipython", lambda: "a shell")
    monkeypatch.setattr("IPython.display.display", display)
    return texts, glued


def shifts(seeds=3):
    rows = [
        (d, s, eps, kind, 0.9 + s / 50 if kind == "attack" else 0.5 + s / 100)
        for d in ("mnist", "celeba")
        for s in range(seeds)
        for eps in (0.5, 1.0)
        for kind in ("attack", "noise")
    ]
    table = pd.DataFrame(rows, columns=["dataset", "seed", "eps", "kind", "told_apart"])
    told = {"told_by_kernel": table["told_apart"], "top_share": table["told_apart"]}
    return table.assign(**told, even_share=0.5, linear_share=0.5)


def test_a_report_has_a_paragraph_a_data_set_and_glues_the_first(shown):
    texts, glued = shown
    rows = {
        "dataset": ["mnist", "mnist", "celeba"],
        "eps": [1.0, 1.0, 2.0],
        "damage": [0.4, 0.6, float("nan")],
        "unit": ["spread"] * 3,
    }
    pages.report("ε = {eps:.2g}: {damage:.1f} ({unit})", pd.DataFrame(rows), name="x")
    assert texts == [
        "**MNIST.** ε = 1: 0.5 (95% interval -0.8 to 1.8) (spread)",
        "**CelebA.** ε = 2: undefined (spread)",
    ]
    assert glued == {"x_dataset": "'MNIST'", "x_eps": "1.0", "x_damage": "0.5"}
    with pytest.raises(KeyError, match="missing"):
        pages.report("{missing:.1f}", pd.DataFrame(rows), name="x")


def test_a_summary_gives_means_with_intervals_dashes_and_integers():
    rows = {"dataset": ["mnist"] * 2, "a": [0.4, 0.6], "b": [float("nan")] * 2, "n": [7, 7]}
    table = pages.summary(
        pd.DataFrame(rows), rows=["dataset"], values={"a": "A", "b": "B", "n": "N"}, digits=1
    )
    assert table.loc["MNIST"].to_dict() == {"A": "0.5 [-0.8, 1.8]", "B": "–", "N": "7"}


def test_a_verdict_is_shown_with_its_choices_and_its_effects_are_glued(shown):
    texts, glued = shown
    verdict_pages.show_verdict("apart", {f"{CHAPTER}-shift": shifts()}, "standard")
    (text,) = texts
    assert "▲ **Adversarial codes differ from clean ones: holds.** *Effect*: share of" in text
    assert (
        "*Smallest effect of interest*: 0.05. *Primary* (detector: linear, beyond: noise of "
        "its length, ε: end" in text
    )
    assert "MNIST 0.410 [0.385, 0.435] (holds); CelebA 0.41" in text
    assert "▲ *Control*: holds (beyond: chance): MNIST 0.420 [0.370, 0.470] (holds)" in text
    assert "*All choices*: 100% agree of 16 combinations of choices and data sets." in text
    assert set(glued) == {"effect_apart", "control_effect_apart", "curve_apart"}
    plt.close("all")


def test_the_ledger_glues_whole_tables_with_every_claim(shown, tmp_path):
    texts, glued = shown
    origin = {"parameters": {"profile": "standard"}}
    (tmp_path / f"{CHAPTER}-shift.json").write_text(json.dumps(origin))
    shifts().to_csv(tmp_path / f"{CHAPTER}-shift.csv", index=False)
    verdict_pages.show_ledger(ledger(tmp_path))
    assert len(texts) == len(CLAIMS)
    assert sum("After Holm's correction over all claims it still holds." in t for t in texts) == 2
    for name in ("verdict_table", "control_table"):
        assert glued[name].count("<tr>") == len(CLAIMS) + 1
        for claim in CLAIMS.values():
            assert html.escape(claim.title) in glued[name]
        assert glued[name].count(">not computed</td>") == len(CLAIMS) - 2
    assert glued["ledger_verdicts"] == "'2 holds'"
    assert "change_apart" in glued and "change_steered" not in glued


def test_finish_saves_every_table_and_links_to_it(shown, tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_RESULTS", str(tmp_path))
    pages.finish(CHAPTER, {"": shifts(), "shift": shifts()}, PARAMETERS)
    (text,) = shown[0]
    for stem in (CHAPTER, f"{CHAPTER}-shift"):
        assert (tmp_path / f"{stem}.csv").is_file() and (tmp_path / f"{stem}.json").is_file()
        assert f"(../results/smoke/{stem}.csv)" in text
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".csv", ".json")]


def test_source_is_shown_as_code_and_a_small_run_says_so(shown):
    texts, _ = shown
    pages.show_source(pgd.attack)
    assert texts[0].startswith("```python\ndef attack(") and texts[0].endswith("\n```")
    pages.announce("smoke", ["mnist", "celeba"], [0, 1])
    assert "on MNIST, CelebA; seeds 0, 1" in texts[1] and "decides nothing" in texts[1]


def test_a_missing_benchmark_is_said(shown, tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_RESULTS", str(tmp_path / "standard"))
    pages.show_benchmark("attack", {"a": "A"})
    assert shown[0] == ["There is no table `attack` in `results/bench/`."]


def test_html_in_a_benchmark_is_shown_as_text(shown, tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_RESULTS", str(tmp_path / "standard"))
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "attack.csv").write_text("a\n<b>x</b>\n")
    made = {
        "device": "<script>alert(1)</script>",
        "torch": "2",
        "commit": "c",
        "time": "2026-01-01",
    }
    (tmp_path / "bench" / "attack.json").write_text(json.dumps(made))
    pages.show_benchmark("attack", {"a": "A"})
    assert (
        "&lt;script&gt;" in shown[0][0] and "&lt;b&gt;" in shown[0][0] and "<b>" not in shown[0][0]
    )


@pytest.mark.slow
def test_a_drawing_backend_in_the_environment_costs_no_figure(tmp_path, monkeypatch):
    draw = "import matplotlib.pyplot as plt; from lrnb.publish import pages\n"
    draw += "pages.glue('top', 2.0); plt.plot([1, 2]);"
    (tmp_path / "notebooks").mkdir()
    tracked = tmp_path / "notebooks" / "01_a.ipynb"
    monkeypatch.setenv("MPLBACKEND", "Agg")

    def write(code):
        cell = nbformat.v4.new_code_cell(code, metadata={"alt": "It ends at {top:.0f}."})
        cell.metadata["mystnb"] = {"image": {}}
        first = nbformat.v4.new_code_cell("profile = 1", metadata={"tags": ["parameters"]})
        kind = {"language_info": {"name": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[first, cell], metadata=kind), tracked)

    write(draw)
    run.run(tmp_path, profile="smoke", in_place=True)
    published = nbformat.read(tracked, as_version=4)
    assert any("image/png" in o.get("data", {}) for o in published.cells[1].outputs)
    assert published.cells[1].metadata["mystnb"]["image"]["alt"] == "It ends at 2."
    # a figure that is lost stops the run before anything is published
    write(draw + "plt.close()")
    before = tracked.read_bytes()
    with pytest.raises(run.ChapterFailed, match=r"the figure described by .* is missing"):
        run.run(tmp_path, profile="smoke", in_place=True)
    assert tracked.read_bytes() == before
