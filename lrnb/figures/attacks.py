"""Figures of attacks: damage, distance, moved codes, the attack's strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

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
    METRIC_NAMES,
)


def damage_curves(table: pd.DataFrame, *, value: str = "damage") -> Figure:
    """Damage over ε under the attack and under noise: a row a metric, a column a data set.

    Bands are 95% intervals over seeds.

    Args:
        table: of one family, norm and scale (`lrnb.robustness.untargeted_table`).
        value: its column to draw.
    """
    curves = over_seeds(table, value)
    datasets = in_order(DATASET_NAMES, curves["dataset"])
    metrics = in_order(METRIC_NAMES, curves["metric"])
    fig, axes = panels(len(metrics), len(datasets), height=2.3)
    unit = eps_unit(table)
    for (row, metric), (column, dataset) in cells(metrics, datasets):
        ax = axes[row, column]
        here = curves[(curves["metric"] == metric) & (curves["dataset"] == dataset)]
        if not_computed(ax, metric, here["mean"]):
            continue
        ends = {}
        for kind, colour in (("attack", ATTACK), ("noise", NOISE)):
            line = with_origin(here[here["kind"] == kind].sort_values("eps"))
            draw_line(ax, line, colour)
            ends[kind] = (float(line["mean"].iloc[-1]), colour)
        ax.set_ylim(0, None)
        direct_labels(ax, ends, x=float(here["eps"].max()))
    _name_panels(axes, metrics, datasets, unit)
    return fig


def distance_curves(table: pd.DataFrame) -> Figure:
    """Distance of the attacked decoding to its target over ε: a row a metric, a column a data set.

    Lines for attack and noise, a dashed one for the target's own reconstruction, which the attack
    cannot be expected to pass. Bands are 95% intervals over seeds.

    Args:
        table: of one family and norm (`lrnb.robustness.targeted_table`).
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    metrics = in_order(METRIC_NAMES, table["metric"])
    fig, axes = panels(len(metrics), len(datasets), height=2.3)
    for (row, metric), (column, dataset) in cells(metrics, datasets):
        ax = axes[row, column]
        here = table[(table["metric"] == metric) & (table["dataset"] == dataset)]
        if not_computed(ax, metric, here["distance"]):
            continue
        start = here.drop_duplicates(["seed"])
        origin = over_seeds(start.assign(eps=0.0), "start")
        ends = {}
        for name, value, colour in (("attack", "distance", ATTACK), ("noise", "noise", NOISE)):
            line = pd.concat([origin, over_seeds(here, value)]).sort_values("eps")
            draw_line(ax, line, colour)
            ends[name] = (float(line["mean"].iloc[-1]), colour)
        floor = float(start["floor"].mean())
        ax.axhline(floor, color=GREY, lw=1, ls="--")
        ends["target itself"] = (floor, GREY)
        ax.set_ylim(0, None)
        direct_labels(ax, ends, x=float(here["eps"].max()))
    _name_panels(axes, metrics, datasets, eps_unit(table), prefix="distance to target: ")
    return fig


def embeddings(codes: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """t-SNE of clean and adversarial codes together, a panel a data set.

    Args:
        codes: data set → clean codes [N, d], adversarial codes [N, d], labels [N].
    """
    from sklearn.manifold import TSNE  # takes a second to import, and one chapter needs it

    fig, axes = panels(1, len(codes), height=3.8)
    for ax, (dataset, (clean, adversarial, labels)) in zip(axes[0], codes.items(), strict=True):
        both = np.concatenate([clean.cpu().numpy(), adversarial.cpu().numpy()])
        n, perplexity = len(clean), min(15.0, (len(both) - 1) / 3)
        flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(both)
        colours = [PALETTE[int(label) % len(PALETTE)] for label in labels]
        ax.plot(*np.stack([flat[:n], flat[n:]]).transpose(2, 0, 1), color="0.8", lw=0.6, zorder=1)
        ax.scatter(*flat[:n].T, c=colours, s=26, lw=0)
        ax.scatter(*flat[n:].T, c=colours, s=30, marker="x", lw=1.2)
        ax.set(title=DATASET_NAMES[dataset], xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0, 0].scatter([], [], c="0.3", s=26, label="clean code")
    axes[0, 0].scatter([], [], c="0.3", s=30, marker="x", label="adversarial code")
    handles, labels_ = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels_, loc="lower center", ncols=2)
    fig.tight_layout(rect=(0, 0.06, 1, 1))
    return fig


