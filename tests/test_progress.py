"""Progress: on the terminal that started the work, and never in what a notebook stores."""

import os
import pty
import subprocess
import sys
import termios

import nbclient
import nbformat

from lrnb._progress import bar, share_terminal, track


def read_all(descriptor):
    shown = b""
    os.set_blocking(descriptor, False)
    try:
        while part := os.read(descriptor, 65536):
            shown += part
    except OSError:
        pass
    return shown.decode()


def test_a_process_without_a_terminal_shows_bars_on_the_shared_one(monkeypatch):
    ours, device = pty.openpty()
    termios.tcsetwinsize(device, (24, 80))
    monkeypatch.setenv("LRNB_PROGRESS", os.ttyname(device))
    code = "from lrnb._progress import track\nprint(sum(track(range(3), 'numbers')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          start_new_session=True)  # fmt: skip
    assert (done.stdout, done.stderr) == ("3\n", "")
    assert "numbers" in read_all(ours)


def test_silent_without_a_label_or_a_terminal(monkeypatch, capsys):
    monkeypatch.delenv("LRNB_PROGRESS", raising=False)
    assert list(track([1], "one")) == [1] and list(track([1], None)) == [1]
    with share_terminal(), bar("none", total=2) as advance:
        advance()
        assert "LRNB_PROGRESS" not in os.environ  # standard error is no terminal here
    assert capsys.readouterr() == ("", "")


def test_a_notebook_without_a_person_behind_it_stores_no_progress(monkeypatch):
    monkeypatch.delenv("LRNB_PROGRESS", raising=False)
    code = "from lrnb._progress import track\nprint(sum(track(range(3), 'numbers')))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.text == "3\n"
