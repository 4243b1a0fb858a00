"""Tables and images in, pictures out. Every function returns one matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

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

SWEEP_NAMES = {"tcvae": "β-TCVAE", "vae": "β-VAE"}
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


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Reconstruction error over epochs, a panel a data set, a line a family: training and test.

    Args:
        histories: data set → family → `lrnb.training.History`.
    """
    fig, axes = _panels(1, len(histories), height=3.2)
    for ax, (dataset, of_family) in zip(axes[0], histories.items(), strict=True):
        ends = {}
        for family, history in of_family.items():
            table = pd.DataFrame(history)
            colour = FAMILY_COLOURS[family]
            ax.plot(table["epoch"], table["reconstruction"], color=colour, lw=1, ls=":")
            ax.plot(table["epoch"], table["validation"], color=colour, lw=1.6)
            ends[FAMILY_NAMES[family]] = (table["validation"].iloc[-1], colour)
        ax.set(title=DATASET_NAMES[dataset], xlabel="epoch", yscale="log")
        _direct_labels(ax, ends, x=float(table["epoch"].iloc[-1]))
    axes[0, 0].set_ylabel("squared error per image")
    axes[0, 0].plot([], [], color=GREY, ls=":", lw=1, label="training (with code noise)")
    axes[0, 0].plot([], [], color=GREY, lw=1.6, label="test images")
    axes[0, 0].legend(loc="upper right", fontsize=8)
    fig.tight_layout()
    return fig


