"""The look of every figure: names, colors, the grid of panels, lines and their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrnb._validation import Registry
from lrnb.attacks.balls import BALLS
from lrnb.data import DATASETS
from lrnb.metrics.statistics import over_seeds
from lrnb.models.families import FAMILIES
from lrnb.models.training import ADVERSARIAL_FORMS

PALETTE = sns.color_palette("colorblind")
ATTACK, NOISE, GRAY = PALETTE[3], PALETTE[0], "0.55"
SCALES = Registry("scale", {"raw": "raw ε", "spread": "ε per spread"})
_KINDS = Registry("kind", {"attack": ATTACK, "noise": NOISE})
_FORMS = Registry("adv_form", dict(zip(ADVERSARIAL_FORMS, PALETTE[2::2], strict=False)))
Ends = dict[str, tuple[float, Any]]  # what stands at a line's right end: its height and color


def labels() -> Registry[str]:
    """Return the labels of everything that tables name, those added to a registry included."""
    entries = (entry for kind in (DATASETS, FAMILIES, BALLS) for entry in kind.items())
    scores = {"ssim": "SSIM", "lpips": "LPIPS", "mse": "squared error"}
    named = {name: entry.label for name, entry in entries}
    return Registry("name", named | scores | SCALES | ADVERSARIAL_FORMS)


def family_color(name: str) -> Any:
    """Return the color of a family."""
    return PALETTE[FAMILIES[name].color]


def label(name: str) -> str:
    """Return the label of a data set, family, norm, score, scale or form, or raise UnknownName.

    >>> label("tcvae")
    'β-TCVAE'
    """
    return labels()[name]


def use_style() -> None:
    """Set the book's look: opaque white background, color-blind-safe colors, readable sizes."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update({
        "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110,
        "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9,
        "ytick.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "image.cmap": "gray",
    })  # fmt: skip


def facets(
    data: pd.DataFrame | Mapping[str, Any], rows: Mapping[str, str],
    draw: Callable[[Axes, str, Any], Ends | None], *, height: float, xlabel: str | None = None,
    sharex: Literal["col", "none"] = "col",
) -> Figure:  # fmt: skip
    """Draw a grid of panels: a row a key of ``rows``, a column a data set; its legend is below.

    Args:
        data: a table with the column "dataset", or what is drawn by data set.
        rows: key → label of the y axis.
        draw: (axes, key, data of the data set) draws a panel; returns what its lines are labeled.
        height: of a panel, in inches; xlabel: of the lowest panels.
    """
    names = DATASETS.ordered(data["dataset"] if isinstance(data, pd.DataFrame) else data)
    # the page scales a figure down to its width, so narrower panels keep text large
    size = ({1: 5.0, 2: 4.2}.get(len(names), 3.2) * len(names), height * len(rows))
    fig, axes = plt.subplots(len(rows), len(names), figsize=size, squeeze=False, sharex=sharex)
    for column, name in enumerate(names):
        axes[0, column].set_title(DATASETS[name].label)
        part = data[data["dataset"] == name] if isinstance(data, pd.DataFrame) else data[name]
        for key, ax in zip(rows, axes[:, column], strict=True):
            _label_ends(ax, draw(ax, key, part) or {})
            ax.set_ylabel(rows[key] if column == 0 else "")
        if xlabel:
            axes[-1, column].set_xlabel(xlabel)
    finish(fig)
    return fig


