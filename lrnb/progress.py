"""Progress of long steps: on a terminal or in an interactive notebook, never in stored outputs.

A step reports to a channel, a file named by ``LRNB_PROGRESS``, when a parent process shows the
progress (notebooks run in processes of their own); else to the terminal it runs on; else nowhere.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Advance = Callable[[], None]
T = TypeVar("T")
_SECONDS_BETWEEN_REPORTS = 0.3
_ids = itertools.count()


@contextlib.contextmanager
def task(label: str | None, *, total: int, done: int = 0) -> Generator[Advance, None, None]:
    """Announce a step of ``total`` parts; call what it yields after each part.

    Args:
        label: what is shown; None shows nothing.
        total: number of parts; `done`: how many are done already.

    >>> with task("epochs", total=3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    report = _reporter() if label else None
    if label is None or report is None:
        yield lambda: None
        return
    event = {"id": f"{os.getpid()}-{next(_ids)}", "label": label, "total": total, "done": done}
    start = last = time.monotonic()

    def advance() -> None:
        nonlocal last
        event["done"] = int(event["done"]) + 1  # type: ignore[call-overload]
        if time.monotonic() - last > _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            report({**event, "seconds": last - start, "before": done})

    report(event)
    try:
        yield advance
    finally:
        report({**event, "end": True})


def track(items: Iterable[T], label: str | None, *, total: int | None = None) -> Iterator[T]:
    """Iterate over items and report each as a part of one step.

    >>> [square for square in track([1, 4, 9], "squares")]
    [1, 4, 9]
    """
    if total is None:
        items = list(items)
        total = len(items)
    with task(label, total=total) as advance:
        for item in items:
            yield item
            advance()


def _reporter() -> Callable[[dict[str, Any]], None] | None:
    channel = os.environ.get("LRNB_PROGRESS")
    if channel:
        return lambda event: _append(Path(channel), event)
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        kernel = getattr(shell, "kernel", None)
        if kernel is not None:
            # a front end with a person behind it allows input; papermill and nbval do not
            return _cell_line() if getattr(kernel, "_allow_stdin", False) else None
    return _terminal_line() if sys.stderr.isatty() else None


def _append(channel: Path, event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError), channel.open("a") as file:
        file.write(json.dumps(event) + "\n")


def _describe(event: dict[str, Any]) -> str:
    done, total, seconds = event["done"], event["total"], event.get("seconds", 0.0)
    fresh = done - event.get("before", 0)
    left = f", {seconds / fresh * (total - done):.0f} s left" if fresh and seconds else ""
    return f"{event['label']}: {done} of {total}{left}"


def _terminal_line() -> Callable[[dict[str, Any]], None]:
    def show(event: dict[str, Any]) -> None:
        sys.stderr.write("\r\x1b[2K" + ("" if event.get("end") else _describe(event)))
        sys.stderr.flush()

    return show


def _cell_line() -> Callable[[dict[str, Any]], None]:
    display = sys.modules["IPython"].display
    handle = display.display({"text/plain": ""}, raw=True, display_id=True)

    def show(event: dict[str, Any]) -> None:
        handle.update({"text/plain": "" if event.get("end") else _describe(event)}, raw=True)

    return show


@contextlib.contextmanager
def shown_on_terminal() -> Generator[None, None, None]:
    """Open a channel for this process and its children, and show what arrives on the terminal.

    With a terminal it is one line per running step, with bar and time left; without one (a log
    file), a line about every ten seconds.
    """
    if os.environ.get("LRNB_PROGRESS"):  # a parent shows it already
        yield
        return
    with tempfile.TemporaryDirectory(prefix="lrnb-progress-") as folder:
        channel = Path(folder) / "events.jsonl"
        channel.touch()
        os.environ["LRNB_PROGRESS"] = str(channel)
        stop = threading.Event()
        viewer = threading.Thread(target=_view, args=(channel, stop), daemon=True)
        viewer.start()
        try:
            yield
        finally:
            stop.set()
            viewer.join(timeout=5)
            del os.environ["LRNB_PROGRESS"]


def _view(channel: Path, stop: threading.Event) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    show = _bars(console) if console.is_terminal else contextlib.nullcontext(_log_lines(console))
    pending = ""  # a line that is only half written yet
    with show as receive, channel.open() as events:
        while True:
            finished = stop.is_set()
            while line := events.readline():
                pending += line
                if pending.endswith("\n"):
                    receive(json.loads(pending))
                    pending = ""
            if finished:
                return
            time.sleep(0.2)


@contextlib.contextmanager
def _bars(console: Any) -> Generator[Callable[[dict[str, Any]], None], None, None]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        known: dict[str, Any] = {}

        def receive(event: dict[str, Any]) -> None:
            if event.get("end"):
                if event["id"] in known:
                    bars.remove_task(known.pop(event["id"]))
                return
            if event["id"] not in known:
                known[event["id"]] = bars.add_task(event["label"], total=event["total"])
            bars.update(known[event["id"]], completed=event["done"])

        yield receive


def _log_lines(console: Any, *, every: float = 10.0) -> Callable[[dict[str, Any]], None]:
    last = 0.0

    def receive(event: dict[str, Any]) -> None:
        nonlocal last
        if not event.get("end") and event["done"] and time.monotonic() - last > every:
            last = time.monotonic()
            console.print(_describe(event), highlight=False)

    return receive
