"""Figures of the whole book: verdicts and costs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrnb.figures.style import (
    ATTACK,
    GREY,
    NOISE,
    PALETTE,
    in_order,
    panels,
)
from lrnb.names import (
    DATASET_NAMES,
    FAMILY_NAMES,
)


def forest(judged: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Effects of all claims with their 95% intervals, a panel a claim, a row a data set.

    Dots are the claim as stated, squares the control; the dashed line is the threshold, and filled
    marks have a whole interval on one side of it.

    Args:
        judged: `lrnb.claims.ledger`.
        titles: name of a claim → what stands above its panel.
    """
    names = [name for name in titles if name in set(judged["claim"])]
    columns = 2
    rows = -(-len(names) // columns)
    datasets = in_order(DATASET_NAMES, judged["dataset"])
    height = 0.75 + 0.34 * len(datasets)
    fig, axes = plt.subplots(rows, 2 * columns, figsize=(10.5, height * rows), squeeze=False)
    for ax in axes.flat[2 * len(names) :]:
        ax.set_visible(False)
    styles = {"claim": ("o", ATTACK), "control": ("s", NOISE)}
    for i, name in enumerate(names):
        pair = axes.flat[2 * i : 2 * i + 2]
        for ax, (reading, (marker, colour)) in zip(pair, styles.items(), strict=True):
            here = judged[(judged["claim"] == name) & (judged["reading"] == reading)]
            here = here.set_index("dataset").reindex(datasets)
            ax.axvline(float(here["least"].dropna().iloc[0]), color=GREY, lw=1, ls="--")
            y = np.arange(len(datasets))
            ax.hlines(y, here["low"], here["high"], color=colour, lw=1.5)
            for at, (_, row) in zip(y, here.iterrows(), strict=True):
                fill = "white" if row["holds"] == "open" else colour
                ax.plot(row["effect"], at, marker, color=colour, mfc=fill, ms=6)
            ax.set_ylim(len(datasets) - 0.5, -0.5)
            ax.set_yticks(y, [DATASET_NAMES[d] for d in datasets])
            ax.tick_params(axis="y", length=0, labelleft=reading == "claim")
            ax.text(0.98, 1.02, reading, transform=ax.transAxes, ha="right", va="bottom",
                    fontsize=8, color=colour)  # fmt: skip
        pair[0].set_title(titles[name], loc="left", fontsize=9.5, pad=16)
    fig.tight_layout()
    return fig


def costs(table: pd.DataFrame) -> Figure:
    """Median seconds of one model and of one table, a row a kind, a dot a data set.

    Args:
        table: a row for each kind ("model" or "table"), what it is and data set; median_seconds.
    """
    kinds = list(dict.fromkeys(table["kind"]))
    rows = {kind: list(dict.fromkeys(table.loc[table["kind"] == kind, "what"])) for kind in kinds}
    longest = max(map(len, rows.values()), default=1)
    fig, axes = panels(1, max(len(kinds), 1), height=0.28 * longest + 1.2, sharex="none")
    datasets = in_order(DATASET_NAMES, table["dataset"])
    for ax, kind in zip(axes[0], kinds, strict=False):
        for dataset, colour in zip(datasets, PALETTE, strict=False):
            here = table[(table["kind"] == kind) & (table["dataset"] == dataset)]
            at = [rows[kind].index(what) for what in here["what"]]
            ax.plot(here["median_seconds"], at, "o", ms=5, color=colour, alpha=0.9,
                    label=DATASET_NAMES[dataset])  # fmt: skip
        ax.set_yticks(range(len(rows[kind])), [FAMILY_NAMES.get(w, w) for w in rows[kind]])
        ax.set(title=f"one {kind}", xlabel="seconds, median", xlim=(0, None))
        ax.set_ylim(longest - 0.5, -0.5)
        ax.grid(axis="y", color="0.9")
    if kinds:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8)
    fig.tight_layout(rect=(0, 0.06, 1, 1))
    return fig
