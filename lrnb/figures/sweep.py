"""Figures over β: the trade-off, curves, rank correlations."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrnb.figures.style import (
    FAMILY_COLOURS,
    GREY,
    cells,
    direct_labels,
    draw_line,
    in_order,
    panels,
)
from lrnb.intervals import over_seeds
from lrnb.names import (
    DATASET_NAMES,
    SWEEP_NAMES,
)


def tradeoff_paths(table: pd.DataFrame) -> Figure:
    """Robustness over reconstruction error along β: a row a scale of ε, a column a data set.

    A line a family, β at its points, whose area grows with MIG. Means over seeds with 95% intervals
    both ways.

    Args:
        table: `lrnb.sweep.tradeoff_table`.
    """
    scales = {"raw": "raw ε", "spread": "ε per spread"}
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(2, len(datasets), height=3.1)
    for (row, scale), (column, dataset) in cells(list(scales), datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset]
        mig = over_seeds(here, "mig").set_index(["family", "beta"])["mean"]
        for family in SWEEP_NAMES:
            path = here[here["family"] == family]
            x, y = (
                over_seeds(path, value).sort_values("beta")
                for value in ("squared_error", f"aaddc_{scale}")
            )
            colour = FAMILY_COLOURS[family]
            ax.errorbar(
                x["mean"], y["mean"], xerr=x["high"] - x["mean"], yerr=y["high"] - y["mean"],
                color=colour, lw=1.3, elinewidth=0.7, label=SWEEP_NAMES[family],
            )  # fmt: skip
            area = 12 + 150 * mig[family][x["beta"]] / (mig.max() or 1)
            ax.scatter(x["mean"], y["mean"], s=area.to_numpy(), color=colour, lw=0, alpha=0.8)
            for beta, *at in zip(x["beta"], x["mean"], y["mean"], strict=True):
                ax.annotate(
                    f"{beta:g}", at, (5, 4) if family == "tcvae" else (-5, -10),
                    textcoords="offset points", fontsize=7.5, color=colour,
                    ha="left" if family == "tcvae" else "right",
                )  # fmt: skip
        ax.margins(0.08, 0.12)
        ax.set_xlim(max(0, ax.get_xlim()[0]), None)
        _end_at(ax, highest=1)
        ax.set(ylabel=f"AADDC, {scales[scale]}" if column == 0 else "")
        if row == 0:
            ax.set_title(f"{DATASET_NAMES[dataset]}, MIG {mig.min():.2f} to {mig.max():.2f}")
    for ax in axes[-1]:
        ax.set_xlabel("squared error per image")
    axes[0, 0].legend(loc="best", fontsize=8)
    fig.tight_layout()
    return fig


def sweep_curves(table: pd.DataFrame) -> Figure:
    """Robustness, active dimensions and total correlation over β: a column a data set.

    Lines for β-TCVAE and β-VAE, bands are 95% intervals over seeds; in the lowest row the dotted
    lines are the total correlation of a Gaussian of the same covariance.

    Args:
        table: `lrnb.sweep.tradeoff_table`.
    """
    values = {
        "aaddc_raw": "AADDC,\nraw ε",
        "aaddc_spread": "AADDC,\nε per spread",
        "active": "active\ndimensions",
        "total_correlation": "total\ncorrelation (nats)",
    }
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(len(values), len(datasets), height=1.9)
    for (row, value), (column, dataset) in cells(list(values), datasets):
        ax, ends = axes[row, column], {}
        for family in SWEEP_NAMES:
            here = table[(table["dataset"] == dataset) & (table["family"] == family)]
            colour = FAMILY_COLOURS[family]
            line = over_seeds(here, value).sort_values("beta")
            draw_line(ax, line.assign(eps=line["beta"]), colour)
            if value == "total_correlation":
                line = over_seeds(here, "gaussian_correlation").sort_values("beta")
                ax.plot(line["beta"], line["mean"], color=colour, lw=1.2, ls=":")
            ends[SWEEP_NAMES[family]] = (float(line["mean"].iloc[-1]), colour)
        betas = sorted(table["beta"].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(betas, [f"{beta:g}" for beta in betas])
        ax.set(ylabel=values[value] if column == 0 else "")
        _end_at(ax, highest=1 if value.startswith("aaddc") else math.inf)
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
            direct_labels(ax, ends, x=betas[-1])
    for ax in axes[-1]:
        ax.set_xlabel("β")
    fig.tight_layout()
    return fig


def rank_correlations(table: pd.DataFrame) -> Figure:
    """Rank correlations with their 95% intervals, pair by pair: a column a data set.

    Args:
        table: `lrnb.sweep.tradeoff`.
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    pairs = list(dict.fromkeys(zip(table["x"], table["y"], strict=True)))
    fig, axes = panels(1, len(datasets), height=0.42 * len(pairs) + 0.9)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        for family, shift in zip(SWEEP_NAMES, (-0.15, 0.15), strict=True):
            here = table[(table["dataset"] == dataset) & (table["family"] == family)]
            rows = [pairs.index(pair) + shift for pair in zip(here["x"], here["y"], strict=True)]
            colour = FAMILY_COLOURS[family]
            ax.hlines(rows, here["low"], here["high"], color=colour, lw=1.6)
            ax.plot(here["rho"], rows, "o", ms=5, color=colour, label=SWEEP_NAMES[family])
        ax.axvline(0, color=GREY, lw=0.8)
        ax.set(title=DATASET_NAMES[dataset], xlabel="Spearman's ρ", xlim=(-1.05, 1.05), yticks=[])
        ax.set_ylim(len(pairs) - 0.5, -0.5)
    names = {"beta": "β", "aaddc_raw": "AADDC, raw", "aaddc_spread": "AADDC, spread", "mig": "MIG",
             "squared_error": "squared error", "active": "active dimensions"}  # fmt: skip
    axes[0, 0].set_yticks(range(len(pairs)), [f"{names[x]} – {names[y]}" for x, y in pairs])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="lower left", ncols=2, fontsize=8)
    fig.tight_layout()
    return fig


def _end_at(ax: Axes, *, highest: float) -> None:
    """Cut off what an interval has below 0 or above a quantity's highest value."""
    bottom, top = ax.get_ylim()
    room = 0.03 * (min(top, highest) - max(bottom, 0))
    ax.set_ylim(max(bottom, -room), min(top, highest + room))
