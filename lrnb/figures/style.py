"""The look of every figure: colours, panels, lines and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrnb.names import (
    FAMILY_NAMES,
    NORM_NAMES,
)

PALETTE = sns.color_palette("colorblind")
FAMILY_COLOURS = dict(zip(FAMILY_NAMES, PALETTE, strict=False))
ATTACK, NOISE, GREY = PALETTE[3], PALETTE[0], "0.55"


def use_style() -> None:
    """Set the book's look: opaque white ground, colour-blind-safe colours, sharp on any screen."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": 110,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "image.cmap": "gray",
        }
    )


def in_order(names: Mapping[str, str], values: pd.Series) -> list[str]:
    """Those of the names that occur among the values, in the book's order."""
    known = set(values)
    return [name for name in names if name in known]


def panels(
    rows: int, columns: int, *, height: float, sharex: Literal["col", "none"] = "col"
) -> tuple[Figure, Any]:
    """A figure of panels, each ``height`` inches high; narrower ones where there are many columns.

    The page scales a figure down to its width, so this keeps text large.
    """
    width = {1: 5.0, 2: 4.2}.get(columns, 3.2)
    size = (width * columns, height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=sharex)


def cells(metrics: list[str], datasets: list[str]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    """((row, metric), (column, dataset)) of every panel."""
    return [(row, column) for row in enumerate(metrics) for column in enumerate(datasets)]


def draw_line(ax: Axes, line: pd.DataFrame, colour: Any) -> None:
    """Means over ε with the band of their intervals: columns eps, mean, low, high."""
    ax.plot(line["eps"], line["mean"], color=colour, marker="o", ms=3, lw=1.6)
    ax.fill_between(line["eps"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)


def direct_labels(ax: Axes, ends: Mapping[str, tuple[float, Any]], *, x: float) -> None:
    """Name lines at their right ends, moved apart where they would overlap."""
    ax.margins(x=0.02)
    ordered = sorted(ends.items(), key=lambda item: item[1][0])
    height = ax.get_window_extent().height
    # tight_layout shrinks the panel later, hence a generous gap between the labels
    gap, last = 13 * ax.figure.dpi / 72 / height, -1.0
    for name, (y, colour) in ordered:
        at = ax.transAxes.inverted().transform(ax.transData.transform((x, y)))[1]
        at = max(at, last + gap)
        last = at
        ax.annotate(
            name, (1.01, at), xycoords="axes fraction", color=colour, fontsize=8, va="center",
            annotation_clip=False,
        )  # fmt: skip


def eps_unit(table: pd.DataFrame) -> str:
    """The label of an axis of ε: its norm, and in units of what."""
    (norm,) = set(table["norm"])
    scale = "units of the code's spread" if "spread" in set(table.get("scale", ())) else "raw"
    return f"ε ({NORM_NAMES[norm]}, {scale})"


def not_computed(ax: Axes, metric: str, values: pd.Series) -> bool:
    """Whether LPIPS was not computed, which the panel then says."""
    if metric != "lpips" or not values.isna().all():
        return False
    ax.text(
        0.5, 0.5, "not computed:\nrun `lrnb fetch lpips`", transform=ax.transAxes, ha="center",
        va="center", color=GREY, fontsize=9,
    )  # fmt: skip
    ax.set_yticks([])
    return True


def with_origin(line: pd.DataFrame) -> pd.DataFrame:
    """A damage curve from its origin on: no damage at ε = 0."""
    first = line.iloc[[0]].assign(eps=0.0, mean=0.0, low=0.0, high=0.0)
    return pd.concat([first, line])
