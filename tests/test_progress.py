"""Progress: on the channel, on a terminal, and never in what a notebook stores."""

import io
import json
import os
import sys
import time
import types

from lrnb import progress
from lrnb.progress import shown_on_terminal, task, track


def test_events_on_the_channel(tmp_path, monkeypatch):
    channel = tmp_path / "events.jsonl"
    monkeypatch.setenv("LRNB_PROGRESS", str(channel))
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_REPORTS", 0)
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    events = [json.loads(line) for line in channel.read_text().splitlines()]
    assert [e["done"] for e in events] == [0, 1, 2, 3, 3]
    assert all(e["label"] == "letters" and e["total"] == 3 for e in events)
    assert [bool(e.get("end")) for e in events] == [False] * 4 + [True]


def test_a_step_that_fails_still_ends(tmp_path, monkeypatch):
    channel = tmp_path / "events.jsonl"
    monkeypatch.setenv("LRNB_PROGRESS", str(channel))
    try:
        with task("broken", total=2):
            raise KeyError
    except KeyError:
        pass
    assert json.loads(channel.read_text().splitlines()[-1])["end"]


def test_silent_without_a_label_or_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LRNB_PROGRESS")
    assert list(track([1], "one")) == [1]
    monkeypatch.setenv("LRNB_PROGRESS", str(tmp_path / "events"))
    assert list(track([1], None)) == [1]
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "events").exists()


def test_a_notebook_without_a_person_behind_it_stores_no_progress(monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.delenv("LRNB_PROGRESS")
    code = "from lrnb.progress import track\nprint(sum(track(range(3), 'numbers')))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.text == "3\n"


def test_a_notebook_with_a_person_gets_a_line_that_is_emptied(monkeypatch):
    shown = []

    class Handle:
        def update(self, content, raw):
            shown.append(content["text/plain"])

    ipython = types.ModuleType("IPython")
    kernel = types.SimpleNamespace(_allow_stdin=True)
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=kernel)
    ipython.display = types.SimpleNamespace(display=lambda *a, **k: Handle())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.delenv("LRNB_PROGRESS")
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_REPORTS", 0)
    list(track([1, 2], "steps"))
    assert shown[0] == "steps: 0 of 2" and shown[-1] == ""


def test_a_terminal_gets_one_line_that_is_cleared(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("LRNB_PROGRESS")
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_REPORTS", 0)
    list(track([1, 2], "steps"))
    assert "steps: 1 of 2" in terminal.getvalue() and "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_the_viewer_shows_what_children_report(monkeypatch, capsys):
    monkeypatch.delenv("LRNB_PROGRESS")
    with shown_on_terminal():
        channel = os.environ["LRNB_PROGRESS"]
        with open(channel, "a") as file:  # half a line first: the viewer waits for the rest
            file.write('{"id": "1", "label": "epochs", "total": 4, ')
            file.flush()
            time.sleep(0.5)
            file.write('"done": 1, "seconds": 2.0}\n')
    assert "epochs: 1 of 4, 6 s left" in capsys.readouterr().err
    assert "LRNB_PROGRESS" not in os.environ
