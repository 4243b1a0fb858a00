"""The command line as a user types it."""

import os

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner

from lrnb import _store as store
from lrnb.cli import main
from lrnb.publish import staleness
from lrnb.publish.tables import save


def lrnb(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "command", ["run", "compare", "build", "validate", "train", "fetch", "doctor", "models"]
)
def test_help_has_an_example(command):
    shown = lrnb(command, "--help")
    assert shown.exit_code == 0
    assert f"lrnb {command}" in shown.output.split("Example", 1)[1]
    assert command in lrnb("--help").output


def test_train_then_models_then_remove():
    done = lrnb("train", "--profile", "smoke", "--datasets", "digits", "--families", "vae,ae")
    assert done.exit_code == 0, done.output
    listed = lrnb("models").output
    assert "vae on digits, seed 0 (256 images × 2 epochs)" in listed and "2 artefacts" in listed
    key = store.entries()[0].key
    assert f"removed {key}" in lrnb("models", "remove", key[:8]).output
    assert lrnb("models", "remove", key).exit_code == 1
    assert lrnb("models", "remove", "--all").exit_code == 0
    assert "0 artefacts" in lrnb("models").output


def test_doctor_names_what_is_missing_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    shown = lrnb("doctor")
    assert shown.exit_code == 0
    for part in ("torch", "device", "lrnb fetch mnist", "lrnb fetch lpips", "embedded"):
        assert part in shown.output


def test_relative_places_are_relative_to_where_the_command_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("LRNB_DATA", "TORCH_HOME"):
        monkeypatch.setenv(name, "here")
    monkeypatch.setenv("COLUMNS", "300")
    assert f"not in {tmp_path / 'here'}" in lrnb("doctor").output
    assert os.environ["TORCH_HOME"] == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--datasets", "minst"], "did you mean 'mnist'?"),
        (["run", "--chapters", "99"], "chapters must be one of"),
        (["run", "--seeds", "x"], "must be integers"),
        (["run", "--profile", "quik"], "got 'quik'; did you mean 'quick'?"),
        (["fetch", "mnits"], "did you mean 'mnist'?"),
        (["train", "--families", "vea"], "did you mean 'vae'?"),
        (["models", "remove"], "name either"),
    ],
)
def test_errors_are_one_message_without_a_traceback(arguments, message):
    shown = lrnb(*arguments)
    assert shown.exit_code in (1, 2)
    assert message in shown.output and "Traceback" not in shown.output


def test_missing_data_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    shown = lrnb("run", "--datasets", "mnist", "--profile", "smoke")
    assert shown.exit_code == 1 and "lrnb fetch mnist" in shown.output


def test_a_second_run_is_compared_and_the_comparison_kept(tmp_path, monkeypatch):
    for name in ("notebooks", "results/bench"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    for place, seeds in (("results/smoke", [0, 1]), ("_build/smoke/results/smoke", [1])):
        monkeypatch.setenv("LRNB_RESULTS", place)
        table = pd.DataFrame({"dataset": "mnist", "seed": seeds, "damage": seeds})
        save(
            "02_untargeted",
            {"": table.astype({"damage": float})},
            {"profile": "smoke", "n": len(seeds)},
        )
    shown = lrnb("compare", "--profile", "smoke", "--keep")
    assert shown.exit_code == 0 and "02_untargeted" in shown.output
    kept = pd.read_csv("results/bench/rerun.csv")
    assert (kept["seeds"].item(), kept["identical"].item()) == (1, 1)


def test_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = lrnb("build")
    assert shown.exit_code == 1 and "_toc.yml" in shown.output


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(net):
        raise OSError("no network")

    monkeypatch.setattr("lrnb.metrics.images.fetch_lpips", fail)
    shown = lrnb("fetch", "lpips")
    assert shown.exit_code == 1 and "no network" in shown.output and "TORCH_HOME" in shown.output


def test_fetching_what_is_embedded():
    assert "digits: embedded" in lrnb("fetch", "digits").output


def test_a_release_needs_an_address_agreeing_cells_and_fresh_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    config = tmp_path / "_config.yml"
    config.write_text("repository:\n  url: https://example.org/me/book\n  branch: main\n")
    cell = nbformat.v4.new_code_cell("%pip install git+https://example.org/me/book@main")
    made = nbformat.v4.new_notebook(cells=[cell])
    staleness.stamp(made, {"profile": "smoke"})
    nbformat.write(made, tmp_path / "notebooks" / "01_a.ipynb")
    assert lrnb("doctor", "--release").exit_code == 0

    config.write_text(config.read_text().replace("me", "you"))
    shown = lrnb("doctor", "--release")
    assert shown.exit_code == 1 and "installs lrnb from another address" in shown.output

    config.write_text(config.read_text().replace("you/book", "your-account/book"))
    assert "set repository.url" in lrnb("doctor", "--release").output

    config.write_text("repository:\n  url: https://example.org/me/book\n  branch: main\n")
    made.cells[0].source += "  # changed"
    nbformat.write(made, tmp_path / "notebooks" / "01_a.ipynb")
    shown = lrnb("doctor", "--release")
    assert shown.exit_code == 1 and "--chapters 01 --profile smoke --in-place" in shown.output
    assert lrnb("doctor").exit_code == 0
