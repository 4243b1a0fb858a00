"""Figures of verdicts: one claim under every choice, and the primary effects of all claims."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrnb._validation import Registry
from lrnb.data import DATASETS
from lrnb.plotting import style
from lrnb.plotting.style import GRAY, PALETTE

# what was found of an effect: color, marker
LOOKS = Registry("found", {
    "holds": (PALETTE[2], "^"), "no effect": (PALETTE[0], "s"),
    "contradicted": (PALETTE[3], "v"), "undecided": (GRAY, "o"),
})  # fmt: skip


def specification_curve(judged: pd.DataFrame) -> Figure:
    """Draw one claim's effect under every choice (`lrnb.claims.judge`), sorted by size.

    Above: effects with 95% intervals, the band of effects too small to matter, the primary choices
    by a ring; below: a mark for each choice that an effect rests on (Simonsohn et al. 2020).
    """
    drawn = judged.dropna(subset="effect").sort_values("effect", ignore_index=True)
    if drawn.empty:
        fig, ax = plt.subplots(figsize=(10.5, 1))
        ax.set_axis_off()
        ax.text(0.5, 0.5, "No effect is defined in this run.", ha="center")
        return fig
    chosen = [dict(part.split(": ") for part in text.split("; ")) for text in drawn["choices"]]
    table = pd.DataFrame(chosen).assign(data=[style.label(name) for name in drawn["dataset"]])
    lines = [(name, value) for name in table for value in _in_order(table[name])]
    height = 2.4 + 0.17 * len(lines)
    fig, (above, below) = plt.subplots(
        2, 1, figsize=(10.5, height), sharex=True, height_ratios=[2.4, 0.17 * len(lines)]
    )
    least = float(drawn["least"].iloc[0])
    above.axhspan(-least, least, color="0.92", lw=0)
    above.axhline(0, color=GRAY, lw=0.8)
    _effects(above, drawn, np.arange(len(drawn)))
    ends = drawn["effect"].min(), drawn["effect"].max()
    room = 0.4 * (ends[1] - ends[0]) + least  # (a few wide intervals would flatten the curve)
    low = max(ends[0] - room, min(drawn["low"].min(), ends[0]) - 0.1 * room)
    high = min(ends[1] + room, max(drawn["high"].max(), ends[1]) + 0.1 * room)
    low, high = min(low, -1.2 * least), max(high, 1.2 * least)
    above.set(ylabel="effect", ylim=(low, high), xlim=(-1, len(drawn)))
    above.tick_params(axis="x", bottom=False)
    for row, (name, value) in enumerate(lines):
        here = np.flatnonzero(table[name] == value)
        colors = [LOOKS[drawn["found"][i]][0] for i in here]
        below.scatter(here, np.full(len(here), row), c=colors, marker="|", s=28, lw=1.1)
    groups = [name for name, _ in lines]
    labels = [f"{n}: {v}" if n not in groups[:i] else v for i, (n, v) in enumerate(lines)]
    style.name_rows(below, labels)
    for i in range(1, len(groups)):
        if groups[i] != groups[i - 1]:
            below.axhline(i - 0.5, color="0.85", lw=0.6)
    below.tick_params(axis="x", bottom=False, labelbottom=False)
    below.tick_params(axis="y", labelsize=8)
    below.set_xlabel(f"{len(drawn)} combinations of choices and data sets, sorted by effect")
    fig.tight_layout(h_pad=0.2, rect=(0, 0, 1, 1 - 0.25 / height))
    fig.legend(*above.get_legend_handles_labels(), loc="upper center", fontsize=8, ncols=5)
    return fig


def forest(judged: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Draw the primary and control effects of all claims with 95% intervals (`lrnb.claims.ledger`).

    In units of each claim's smallest effect of interest, so that one axis serves them all; beyond
    ten times that, a mark stands at the edge. ``titles`` names the claims.
    """
    edge = 10
    names = [name for name in titles if name in set(judged["claim"])]
    datasets = DATASETS.ordered(judged["dataset"])
    fig, axes = plt.subplots(
        1, 2, figsize=(10.5, 0.9 + 0.2 * len(names) * len(datasets)), sharey=True, sharex=True
    )
    for ax, reading in zip(axes, ("primary", "control"), strict=True):
        here = judged[judged["reading"] == reading].set_index(["claim", "dataset"])
        rows = pd.MultiIndex.from_product([names, datasets], names=["claim", "dataset"])
        here = here.reindex(rows).reset_index()
        scale = here["least"]
        columns = {c: (here[c] / scale).clip(-edge, edge) for c in ("effect", "low", "high")}
        ax.axvspan(-1, 1, color="0.92", lw=0)
        ax.axvline(0, color=GRAY, lw=0.8)
        _effects(ax, here.assign(**columns), np.arange(len(here)), across=True)
        for i in range(1, len(names)):
            ax.axhline(i * len(datasets) - 0.5, color="0.85", lw=0.6)
        ax.set(title=reading, xlim=(-edge * 1.05, edge * 1.05))
        ax.set_xlabel("effect / smallest effect of interest")
    short = [style.label(d) for d in datasets]
    labels = [f"{titles[n]}  {s}" if s == short[0] else s for n in names for s in short]
    style.name_rows(axes[0], labels)
    axes[0].tick_params(axis="y", labelsize=8)
    handles = axes[0].get_legend_handles_labels()
    fig.tight_layout(rect=(0, 0.04, 1, 1))
    fig.legend(*handles, loc="lower center", fontsize=8, ncols=4)
    return fig


def _effects(ax: Axes, drawn: pd.DataFrame, at: np.ndarray, *, across: bool = False) -> None:
    """Effects with intervals, colored and marked by what was found; rings around primary ones."""
    for found, (color, marker) in LOOKS.items():
        here = (drawn["found"] == found).to_numpy()
        if not here.any():
            continue
        part, place = drawn[here], at[here]
        lines = ax.hlines if across else ax.vlines
        lines(place, part["low"], part["high"], color=color, lw=1)
        xy = (part["effect"], place) if across else (place, part["effect"])
        fill = "white" if found == "undecided" else color
        ax.plot(*xy, marker, color=color, mfc=fill, ms=4.5, ls="", label=found)
    if not across:
        primary = (drawn["reading"] == "primary").to_numpy()
        ring: dict[str, Any] = dict(ms=10, mfc="none", mec="black", mew=1.2, ls="")
        ax.plot(at[primary], drawn.loc[primary, "effect"], "o", label="primary", **ring)


def _in_order(values: pd.Series) -> list[str]:
    """Data sets in the book's order, other entries as they come."""
    known = [entry.label for entry in DATASETS.values()]
    found = list(dict.fromkeys(values))
    return sorted(found, key=known.index) if set(found) <= set(known) else sorted(found)
