"""Figures of the decoder's geometry: spectra, steepness, paths along δ."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrnb.figures.style import (
    ATTACK,
    FAMILY_COLOURS,
    GREY,
    NOISE,
    cells,
    direct_labels,
    draw_line,
    in_order,
    panels,
)
from lrnb.intervals import over_seeds
from lrnb.names import (
    DATASET_NAMES,
    FAMILY_NAMES,
)


def spectra(table: pd.DataFrame) -> Figure:
    """Singular values of the decoder's Jacobian by rank: a panel a data set, a line a family.

    Bands are 95% intervals over seeds.

    Args:
        table: `lrnb.geometry.spectrum_table`.
    """
    lines = over_seeds(table.assign(setting=table["rank"]), "sigma")
    lines["eps"] = lines["setting"]
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(1, len(datasets), height=3)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        for family in in_order(FAMILY_NAMES, table["family"]):
            line = lines[(lines["dataset"] == dataset) & (lines["family"] == family)]
            draw_line(ax, line.sort_values("eps"), FAMILY_COLOURS[family])
            ax.lines[-1].set_label(FAMILY_NAMES[family])
        ax.set(title=DATASET_NAMES[dataset], xlabel="rank of the singular value", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("singular value of ∂D/∂z")
    axes[0, 0].legend(loc="upper right", fontsize=8)
    fig.tight_layout()
    return fig


def steepness_scatter(table: pd.DataFrame) -> Figure:
    """Root of the damage over σ_max, a point a code: the smallest ε above, the largest below.

    The dashed line is what a linear decoder would suffer, ε·σ_max over the root of the pixels.

    Args:
        table: of one seed (`lrnb.geometry.geometry_table`).
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(2, len(datasets), height=2.5)
    for (row, at), (column, dataset) in cells(["small", "large"], datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset].sort_values("sigma")
        for family in in_order(FAMILY_NAMES, table["family"]):
            of_family = here[here["family"] == family]
            ax.scatter(of_family["sigma"], of_family[f"damage_{at}"] ** 0.5, s=9, lw=0, alpha=0.6,
                       color=FAMILY_COLOURS[family], label=FAMILY_NAMES[family])  # fmt: skip
        ax.plot(here["sigma"], here[f"linear_{at}"] ** 0.5, color=GREY, lw=1, ls="--", zorder=0)
        ax.set(xlim=(0, None), ylim=(0, None))
        eps = f"ε = {here[f'eps_{at}'].iloc[0]:.3g}"
        ax.text(0.97, 0.05, eps, transform=ax.transAxes, ha="right", fontsize=9, color=GREY)
        ax.set_ylabel("root mean\nsquared error" if column == 0 else "")
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
    for ax in axes[-1]:
        ax.set_xlabel("σ_max of ∂D/∂z")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    fig.tight_layout()
    return fig


def path_curves(table: pd.DataFrame) -> Figure:
    """Change of the decoding and of log q on the way along δ: a column a data set.

    Lines for attack and noise, bands are 95% intervals over seeds; a dotted line marks δ itself.

    Args:
        table: of one family (`lrnb.geometry.path_table`).
    """
    names = {
        "change": "squared error\nper pixel",
        "log_density": "change of log q\n(posteriors, nats)",
        "kernel": "change of log q\n(kernels, nats)",
    }
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(len(names), len(datasets), height=2.3)
    for (row, value), (column, dataset) in cells(list(names), datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset]
        lines = over_seeds(here.assign(kind=here["direction"], eps=here["t"]), value)
        ends = {}
        for kind, colour in (("attack", ATTACK), ("noise", NOISE)):
            line = lines[lines["kind"] == kind].sort_values("eps")
            draw_line(ax, line, colour)
            ends[kind] = (float(line["mean"].iloc[-1]), colour)
        ax.axvline(1, color=GREY, lw=1, ls=":")
        if value == "change":
            ax.set(title=DATASET_NAMES[dataset], ylim=(0, None))
        ax.set_ylabel(names[value] if column == 0 else "")
        direct_labels(ax, ends, x=float(here["t"].max()))
    for ax in axes[-1]:
        ax.set_xlabel("t, way along δ")
    fig.tight_layout()
    return fig
