"""The look of every figure: names, colors, the grid of panels, lines and their labels."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrnb._validation import Registry
from lrnb.attacks.balls import BALLS
from lrnb.data import DATASETS
from lrnb.metrics.images import DAMAGES
from lrnb.metrics.statistics import over_seeds
from lrnb.models.families import FAMILIES
from lrnb.models.training import ADVERSARIAL_FORMS

PALETTE = sns.color_palette("colorblind")
ATTACK, NOISE, GRAY = PALETTE[3], PALETTE[0], "0.55"
SCALES = Registry("scale", {
    "raw": "raw ε", "spread": "ε per spread of μ", "aggregate": "ε per spread of q(z)",
    "whitened": "whitened ε",
})  # fmt: skip
_COLORS: dict[str, Registry[Any]] = {
    "family": FAMILIES, "dataset": DATASETS,
    "kind": Registry("kind", {"attack": ATTACK, "noise": NOISE}),
    "scale": Registry("scale", dict(zip(SCALES, (ATTACK, PALETTE[1], NOISE, PALETTE[2]), strict=True))),
    "adv_form": Registry("adv_form", dict(zip(ADVERSARIAL_FORMS, PALETTE[2::2], strict=False))),
}  # fmt: skip
END = "_end "  # before a line's label: it stands at the line's right end, not in the legend


def labels() -> Registry[str]:
    """Return the labels of everything that tables name, those added to a registry included."""
    named = {x: known[x].label for known in (DATASETS, FAMILIES, BALLS) for x in known}
    shorter = {"ssim": "SSIM", "mse": "squared error"}  # than those of the distances
    return Registry("name", named | DAMAGES | shorter | SCALES | ADVERSARIAL_FORMS)


def label(name: str) -> str:
    """Return the label of a data set, family, norm, score, scale or form, or raise UnknownName.

    >>> label("tcvae")
    'β-TCVAE'
    """
    return labels()[name]


def use_style() -> None:
    """Set the book's look: opaque white background, color-blind-safe colors, readable sizes."""
    sns.set_theme(style="ticks", palette="colorblind", rc={
        "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110,
        "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9,
        "ytick.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "image.cmap": "gray",
    })  # fmt: skip


def split(data: pd.DataFrame | Mapping[str, Any], known: Registry[Any]) -> dict[str, Any]:
    """Split a table by the column of a registry's names (a mapping is split), in its order."""
    if isinstance(data, pd.DataFrame):
        data = {str(name): part for name, part in data.groupby(known.argument)}
    return {name: data[name] for name in known.ordered(data)}


