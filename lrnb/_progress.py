"""Progress bars (tqdm) on the terminal or in an interactive notebook, never in stored outputs.

A notebook under papermill and the workers of an engine have no terminal of their own: the environment
variable LRNB_PROGRESS, set by `share_terminal`, tells them the device of the one that shows bars.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def bar(
    label: str | None, *, total: int, done: int = 0
) -> Generator[Callable[..., Any], None, None]:
    """Show a bar of ``total`` parts while the block runs; call what it yields after 1 part or n.

    >>> with bar("epochs", total=3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    with contextlib.ExitStack() as stack:
        show = _shower(stack) if label else None
        if show is None:
            yield lambda n=1: None
        else:
            shown = show(desc=label, total=total, initial=done, leave=False)
            yield stack.enter_context(shown).update


def track(items: Iterable[T], label: str | None, *, total: int | None = None) -> Iterator[T]:
    """Iterate over items with a bar that advances after each of them."""
    if total is None:
        items = list(items)
        total = len(items)
    with bar(label, total=total) as advance:
        for item in items:
            yield item
            advance()


@contextlib.contextmanager
def share_terminal() -> Generator[None, None, None]:
    """Let the processes that the block starts show their bars on this process's terminal."""
    if "LRNB_PROGRESS" in os.environ or not sys.stderr.isatty():
        yield
        return
    os.environ["LRNB_PROGRESS"] = os.ttyname(sys.stderr.fileno())
    try:
        yield
    finally:
        del os.environ["LRNB_PROGRESS"]


def _shower(stack: contextlib.ExitStack) -> Callable[..., Any] | None:
    """The bar class for where this process runs, or None where nothing may be shown."""
    from tqdm import tqdm

    file: Any = sys.stderr
    ipython = sys.modules.get("IPython")
    kernel = ipython and getattr(ipython.get_ipython(), "kernel", None)
    if device := os.environ.get("LRNB_PROGRESS"):
        try:  # (must not become the process's controlling terminal)
            file = stack.enter_context(os.fdopen(os.open(device, os.O_WRONLY | os.O_NOCTTY), "w"))
        except OSError:
            return None
    elif kernel:  # a front end with a person allows input; papermill does not
        if not getattr(kernel, "_allow_stdin", False):
            return None
        from tqdm.auto import tqdm as notebook_tqdm

        return notebook_tqdm  # type: ignore[no-any-return]
    if not file.isatty():
        return None
    return functools.partial(tqdm, file=file, dynamic_ncols=True, mininterval=0.3)
