"""The command line as a user types it."""

import os
import subprocess
import sys
import time

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner

from lrnb import _store as store
from lrnb.cli import main
from lrnb.publish import staleness
from lrnb.publish.tables import save

COMMAND = [sys.executable, "-c", "from lrnb.cli import main; main()"]


def lrnb(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "command", ["run", "compare", "build", "validate", "train", "fetch", "doctor", "models", "plan"]
)
def test_help_has_an_example(command):
    shown = lrnb(command, "--help")
    assert shown.exit_code == 0
    assert f"lrnb {command}" in shown.output.split("Example", 1)[1]
    assert command in lrnb("--help").output


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["models"], ["doctor", "--quick"]]
)
def test_what_needs_no_torch_does_not_load_it(arguments):
    code = f"import sys\nfrom lrnb.cli import main\nmain({arguments}, standalone_mode=False)\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


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


def test_a_list_of_models_stands_damaged_records(tmp_path):
    for i, spec in enumerate(({"recipe": 3}, {"table": 1, "model": {"size": {}}}, {"x": 1})):
        store.save("models", spec, {}, {}, {"key": i})
    (place := store.store_root() / "tables" / "abc").mkdir(parents=True)
    (place / "record.json").write_text("[]")
    listed = lrnb("models")
    assert listed.exit_code == 0 and listed.output.count("damaged") == 4
    assert lrnb("models", "remove", "--all").exit_code == 0 and store.entries() == []


def test_a_thousand_artefacts_are_removed_at_once():
    for i in range(1000):
        store.save("models", {"i": i}, {}, {}, {})
    reads, entries = [], store.entries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "entries", lambda: reads.append(1) or entries())
        assert lrnb("models", "remove", "--all").exit_code == 0
    assert len(reads) == 1 and store.entries() == []


def test_an_error_is_one_line_and_debug_shows_where_it_came_from():
    shown = lrnb("train", "--profile", "smoke", "--seeds", str(2**64))
    assert shown.exit_code == 1 and "Traceback" not in shown.output
    assert shown.output.startswith("Error: seed must be an integer < 2⁶³")
    raised = lrnb("--debug", "train", "--profile", "smoke", "--seeds", str(2**64)).exception
    assert isinstance(raised, ValueError)


def test_a_terminal_without_greek_letters_gets_something_else():
    done = subprocess.run(
        [*COMMAND, "train", "--profile", "smoke", "--seeds", str(2**64)],
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert "seed must be" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_command_that_is_asked_to_end_takes_its_workers_with_it(own_store):
    command = [*COMMAND, "train", "--profile", "standard", "--jobs", "2"]
    command += ["--datasets", "shapes", "--families", "vae,ae"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(own_store.rglob("checkpoint.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    assert process.wait(30) != 0
    deadline = time.monotonic() + 20
    while (left := members(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def members(group):
    """The processes of a group that are still there."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,pid=,stat="], capture_output=True, text=True
    ).stdout
    rows = (line.split() for line in listed.splitlines())
    return [pid for pgid, pid, state in rows if int(pgid) == group and "Z" not in state]