def dimension_differences(differences: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Mean absolute difference of adversarial and clean codes in each dimension, largest first.

    Args:
        differences: data set → that of the attack [d], that of noise of the same norm [d].
    """
    fig, axes = panels(1, len(differences), height=2.9)
    for ax, (dataset, (of_attack, of_noise)) in zip(axes[0], differences.items(), strict=True):
        order = of_attack.argsort(descending=True).cpu()
        rank = np.arange(1, len(order) + 1)
        ax.bar(rank, of_attack.cpu()[order], color=ATTACK, width=0.75, label="attack")
        level = float(of_noise.mean())
        ax.axhline(level, color=NOISE, lw=1.5, label="noise of the same norm")
        ax.set(title=DATASET_NAMES[dataset], xlabel="dimension, by rank")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("mean |δ| of the dimension")
    axes[0, -1].legend(loc="upper right", fontsize=8)
    fig.tight_layout()
    return fig


def effort_curves(table: pd.DataFrame, *, steps: int, restarts: int) -> Figure:
    """Share of the loss that is reached with less effort than twice the profile's.

    A row for steps and one for restarts, a column a data set; a ring marks the profile's own. Bands
    are 95% intervals over seeds.

    Args:
        table: of one family (`lrnb.strength.strength_table`).
        steps, restarts: of the profile.
    """
    own = {"steps": steps, "restarts": restarts}
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(2, len(datasets), height=2.4)
    for (row, check), (column, dataset) in cells(list(own), datasets):
        ax = axes[row, column]
        here = table[(table["check"] == check) & (table["dataset"] == dataset)]
        line = over_seeds(here, "ratio")
        line["eps"] = here.groupby("setting")["decodes"].mean()[line["setting"]].to_numpy()
        line = line.sort_values("eps")
        draw_line(ax, line, ATTACK)
        ax.axhline(1, color=GREY, lw=1, ls="--")
        for x, y, setting in zip(line["eps"], line["mean"], line["setting"], strict=True):
            ax.annotate(
                setting, (x, y), (0, -12), textcoords="offset points", fontsize=8, ha="center"
            )
            if setting == str(own[check]):
                ax.plot(x, y, "o", ms=9, mfc="none", mec=ATTACK)
        ax.margins(0.08, 0.2)
        ax.set(ylabel="share of the loss" if column == 0 else "")
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
        ax.text(
            0.97, 0.06, f"by {check}", transform=ax.transAxes, ha="right", fontsize=9, color=GREY
        )
    for ax in axes[-1]:
        ax.set_xlabel("decoder evaluations per code and ε")
    fig.tight_layout()
    return fig


def reference_curves(table: pd.DataFrame) -> Figure:
    """What the attack reached over what it is set beside, over ε: a row a check, a column a data set.

    Args:
        table: of one family (`lrnb.strength.strength_table`).
    """
    names = {
        "first order": "√loss / (ε·σ_max)",
        "exhaustive": "loss / grid search",
        "noise": "loss / noise",
    }
    datasets = in_order(DATASET_NAMES, table["dataset"])
    fig, axes = panels(len(names), len(datasets), height=2.2, sharex="none")
    for (row, check), (column, dataset) in cells(list(names), datasets):
        ax = axes[row, column]
        here = table[(table["check"] == check) & (table["dataset"] == dataset)]
        draw_line(ax, over_seeds(here, "ratio").sort_values("eps"), ATTACK)
        ax.axhline(1, color=GREY, lw=1, ls="--")
        if check == "first order":
            ax.set_xscale("log")
        if check == "noise":
            ax.set_ylim(0, None)
        else:
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, 0.95), max(high, 1.05))
        ax.set_ylabel(names[check] if column == 0 else "")
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
        ax.set_xlabel("ε (L2, raw)" if row == len(names) - 1 else "")
    fig.tight_layout()
    return fig


def minimal_norms(table: pd.DataFrame) -> Figure:
    """Share of codes for which a ‖δ‖ is enough: upper row raw, lower row in units of the spread.

    Args:
        table: `lrnb.strength.minimal_norm_table`; all seeds of a family are one distribution.
    """
    datasets = in_order(DATASET_NAMES, table["dataset"])
    units = {"raw": pd.Series(1.0, index=table.index), "units of the spread": table["spread"]}
    fig, axes = panels(2, len(datasets), height=2.3, sharex="none")
    for (row, unit), (column, dataset) in cells(list(units), datasets):
        ax = axes[row, column]
        for family in in_order(FAMILY_NAMES, table["family"]):
            here = table[(table["dataset"] == dataset) & (table["family"] == family)]
            lengths = np.sort((here["length"] / units[unit][here.index]).to_numpy())
            share = np.arange(len(lengths) + 1) / len(lengths)
            ax.step(np.append(0, lengths), share, where="post", color=FAMILY_COLOURS[family], lw=1.6,
                    label=FAMILY_NAMES[family])  # fmt: skip
        ax.margins(x=0.1)
        ax.set(ylim=(0, 1.02), xlim=(0, None), xlabel=f"‖δ‖₂ ({unit})")
        ax.set_ylabel("share of codes" if column == 0 else "")
        if row == 0:
            ax.set_title(DATASET_NAMES[dataset])
    axes[0, 0].legend(loc="upper left", fontsize=8)
    fig.tight_layout()
    return fig


def _name_panels(
    axes: Any, metrics: list[str], datasets: list[str], unit: str, *, prefix: str = ""
) -> None:
    for column, dataset in enumerate(datasets):
        axes[0, column].set_title(DATASET_NAMES[dataset])
        axes[-1, column].set_xlabel(unit)
    for row, metric in enumerate(metrics):
        axes[row, 0].set_ylabel(prefix.replace(": ", ":\n") + METRIC_NAMES[metric])
    axes[0, 0].figure.tight_layout()