def image_grids(grids: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Rows of images, a block a data set; the row's name stands at its left.

    Args:
        grids: data set → row name → images [N, C, H, W], of which as many are shown as fit.
    """
    rows, columns = max(map(len, grids.values())), {1: 10, 2: 6}.get(len(grids), 4)
    image, gap, names, title = 0.62, 0.02, 0.85, 0.28  # inches
    block = names + columns * image
    width, height = block * len(grids), title + rows * image
    fig = plt.figure(figsize=(width, height))
    for b, (dataset, grid) in enumerate(grids.items()):
        left = b * block + names
        fig.text(left / width, 1 - 0.2 / height, DATASET_NAMES[dataset], fontsize=10)
        for row, (name, images) in enumerate(grid.items()):
            bottom = height - title - (row + 1) * image
            middle = (bottom + image / 2) / height
            fig.text((left - 0.06) / width, middle, name, fontsize=8.5, ha="right", va="center")
            for column, picture in enumerate(images[:columns]):
                ax = fig.add_axes(
                    (
                        (left + column * image) / width,
                        bottom / height,
                        (image - gap) / width,
                        (image - gap) / height,
                    )
                )
                _show(ax, picture)
    return fig


def code_deviations(deviations: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Standard deviation of the code in each dimension, sorted: a panel a data set, a line a family.

    Args:
        deviations: data set → family → [d], `lrnb.robustness.CodeStatistics.deviations`.
    """
    fig, axes = _panels(1, len(deviations), height=3)
    for ax, (dataset, of_family) in zip(axes[0], deviations.items(), strict=True):
        ends = {}
        for family, values in of_family.items():
            ordered = np.sort(values.cpu().numpy())[::-1]
            rank = np.arange(1, len(ordered) + 1)
            ax.plot(rank, ordered, color=FAMILY_COLOURS[family], marker="o", ms=2.5, lw=1.4)
            ends[FAMILY_NAMES[family]] = (float(ordered[-1]), FAMILY_COLOURS[family])
        ax.axhline(0.1, color=GREY, lw=0.8, ls="--")
        ax.text(1, 0.1, "active above", fontsize=7, color=GREY, va="bottom")
        ax.set(title=DATASET_NAMES[dataset], xlabel="dimension, by rank", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _direct_labels(ax, ends, x=float(rank[-1]))
    axes[0, 0].set_ylabel("standard deviation of μ")
    fig.tight_layout()
    return fig


def damage_curves(table: pd.DataFrame, *, value: str = "damage") -> Figure:
    """Damage over ε under the attack and under noise: a row a metric, a column a data set.

    Bands are 95% intervals over seeds.

    Args:
        table: of one family, norm and scale (`lrnb.robustness.untargeted_table`).
        value: its column to draw.
    """
    curves = over_seeds(table, value)
    datasets, metrics = _in_order(curves, DATASET_NAMES, METRIC_NAMES)
    fig, axes = _panels(len(metrics), len(datasets), height=2.3)
    unit = _unit(table)
    for (row, metric), (column, dataset) in _cells(metrics, datasets):
        ax = axes[row, column]
        here = curves[(curves["metric"] == metric) & (curves["dataset"] == dataset)]
        if _not_computed(ax, metric, here["mean"]):
            continue
        ends = {}
        for kind, colour in (("attack", ATTACK), ("noise", NOISE)):
            line = _with_origin(here[here["kind"] == kind].sort_values("eps"))
            _line(ax, line, colour)
            ends[kind] = (float(line["mean"].iloc[-1]), colour)
        ax.set_ylim(0, None)
        _direct_labels(ax, ends, x=float(here["eps"].max()))
    _name_panels(axes, metrics, datasets, unit)
    return fig


def distance_curves(table: pd.DataFrame) -> Figure:
    """Distance of the attacked decoding to its target over ε: a row a metric, a column a data set.

    Lines for attack and noise, a dashed one for the target's own reconstruction, which the attack
    cannot be expected to pass. Bands are 95% intervals over seeds.

    Args:
        table: of one family and norm (`lrnb.robustness.targeted_table`).
    """
    datasets, metrics = _in_order(table, DATASET_NAMES, METRIC_NAMES)
    fig, axes = _panels(len(metrics), len(datasets), height=2.3)
    for (row, metric), (column, dataset) in _cells(metrics, datasets):
        ax = axes[row, column]
        here = table[(table["metric"] == metric) & (table["dataset"] == dataset)]
        if _not_computed(ax, metric, here["distance"]):
            continue
        start = here.drop_duplicates(["seed"])
        origin = over_seeds(start.assign(eps=0.0), "start")
        ends = {}
        for name, value, colour in (("attack", "distance", ATTACK), ("noise", "noise", NOISE)):
            line = pd.concat([origin, over_seeds(here, value)]).sort_values("eps")
            _line(ax, line, colour)
            ends[name] = (float(line["mean"].iloc[-1]), colour)
        floor = float(start["floor"].mean())
        ax.axhline(floor, color=GREY, lw=1, ls="--")
        ends["target itself"] = (floor, GREY)
        ax.set_ylim(0, None)
        _direct_labels(ax, ends, x=float(here["eps"].max()))
    _name_panels(axes, metrics, datasets, _unit(table), prefix="distance to target: ")
    return fig


def embeddings(codes: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """t-SNE of clean and adversarial codes together, a panel a data set.

    Args:
        codes: data set → clean codes [N, d], adversarial codes [N, d], labels [N].
    """
    from sklearn.manifold import TSNE  # takes a second to import, and one chapter needs it

    fig, axes = _panels(1, len(codes), height=3.8)
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
    fig, axes = _panels(1, len(differences), height=2.9)
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(2, len(datasets), height=2.4)
    for (row, check), (column, dataset) in _cells(list(own), datasets):
        ax = axes[row, column]
        here = table[(table["check"] == check) & (table["dataset"] == dataset)]
        line = over_seeds(here, "ratio")
        line["eps"] = here.groupby("setting")["decodes"].mean()[line["setting"]].to_numpy()
        line = line.sort_values("eps")
        _line(ax, line, ATTACK)
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(len(names), len(datasets), height=2.2, sharex="none")
    for (row, check), (column, dataset) in _cells(list(names), datasets):
        ax = axes[row, column]
        here = table[(table["check"] == check) & (table["dataset"] == dataset)]
        _line(ax, over_seeds(here, "ratio").sort_values("eps"), ATTACK)
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    units = {"raw": pd.Series(1.0, index=table.index), "units of the spread": table["spread"]}
    fig, axes = _panels(2, len(datasets), height=2.3, sharex="none")
    for (row, unit), (column, dataset) in _cells(list(units), datasets):
        ax = axes[row, column]
        for family in [f for f in FAMILY_NAMES if f in set(table["family"])]:
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


def family_curves(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """Damage over ε under attack, a line a family: a row a scale of ε, a column a data set.

    Bands are 95% intervals over seeds.

    Args:
        table: of one norm (`lrnb.robustness.untargeted_table`).
        metric: the damage to draw.
    """
    attacked = table[(table["kind"] == "attack") & (table["metric"] == metric)]
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    scales = [s for s in SCALES if s in set(table["scale"])]
    fig, axes = _panels(len(scales), len(datasets), height=2.9, sharex="none")
    for (row, scale), (column, dataset) in _cells(scales, datasets):
        ax = axes[row, column]
        here = attacked[(attacked["scale"] == scale) & (attacked["dataset"] == dataset)]
        lines = over_seeds(here, "damage")
        ends = {}
        for family in [f for f in FAMILY_NAMES if f in set(here["family"])]:
            line = _with_origin(lines[lines["family"] == family].sort_values("eps"))
            _line(ax, line, FAMILY_COLOURS[family])
            ends[FAMILY_NAMES[family]] = (float(line["mean"].iloc[-1]), FAMILY_COLOURS[family])
        ax.set_ylim(0, None)
        ax.set_xlabel(_unit(here))
        _direct_labels(ax, ends, x=float(here["eps"].max()))
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
    datasets = [d for d in DATASET_NAMES if d in set(chosen["dataset"])]
    norms = [n for n in NORM_NAMES if n in set(chosen["norm"])]
    families = [f for f in FAMILY_NAMES if f in set(chosen["family"])]
    fig, axes = _panels(len(norms), len(datasets), height=0.9 + 0.34 * len(families))
    for (row, norm), (column, dataset) in _cells(norms, datasets):
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(len(values), len(datasets), height=2.1, sharex="col")
    colours = {"trades": PALETTE[2], "maxmin": PALETTE[4]}
    for (row, value), (column, dataset) in _cells(list(values), datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset]
        if _not_computed(ax, "lpips" if value.endswith("lpips") else "", here[value]):
            continue
        plain = over_seeds(here[here["family"] == "vae"], value)
        ends = {}
        for form, name in FORM_NAMES.items():
            colour = colours[form]
            trained = here[here["adv_form"] == form]
            line = pd.concat([plain, over_seeds(trained, value)]).assign(eps=lambda t: t["adv_eps"])
            _line(ax, line, colour)
            ends[name] = (float(line["mean"].iloc[-1]), colour)
        _direct_labels(ax, ends, x=float(here["adv_eps"].max()))
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(1, len(datasets), height=3.2)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        here = table[table["dataset"] == dataset]
        for family in [f for f in FAMILY_NAMES if f in set(here["family"])]:
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
    datasets = [d for d in DATASET_NAMES if d in set(judged["dataset"])]
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


def tradeoff_paths(table: pd.DataFrame) -> Figure:
    """Robustness over reconstruction error along β: a row a scale of ε, a column a data set.

    A line a family, β at its points, whose area grows with MIG. Means over seeds with 95% intervals
    both ways.

    Args:
        table: `lrnb.sweep.tradeoff_table`.
    """
    scales = {"raw": "raw ε", "spread": "ε per spread"}
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(2, len(datasets), height=3.1)
    for (row, scale), (column, dataset) in _cells(list(scales), datasets):
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(len(values), len(datasets), height=1.9)
    for (row, value), (column, dataset) in _cells(list(values), datasets):
        ax, ends = axes[row, column], {}
        for family in SWEEP_NAMES:
            here = table[(table["dataset"] == dataset) & (table["family"] == family)]
            colour = FAMILY_COLOURS[family]
            line = over_seeds(here, value).sort_values("beta")
            _line(ax, line.assign(eps=line["beta"]), colour)
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
            _direct_labels(ax, ends, x=betas[-1])
    for ax in axes[-1]:
        ax.set_xlabel("β")
    fig.tight_layout()
    return fig


def _end_at(ax: Axes, *, highest: float) -> None:
    """Cut off what an interval has below 0 or above a quantity's highest value."""
    bottom, top = ax.get_ylim()
    room = 0.03 * (min(top, highest) - max(bottom, 0))
    ax.set_ylim(max(bottom, -room), min(top, highest + room))


def rank_correlations(table: pd.DataFrame) -> Figure:
    """Rank correlations with their 95% intervals, pair by pair: a column a data set.

    Args:
        table: `lrnb.sweep.tradeoff`.
    """
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    pairs = list(dict.fromkeys(zip(table["x"], table["y"], strict=True)))
    fig, axes = _panels(1, len(datasets), height=0.42 * len(pairs) + 0.9)
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


def spectra(table: pd.DataFrame) -> Figure:
    """Singular values of the decoder's Jacobian by rank: a panel a data set, a line a family.

    Bands are 95% intervals over seeds.

    Args:
        table: `lrnb.geometry.spectrum_table`.
    """
    lines = over_seeds(table.assign(setting=table["rank"]), "sigma")
    lines["eps"] = lines["setting"]
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(1, len(datasets), height=3)
    for ax, dataset in zip(axes[0], datasets, strict=True):
        for family in [f for f in FAMILY_NAMES if f in set(table["family"])]:
            line = lines[(lines["dataset"] == dataset) & (lines["family"] == family)]
            _line(ax, line.sort_values("eps"), FAMILY_COLOURS[family])
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(2, len(datasets), height=2.5)
    for (row, at), (column, dataset) in _cells(["small", "large"], datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset].sort_values("sigma")
        for family in [f for f in FAMILY_NAMES if f in set(table["family"])]:
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
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    fig, axes = _panels(len(names), len(datasets), height=2.3)
    for (row, value), (column, dataset) in _cells(list(names), datasets):
        ax = axes[row, column]
        here = table[table["dataset"] == dataset]
        lines = over_seeds(here.assign(kind=here["direction"], eps=here["t"]), value)
        ends = {}
        for kind, colour in (("attack", ATTACK), ("noise", NOISE)):
            line = lines[lines["kind"] == kind].sort_values("eps")
            _line(ax, line, colour)
            ends[kind] = (float(line["mean"].iloc[-1]), colour)
        ax.axvline(1, color=GREY, lw=1, ls=":")
        if value == "change":
            ax.set(title=DATASET_NAMES[dataset], ylim=(0, None))
        ax.set_ylabel(names[value] if column == 0 else "")
        _direct_labels(ax, ends, x=float(here["t"].max()))
    for ax in axes[-1]:
        ax.set_xlabel("t, way along δ")
    fig.tight_layout()
    return fig


def costs(table: pd.DataFrame) -> Figure:
    """Median seconds of one model and of one table, a row a kind, a dot a data set.

    Args:
        table: `lrnb.results.costs`, each kind of work once.
    """
    kinds = list(dict.fromkeys(table["kind"]))
    rows = {kind: list(dict.fromkeys(table.loc[table["kind"] == kind, "what"])) for kind in kinds}
    longest = max(map(len, rows.values()), default=1)
    fig, axes = _panels(1, max(len(kinds), 1), height=0.28 * longest + 1.2, sharex="none")
    datasets = [d for d in DATASET_NAMES if d in set(table["dataset"])]
    for ax, kind in zip(axes[0], kinds, strict=False):
        for dataset, colour in zip(datasets, PALETTE, strict=False):
            here = table[(table["kind"] == kind) & (table["dataset"] == dataset)]
            at = [rows[kind].index(what) for what in here["what"]]
            ax.plot(here["median_seconds"], at, "o", ms=5, color=colour, alpha=0.9,
                    label=DATASET_NAMES[dataset])  # fmt: skip
        ax.set_yticks(range(len(rows[kind])), [FAMILY_NAMES.get(w, w) for w in rows[kind]])
        ax.set(title=kind, xlabel="seconds, median", xlim=(0, None))
        ax.set_ylim(longest - 0.5, -0.5)
        ax.grid(axis="y", color="0.9")
    if kinds:
        axes[0, -1].legend(loc="lower right", fontsize=8)
    fig.tight_layout()
    return fig


def _show(ax: Axes, image: Tensor) -> None:
    pixels = image.detach().cpu().permute(1, 2, 0).numpy().clip(0, 1)
    ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, vmin=0, vmax=1)
    ax.axis("off")


def _direct_labels(ax: Axes, ends: Mapping[str, tuple[float, Any]], *, x: float) -> None:
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


def _in_order(
    table: pd.DataFrame, datasets: Mapping[str, str], metrics: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    known = set(table["dataset"]), set(table["metric"])
    return [d for d in datasets if d in known[0]], [m for m in metrics if m in known[1]]


def _panels(
    rows: int, columns: int, *, height: float, sharex: Literal["col", "none"] = "col"
) -> tuple[Figure, Any]:
    """A figure of panels, each ``height`` inches high; narrower ones where there are many columns,
    so that text stays large."""
    width = {1: 5.0, 2: 4.2}.get(columns, 3.2)
    size = (width * columns, height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=sharex)


def _cells(
    metrics: list[str], datasets: list[str]
) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return [(row, column) for row in enumerate(metrics) for column in enumerate(datasets)]


def _not_computed(ax: Axes, metric: str, values: pd.Series) -> bool:
    if metric != "lpips" or not values.isna().all():
        return False
    ax.text(
        0.5, 0.5, "not computed:\nrun `lrnb fetch lpips`", transform=ax.transAxes, ha="center",
        va="center", color=GREY, fontsize=9,
    )  # fmt: skip
    ax.set_yticks([])
    return True


def _unit(table: pd.DataFrame) -> str:
    (norm,) = set(table["norm"])
    scale = "units of the code's spread" if "spread" in set(table.get("scale", ())) else "raw"
    return f"ε ({NORM_NAMES[norm]}, {scale})"


def _with_origin(line: pd.DataFrame) -> pd.DataFrame:
    first = line.iloc[[0]].assign(eps=0.0, mean=0.0, low=0.0, high=0.0)
    return pd.concat([first, line])


def _line(ax: Axes, line: pd.DataFrame, colour: Any) -> None:
    ax.plot(line["eps"], line["mean"], color=colour, marker="o", ms=3, lw=1.6)
    ax.fill_between(line["eps"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)


def _name_panels(
    axes: Any, metrics: list[str], datasets: list[str], unit: str, *, prefix: str = ""
) -> None:
    for column, dataset in enumerate(datasets):
        axes[0, column].set_title(DATASET_NAMES[dataset])
        axes[-1, column].set_xlabel(unit)
    for row, metric in enumerate(metrics):
        axes[row, 0].set_ylabel(prefix.replace(": ", ":\n") + METRIC_NAMES[metric])
    axes[0, 0].figure.tight_layout()
