"""Display Markdown from a code cell, and keep values in the notebook for the book's other pages."""

import sys
from typing import Any


def show_markdown(text: str) -> None:
    """Display Markdown from a code cell; where there is no notebook, print it."""
    _display({"text/markdown": text, "text/plain": text}) or print(text)


def glue(name: str, value: float | int | str) -> None:
    """Keep a value in the notebook under a name, for the book's other pages; shows nothing.

    It is stored as MyST-NB's ``glue`` stores it, which is not installed on Colab.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"value must be a number or a string, got {type(value).__name__}")
    _glue(name, "text/plain", repr(float(value) if isinstance(value, float) else value))


def glue_html(name: str, page: str) -> None:
    """Keep HTML in the notebook under a name, for the book's other pages."""
    _glue(name, "text/html", page)


def _glue(name: str, kind: str, content: str) -> None:
    prefix = "application/papermill.record/"
    about = {"scrapbook": {"name": name, "mime_prefix": prefix}}
    _display({prefix + kind: content}, metadata=about)


def _display(data: dict[str, str], **options: Any) -> bool:
    """Display in a notebook; returns whether there is one."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return False
    ipython.display.display(data, raw=True, **options)
    return True
