"""Figures of points: models, codes, effects with their intervals, costs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lrnb._validation import Registry
from lrnb.attacks.balls import BALLS
from lrnb.data import DATASETS
from lrnb.metrics.statistics import over_seeds
from lrnb.models.families import FAMILIES
from lrnb.plotting import style
from lrnb.plotting.style import ATTACK, GRAY, NOISE, PALETTE, facets, family_color

_QUANTITIES = Registry("x", {
    "beta": "β", "aaddc_raw": "AADDC, raw", "aaddc_spread": "AADDC, spread", "mig": "MIG",
    "squared_error": "squared error", "active": "active dimensions",
})  # fmt: skip


def steepness_scatter(table: pd.DataFrame) -> Figure:
    """Draw root damage over σ_max by code, at the smallest and the largest ε.

    Of `geometry.codes_table`, one seed; the dashed line is a linear decoder's, ε·σ_max.
    """

    def draw(ax: Axes, at: str, here: pd.DataFrame) -> None:
        for family in FAMILIES.ordered(here["family"]):
            codes = here[here["family"] == family]
            ax.scatter(codes["sigma"], codes[f"damage_{at}"] ** 0.5, s=9, lw=0, alpha=0.6,
                       color=family_color(family), label=FAMILIES[family].label)  # fmt: skip
        line = here.sort_values("sigma")
        ax.plot(line["sigma"], line[f"linear_{at}"] ** 0.5, color=GRAY, lw=1, ls="--", zorder=0)
        ax.set(xlim=(0, None), ylim=(0, None))
        style.note(ax, f"ε = {here[f'eps_{at}'].iloc[0]:.3g}")

    rows = dict.fromkeys(("small", "large"), "root mean\nsquared error")
    return facets(table, rows, draw, height=2.6, xlabel="σ_max of ∂D/∂z")


def robustness_and_diversity(table: pd.DataFrame, *, x: str, y: str) -> Figure:
    """Draw diversity of samples over AADDC by model and seed (`adversarial_training.table`)."""

    def draw(ax: Axes, _: str, here: pd.DataFrame) -> None:
        for name in FAMILIES.ordered(here["family"]):
            family, models = FAMILIES[name], here[here["family"] == name]
            ax.plot(models[x], models[y], "^" if family.adversarial else "o", ms=6, mec="white",
                    color=family_color(name), label=family.label)  # fmt: skip

    rows, xlabel = {"": "mean distance of two samples"}, "AADDC (larger is more robust)"
    return facets(table, rows, draw, height=3.4, xlabel=xlabel)


def differences(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """Draw AADDC of each family minus the baseline's, a row a norm (`families.comparison_table`).

    Thin lines are 95% intervals by Student's t over seeds, thick ones by bootstrap over seeds and
    images; to the right of 0 a family is more robust than the baseline.
    """
    chosen = table[table["metric"] == metric]
    families = FAMILIES.ordered(chosen["family"])

    def draw(ax: Axes, norm: str, here: pd.DataFrame) -> None:
        here = here[here["norm"] == norm]
        ax.axvline(0, color=GRAY, lw=1, ls="--")
        for scale in style.SCALES.ordered(here["scale"]):
            rows = here[here["scale"] == scale].set_index("family").loc[families]
            color, marker, shift = (ATTACK, "o", -0.15) if scale == "raw" else (NOISE, "s", 0.15)
            y = np.arange(len(families)) + shift
            ax.hlines(y, rows["low"], rows["high"], color=color, lw=1)
            ax.hlines(y, rows["boot_low"], rows["boot_high"], color=color, lw=3.5)
            ax.plot(rows["difference"], y, marker, color=color, mec="white", ms=6,
                    label=style.SCALES[scale])  # fmt: skip
        names = [FAMILIES[family].label for family in families]
        style.name_rows(ax, names)
        style.note(ax, BALLS[norm].label)

    rows, height = dict.fromkeys(BALLS.ordered(chosen["norm"]), ""), 1 + 0.34 * len(families)
    return facets(chosen, rows, draw, height=height, xlabel="AADDC minus the VAE's")


def forest(judged: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Draw effects of all claims with 95% intervals, a row a data set (`lrnb.claims.ledger`).

    Dots are the claim as stated, squares the control; the dashed line is the threshold, and filled
    marks have a whole interval on one side of it. ``titles``: claim → title of its panels.
    """
    names = [name for name in titles if name in set(judged["claim"])]
    datasets = DATASETS.ordered(judged["dataset"])
    rows, height = -(-len(names) // 2), 0.75 + 0.34 * len(datasets)
    fig, axes = plt.subplots(rows, 4, figsize=(10.5, height * rows), squeeze=False)
    for ax in axes.flat[2 * len(names) :]:
        ax.set_visible(False)
    styles = {"claim": ("o", ATTACK), "control": ("s", NOISE)}
    for name, pair in zip(names, axes.reshape(-1, 2), strict=False):
        for ax, (reading, (marker, color)) in zip(pair, styles.items(), strict=True):
            here = judged[(judged["claim"] == name) & (judged["reading"] == reading)]
            here = here.set_index("dataset").reindex(datasets)
            ax.axvline(float(here["least"].dropna().iloc[0]), color=GRAY, lw=1, ls="--")
            ax.hlines(range(len(datasets)), here["low"], here["high"], color=color, lw=1.5)
            for y, (effect, holds) in enumerate(zip(here["effect"], here["holds"], strict=True)):
                fill = "white" if holds == "open" else color
                ax.plot(effect, y, marker, color=color, mfc=fill, ms=6)
            style.name_rows(ax, [DATASETS[d].label for d in datasets], shown=reading == "claim")
            ax.set_title(reading, loc="right", fontsize=8, color=color)
        pair[0].set_title(titles[name], loc="left", fontsize=9.5, pad=16)
    fig.tight_layout()
    return fig


def rank_correlations(table: pd.DataFrame) -> Figure:
    """Draw rank correlations with 95% intervals, pair by pair (`beta_sweep.correlations`)."""
    pairs = list(dict.fromkeys(zip(table["x"], table["y"], strict=True)))
    names = [f"{_QUANTITIES[x]} – {_QUANTITIES[y]}" for x, y in pairs]

    def draw(ax: Axes, _: str, here: pd.DataFrame) -> None:
        for i, name in enumerate(FAMILIES.ordered(here["family"])):
            rows, color = here[here["family"] == name], family_color(name)
            y = [
                pairs.index(pair) + 0.3 * i - 0.15
                for pair in zip(rows["x"], rows["y"], strict=True)
            ]
            ax.hlines(y, rows["low"], rows["high"], color=color, lw=1.6)
            ax.plot(rows["rho"], y, "o", ms=5, color=color, label=FAMILIES[name].swept_label)
        ax.axvline(0, color=GRAY, lw=0.8)
        ax.set_xlim(-1.05, 1.05)
        style.name_rows(ax, names)

    height = 0.42 * len(pairs) + 1.2
    return facets(table, {"": ""}, draw, height=height, xlabel="Spearman's ρ")


def tradeoff_paths(table: pd.DataFrame) -> Figure:
    """Draw AADDC over reconstruction error along β, a row a scale of ε (`beta_sweep.table`).

    β stands at its points, whose area grows with MIG; means over seeds with 95% intervals.
    """

    def draw(ax: Axes, value: str, here: pd.DataFrame) -> None:
        mig = over_seeds(here, "mig").set_index(["family", "beta"])["mean"]
        for family in FAMILIES.ordered(here["family"]):
            path, color = here[here["family"] == family], family_color(family)
            x, y = (over_seeds(path, v).sort_values("beta") for v in ("squared_error", value))
            ax.errorbar(
                x["mean"], y["mean"], xerr=x["high"] - x["mean"], yerr=y["high"] - y["mean"],
                color=color, lw=1.3, elinewidth=0.7, label=FAMILIES[family].swept_label,
            )  # fmt: skip
            area = 12 + 150 * mig[family][x["beta"]] / (mig.max() or 1)
            ax.scatter(x["mean"], y["mean"], s=area.to_numpy(), color=color, lw=0, alpha=0.8)
            offset, side = ((5, 4), "left") if family == "tcvae" else ((-5, -10), "right")
            for beta, at in zip(x["beta"], zip(x["mean"], y["mean"], strict=True), strict=True):
                ax.annotate(f"{beta:g}", at, offset, textcoords="offset points", fontsize=7.5,
                            color=color, ha=side)  # fmt: skip
        ax.margins(0.08, 0.12)
        ax.set_xlim(max(0, ax.get_xlim()[0]), None)
        style.cut(ax, highest=1)
        if value == "aaddc_raw":
            ax.set_title(f"{ax.get_title()}, MIG {mig.min():.2f} to {mig.max():.2f}")

    rows = {f"aaddc_{scale}": f"AADDC, {name}" for scale, name in style.SCALES.items()}
    return facets(table, rows, draw, height=3.1, xlabel="squared error per image")


def dimension_differences(differences: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw the mean |δ| of each dimension, largest first; data set → of attack, of noise [d]."""

    def draw(ax: Axes, _: str, here: tuple[Tensor, Tensor]) -> None:
        ordered = np.sort(here[0].cpu().numpy())[::-1]
        ax.bar(range(1, len(ordered) + 1), ordered, color=ATTACK, width=0.75, label="attack")
        ax.axhline(float(here[1].mean()), color=NOISE, lw=1.5, label="noise of the same norm")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))

    rows = {"": "mean |δ| of the dimension"}
    return facets(differences, rows, draw, height=3.1, xlabel="dimension, by rank")


def embeddings(codes: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """Draw t-SNE of clean and adversarial codes; data set → both [N, d], labels [N]."""
    from sklearn.manifold import TSNE  # takes a second to import, and one chapter needs it

    def draw(ax: Axes, _: str, here: tuple[Tensor, Tensor, Tensor]) -> None:
        both, n = np.concatenate([part.cpu().numpy() for part in here[:2]]), len(here[0])
        perplexity = min(15.0, (len(both) - 1) / 3)
        flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(both)
        colors = [PALETTE[int(label) % len(PALETTE)] for label in here[2]]
        ax.plot(*np.stack([flat[:n], flat[n:]]).transpose(2, 0, 1), color="0.8", lw=0.6, zorder=1)
        marks = {"clean code": (flat[:n], "o", 0), "adversarial code": (flat[n:], "x", 1.2)}
        for name, (at, marker, width) in marks.items():
            ax.scatter(at[:, 0], at[:, 1], c=colors, s=28, lw=width, marker=marker)
            ax.scatter([], [], c="0.3", s=28, marker=marker, label=name)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)

    return facets(codes, {"": ""}, draw, height=3.8)


def costs(table: pd.DataFrame) -> Figure:
    """Draw median seconds of one model and of one table, a dot a data set.

    Columns: kind ("model" or "table"), what (its name), dataset, median_seconds.
    """
    parts = {str(kind): part for kind, part in table.groupby("kind", sort=False)}
    names = {kind: list(dict.fromkeys(part["what"])) for kind, part in parts.items()}
    size = (4.2 * max(len(parts), 1), 0.28 * max(map(len, names.values()), default=1) + 1.4)
    fig, axes = plt.subplots(1, max(len(parts), 1), figsize=size, squeeze=False)
    for ax, (kind, part) in zip(axes[0], parts.items(), strict=False):
        for name in DATASETS.ordered(part["dataset"]):
            here, dataset = part[part["dataset"] == name], DATASETS[name]
            ax.plot(here["median_seconds"], [names[kind].index(what) for what in here["what"]], "o",
                    ms=5, color=PALETTE[dataset.color], alpha=0.9, label=dataset.label)  # fmt: skip
        shown = [FAMILIES[what].label if kind == "model" else what for what in names[kind]]
        style.name_rows(ax, shown, shown=True)
        ax.set_ylim(max(map(len, names.values())) - 0.5, -0.5)
        ax.set(title=f"one {kind}", xlabel="seconds, median", xlim=(0, None))
        ax.grid(axis="y", color="0.9")
    style.finish(fig)
    return fig
