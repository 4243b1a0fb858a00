"""Figures that set models beside each other: families, and adversarial training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrnb.figures.style import (
    ATTACK,
    FAMILY_COLOURS,
    GREY,
    NOISE,
    PALETTE,
    cells,
    direct_labels,
    draw_line,
    eps_unit,
    in_order,
    not_computed,
    panels,
    with_origin,
)
from lrnb.intervals import over_seeds
from lrnb.names import (
    DATASET_NAMES,
    FAMILY_NAMES,
    FORM_NAMES,
    METRIC_NAMES,
    NAMES,
    NORM_NAMES,
)
from lrnb.robustness import SCALES


def family_curves(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """Damage over ε under attack, a line a family: a row a scale of ε, a column a data set.

    Bands are 95% intervals over seeds.

    Args:
        table: of one norm (`lrnb.robustness.untargeted_table`).
        metric: the damage to draw.
    """
    attacked = table[(table["kind"] == "attack") & (table["metric"] == metric)]
    datasets = in_order(DATASET_NAMES, table["dataset"])
    scales = [s for s in SCALES if s in set(table["scale"])]
    fig, axes = panels(len(scales), len(datasets), height=2.9, sharex="none")
    for (row, scale), (column, dataset) in cells(scales, datasets):
        ax = axes[row, column]
        here = attacked[(attacked["scale"] == scale) & (attacked["dataset"] == dataset)]
        lines = over_seeds(here, "damage")
        ends = {}
        for family in in_order(FAMILY_NAMES, here["family"]):
            line = with_origin(lines[lines["family"] == family].sort_values("eps"))
            draw_line(ax, line, FAMILY_COLOURS[family])
            ends[FAMILY_NAMES[family]] = (float(line["mean"].iloc[-1]), FAMILY_COLOURS[family])
        ax.set_ylim(0, None)
        ax.set_xlabel(eps_unit(here))
        direct_labels(ax, ends, x=float(here["eps"].max()))
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
    for ax in axes[:, 0]:
        ax.set_ylabel(METRIC_NAMES[metric])
    fig.tight_layout()
    return fig


def differences(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """AADDC of each family minus the baseline's: a row a norm, a column a data set.

    Thin lines are 95% intervals by Student's t over seeds, thick ones by bootstrap over seeds and
    images; to the right of 0 a family is more robust than the baseline.

    Args:
        table: `lrnb.comparison.comparison_table`.
        metric: the damage under the curves.
    """
    chosen = table[table["metric"] == metric]
    datasets = in_order(DATASET_NAMES, chosen["dataset"])
    norms = in_order(NORM_NAMES, chosen["norm"])
    families = in_order(FAMILY_NAMES, chosen["family"])
    fig, axes = panels(len(norms), len(datasets), height=0.9 + 0.34 * len(families))
    for (row, norm), (column, dataset) in cells(norms, datasets):
        ax = axes[row, column]
        here = chosen[(chosen["norm"] == norm) & (chosen["dataset"] == dataset)]
        ax.axvline(0, color=GREY, lw=1, ls="--")
        for i, scale in enumerate(SCALES):
            of_scale = here[here["scale"] == scale].set_index("family").loc[families]
            y = np.arange(len(families)) + 0.3 * (i - 0.5)
            colour, marker = (ATTACK, "o") if scale == "raw" else (NOISE, "s")
            ax.hlines(y, of_scale["low"], of_scale["high"], color=colour, lw=1)
            ax.hlines(y, of_scale["boot_low"], of_scale["boot_high"], color=colour, lw=3.5)
            ax.plot(of_scale["difference"], y, marker, color=colour, mec="white", ms=6,
                    label=NAMES[scale])  # fmt: skip
        ax.set_yticks(range(len(families)), [FAMILY_NAMES[f] for f in families])
        ax.set_ylim(len(families) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0, labelleft=column == 0)
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
        ax.text(0.98, 0.03, NORM_NAMES[norm], transform=ax.transAxes, ha="right", color=GREY)
    for ax in axes[-1]:
        ax.set_xlabel("AADDC minus the VAE's")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="upper center", ncols=2)
    fig.tight_layout(rect=(0, 0, 1, 1 - 0.3 / fig.get_figheight()))
    return fig


def defence_curves(table: pd.DataFrame, values: Mapping[str, str]) -> Figure:
    """What adversarial training changes over its ε: a row a value, a column a data set.

    A line a form of training, the plain VAE at ε = 0. Bands are 95% intervals over seeds.

    Args:
        table: VAEs, plain and adversarially trained (`lrnb.defence.defence_table`).
        values: its columns to draw, and what stands at the axis.
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(len(values), len(datasets), height=2.1, sharex="col")
    colours = {"trades": PALETTE[2], "maxmin": PALETTE[4]}
    for (row, value), (column, dataset) in cells(list(values), datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset]
        if not_computed(ax, "lpips" if value.endswith("lpips") else "", here[value]):
            continue
        plain = over_seeds(here[here["family"] == "vae"], value)
        ends = {}
        for form, name in FORM_NAMES.items():
            colour = colours[form]
            trained = here[here["adv_form"] == form]
            line = pd.concat([plain, over_seeds(trained, value)]).assign(eps=lambda t: t["adv_eps"])
            draw_line(ax, line, colour)
            ends[name] = (float(line["mean"].iloc[-1]), colour)
        direct_labels(ax, ends, x=float(here["adv_eps"].max()))
        ax.set_ylabel(values[value] if column == 0 else "")
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
    for ax in axes[-1]:
        ax.set_xlabel("ε in training (L2, raw)")
    fig.tight_layout()
    return fig


def robustness_and_diversity(table: pd.DataFrame, *, x: str, y: str) -> Figure:
    """Diversity of samples over robustness, a point a model and seed, a panel a data set.

    Args:
        table: `lrnb.defence.defence_table`.
        x, y: columns of AADDC and of diversity.
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(1, len(datasets), height=3.2)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        here = table[table["dataset"] == dataset]
        for family in in_order(FAMILY_NAMES, here["family"]):
            points = here[here["family"] == family]
            marker = "^" if family == "vae_adv" else "o"
            ax.plot(points[x], points[y], marker, color=FAMILY_COLOURS[family], ms=6,
                    mec="white", label=FAMILY_NAMES[family])  # fmt: skip
        ax.set(title=DATASET_NAMES[dataset], xlabel="AADDC (larger is more robust)")
    axes[0, 0].set_ylabel("mean distance of two samples")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8)
    fig.tight_layout(rect=(0, 0.08, 1, 1))
    return fig