def finish(fig: Figure) -> None:
    """Arrange the panels, and put their legend below them, each label once."""
    handles: dict[str, Any] = {}
    for ax in fig.axes:
        found, names = ax.get_legend_handles_labels()
        handles |= dict(zip(names, found, strict=True))
    columns = max(1, int(fig.get_figwidth() / 1.5))
    if handles:
        fig.legend(handles.values(), handles, loc="lower center", ncols=columns, fontsize=8)
    room = 0.22 * -(-len(handles) // columns) / fig.get_figheight()
    fig.tight_layout(rect=(0, room, 1, 1))


def draw_line(ax: Axes, line: pd.DataFrame, color: Any, *, x: str = "eps") -> tuple[float, Any]:
    """Draw means over x with the band of their intervals; return the end's height and color."""
    line = line.sort_values(x)
    ax.plot(line[x], line["mean"], color=color, marker="o", ms=3, lw=1.6)
    ax.fill_between(line[x], line["low"], line["high"], color=color, alpha=0.2, lw=0)
    return float(line["mean"].iloc[-1]), color


def draw_lines(
    ax: Axes, table: pd.DataFrame, value: str, by: str, *, x: str = "eps",
    start: pd.DataFrame | None = None, origin: bool = False,
) -> Ends:  # fmt: skip
    """Draw a line for each name in the column ``by``, means over seeds with 95% intervals.

    ``start`` holds rows that begin every line; ``origin`` adds 0 at ε = 0.
    """
    families = Registry("family", {name: family_color(name) for name in FAMILIES})
    colors = {"family": families, "kind": _KINDS, "adv_form": _FORMS}[by]
    ends: Ends = {}
    for name in colors.ordered(table[by]):
        line = over_seeds(pd.concat([start, table[table[by] == name]]), value)
        if origin:
            line = pd.concat([line.iloc[:1].assign(eps=0.0, mean=0.0, low=0.0, high=0.0), line])
        swept = FAMILIES[name].swept_label if by == "family" and x == "beta" else None
        ends[swept or labels().get(name, name)] = draw_line(ax, line, colors[name], x=x)
    return ends


def _label_ends(ax: Axes, ends: Ends) -> None:
    """Name lines at their right ends, moved apart where they would overlap."""
    if ends:
        ax.margins(x=0.02)
    # tight_layout shrinks the panel later, hence a generous gap between the labels
    gap, last = 13 * ax.figure.dpi / 72 / ax.get_window_extent().height, -1.0
    for name, (y, color) in sorted(ends.items(), key=lambda end: end[1][0]):
        own = ax.transAxes.inverted().transform(ax.transData.transform((ax.get_xlim()[1], y)))[1]
        last = max(own, last + gap)
        ax.annotate(
            name, (1.01, last), xycoords="axes fraction", color=color, fontsize=8, va="center",
            annotation_clip=False,
        )  # fmt: skip


def name_rows(ax: Axes, names: list[str], *, shown: bool | None = None) -> None:
    """Turn the y axis into a list of names, the first at the top; shown in the first column."""
    if shown is None:
        spec = ax.get_subplotspec()
        shown = spec is None or spec.is_first_col()
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0, labelleft=shown)


def note(ax: Axes, text: str, x: float = 0.97, y: float = 0.05, ha: str = "right") -> None:
    """Write a gray remark into a panel, at its lower right unless told otherwise."""
    ax.text(x, y, text, transform=ax.transAxes, ha=ha, fontsize=9, color=GRAY)


def not_computed(ax: Axes, metric: str, values: pd.Series) -> bool:
    """Return whether LPIPS was not computed, and say so in the panel."""
    missing = metric.endswith("lpips") and bool(values.isna().all())
    if missing:
        note(ax, "not computed:\nrun `lrnb fetch lpips`", 0.5, 0.45, "center")
        ax.set_yticks([])
    return missing


def eps_unit(table: pd.DataFrame) -> str:
    """Return the label of an axis of ε: its norm, and in units of what."""
    (norm,) = set(table["norm"])
    scale = "units of the code's spread" if "spread" in set(table.get("scale", ())) else "raw"
    return f"ε ({BALLS[norm].label}, {scale})"


def cut(ax: Axes, *, highest: float) -> None:
    """Cut off what an interval has below 0 or above a quantity's highest value."""
    bottom, top = ax.get_ylim()
    room = 0.03 * (min(top, highest) - max(bottom, 0))
    ax.set_ylim(max(bottom, -room), min(top, highest + room))