def looks(
    data: pd.DataFrame | Mapping[str, Any], by: str = "family", *, swept: bool = False
) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Iterate over what colors tell apart: (name, color and label for an artist, its data)."""
    for name, part in split(data, _COLORS[by]).items():
        entry = _COLORS[by][name]
        color = PALETTE[entry.color] if by in ("family", "dataset") else entry
        special = FAMILIES[name].swept_label if swept else None
        yield name, {"color": color, "label": special or labels().get(name, name)}, part


def facets(
    data: pd.DataFrame | Mapping[str, Any], rows: Mapping[str, str] | str, *, height: float,
    by: str | None = None, xlabel: str = "", sharex: bool = True,
) -> Iterator[tuple[Axes, str, Any]]:  # fmt: skip
    """Make a figure; iterate over its panels to be drawn, (axes, key of the row, its data).

    Args:
        data: a table or a mapping by data set; a column of panels each.
        rows: key → label of the y axis, "" where `name_rows` is used; one label for one row.
        height: of a panel, in inches; xlabel: of the lowest panels.
        by: the table's column that holds the keys, if a panel is to have only those rows.
    """
    parts, rows = split(data, DATASETS), {"": rows} if isinstance(rows, str) else rows
    # the page scales a figure down to its width, so narrower panels keep text large
    size = ({1: 5.0, 2: 4.2}.get(len(parts), 3.2) * len(parts), height * len(rows))
    fig, axes = plt.subplots(len(rows), len(parts), figsize=size, squeeze=False,
                             sharex="col" if sharex else "none")  # fmt: skip
    for column, (name, part) in zip(axes.T, parts.items(), strict=True):
        column[0].set_title(DATASETS[name].label)
        column[-1].set_xlabel(xlabel)
        for ax, (key, ylabel) in zip(column, rows.items(), strict=True):
            yield ax, key, part[part[by] == key] if by else part
            if ax in axes[:, 0]:
                ax.set_ylabel(ylabel)
            elif not ylabel:
                ax.tick_params(labelleft=False)
    for ax in axes.flat:  # when the limits of all panels are final
        _label_ends(ax)
    finish(fig)


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


def draw_line(ax: Axes, line: pd.DataFrame, color: Any, x: str = "eps", label: str = "") -> None:
    """Draw means over x with the band of their intervals."""
    line = line.sort_values(x)
    ax.plot(line[x], line["mean"], color=color, marker="o", ms=3, lw=1.6, label=label)
    ax.fill_between(line[x], line["low"], line["high"], color=color, alpha=0.2, lw=0)


def draw_lines(
    ax: Axes, table: pd.DataFrame, value: str, by: str = "family", *, x: str = "eps",
    start: pd.DataFrame | None = None, origin: bool = False, named: bool = True,
) -> None:  # fmt: skip
    """Draw a line for each name in the column ``by``, means over seeds with 95% intervals.

    ``start`` holds rows that begin every line; ``origin`` adds 0 at ε = 0; ``named`` lines have
    their name at their end. Where LPIPS was not computed, the panel says so.
    """
    of_lpips = value.endswith("lpips") or set(table.get("metric", ())) == {"lpips"}
    if of_lpips and table[value].isna().all():
        note(ax, "not computed:\nrun `lrnb fetch lpips`", 0.5, 0.45, "center")
        ax.set_yticks([])
        return
    for _, look, rows in looks(table, by, swept=x == "beta"):
        line = over_seeds(pd.concat([start, rows]), value)
        if origin:
            line = pd.concat([line.iloc[:1].assign(eps=0.0, mean=0.0, low=0.0, high=0.0), line])
        draw_line(ax, line, look["color"], x, END + look["label"] if named else "")


def _label_ends(ax: Axes) -> None:
    """Name lines at their right ends, moved apart where they would overlap."""
    named = [line for line in ax.lines if str(line.get_label()).startswith(END)]
    if named:
        ax.margins(x=0.02)
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = [(ax.get_xlim()[1], float(np.asarray(line.get_ydata())[-1])) for line in named]
    own = [float(to_axes.transform(end)[1]) for end in ends]
    order = np.argsort(own)
    # tight_layout shrinks the panel later, hence a generous gap between the labels
    gap, last, highest = 13 * ax.figure.dpi / 72 / ax.get_window_extent().height, -1.0, 1.0
    heights = {i: (last := max(own[i], last + gap)) for i in order}
    for i in reversed(order):
        heights[i] = min(heights[i], highest)
        highest = heights[i] - gap
        ax.annotate(
            str(named[i].get_label()).removeprefix(END), (1.01, heights[i]), fontsize=8, va="center",
            xycoords="axes fraction", color=named[i].get_color(), annotation_clip=False,
        )  # fmt: skip


def name_rows(ax: Axes, names: list[str]) -> None:
    """Turn the y axis into a list of names, the first at the top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def note(ax: Axes, text: str, x: float = 0.97, y: float = 0.05, ha: str = "right") -> None:
    """Write a gray remark into a panel, at its lower right unless told otherwise."""
    ax.text(x, y, text, transform=ax.transAxes, ha=ha, fontsize=9, color=GRAY)


def eps_unit(table: pd.DataFrame) -> str:
    """Return the label of an axis of ε: its norm, and in units of what."""
    (norm,), (scale,) = set(table["norm"]), set(table.get("scale", ["raw"]))
    return f"{SCALES[scale]} ({BALLS[norm].label})"


def cut(ax: Axes, *, highest: float = math.inf) -> None:
    """Cut off what an interval has below 0 or above a quantity's highest value."""
    bottom, top = ax.get_ylim()
    room = 0.03 * (min(top, highest) - max(bottom, 0))
    ax.set_ylim(max(bottom, -room), min(top, highest + room))
