"""Display Markdown from a code cell, and keep values in the notebook for the book's other pages."""

import html
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lrnb.data import DATASETS


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


def by_dataset(rows: pd.DataFrame, value: str, digits: int = 2) -> str:
    """A value of each data set with its interval, in the book's order, as one line of text.

    >>> by_dataset(pd.DataFrame({"dataset": ["mnist"], "gain": 1, "low": 0.5, "high": 1.5}), "gain")
    'MNIST 1.00 [0.50, 1.50]'
    """
    found = []
    columns = ["dataset", value, "low", "high"]
    for dataset, mean, low, high in in_order(rows)[columns].itertuples(index=False):
        found.append(f"{DATASETS[dataset].label} {bounded(mean, low, high, digits)}")
    return "; ".join(found)


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the book's order of data sets."""
    return rows.sort_values("dataset", key=lambda d: d.map(list(DATASETS).index), kind="stable")


def bounded(mean: float, low: float, high: float, digits: int) -> str:
    """A number with its interval, if it has one.

    >>> bounded(0.5, 0.25, 0.75, 2)
    '0.50 [0.25, 0.75]'
    """
    # (adding 0 makes 0.00 of −0.00)
    shown, *bounds = (f"{round(x, digits) + 0.0:.{digits}f}" for x in (mean, low, high))
    text = "undefined" if math.isnan(mean) else shown
    return text + f" [{', '.join(bounds)}]" * (low < high)


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML; the text is escaped."""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    cells = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
