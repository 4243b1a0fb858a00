"""Figures of points: models, codes, effects with their intervals, costs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lrnb._validation import Registry
from lrnb.attacks.balls import BALLS
from lrnb.metrics.statistics import over_seeds
from lrnb.models.families import FAMILIES
from lrnb.plotting import style
from lrnb.plotting.style import ATTACK, GRAY, NOISE, PALETTE, SCALES, facets, looks

_QUANTITIES = Registry("x", {
    "beta": "β", "aaddc_raw": "AADDC, raw", "aaddc_aggregate": "AADDC, q(z)", "mig": "MIG",
    "squared_error": "squared error", "active": "active dimensions",
})  # fmt: skip
# of a family's labels: their offset from the point, and the side that is nearest to it
_CORNERS = [((-5, -10), "right"), ((5, 4), "left"), ((5, -10), "left"), ((-5, 4), "right")]


def steepness_scatter(table: pd.DataFrame) -> Figure:
    """Draw root damage over σ_max by code (`geometry.codes_table`); dashed: a linear decoder's."""
    rows = dict.fromkeys(("small", "large"), "root mean\nsquared error")
    for ax, at, here in facets(table, rows, height=2.6, xlabel="σ_max of ∂D/∂z"):
        for _, look, codes in looks(here):
            ax.scatter(codes["sigma"], codes[f"damage_{at}"] ** 0.5, s=9, lw=0, alpha=0.6, **look)
        line = here.sort_values("sigma")
        ax.plot(line["sigma"], line[f"linear_{at}"] ** 0.5, color=GRAY, lw=1, ls="--", zorder=0)
        ax.set(xlim=(0, None), ylim=(0, None))
        style.note(ax, f"ε = {here[f'eps_{at}'].iloc[0]:.3g}")
    return plt.gcf()


def robustness_and_diversity(table: pd.DataFrame, *, x: str, y: str) -> Figure:
    """Draw diversity of samples over AADDC by model and seed (`adversarial_training.table`)."""
    rows, xlabel = "mean distance of two samples", "AADDC (larger is more robust)"
    for ax, _, here in facets(table, rows, height=3.4, xlabel=xlabel):
        for name, look, models in looks(here):
            marker = "^" if FAMILIES[name].adversarial else "o"
            ax.plot(models[x], models[y], marker, ms=6, mec="white", **look)
    return plt.gcf()


def frontier(table: pd.DataFrame, *, x: str, y: str) -> Figure:
    """Draw robustness over clean error, a dot a model (`families.frontier_table`).

    The line joins the means over seeds of the VAE along its β.
    """
    for ax, _, here in facets(table, "AADDC", height=3.4, xlabel="squared error per image"):
        for name, look, models in looks(here):
            swept = models.groupby("beta")[[x, y]].mean().sort_index()
            if len(swept) > 1:
                ax.plot(swept[x], swept[y], color=look["color"], lw=1.2)
                for beta, at in swept.iterrows():
                    ax.annotate(f"β = {beta:g}", tuple(at), (4, 4), textcoords="offset points",
                                fontsize=7, color=look["color"])  # fmt: skip
            marker = "o" if FAMILIES[name].stochastic else "s"
            ax.plot(models[x], models[y], marker, ms=5, mec="white", **look)
        style.cut(ax, highest=1)
    return plt.gcf()


def differences(table: pd.DataFrame) -> Figure:
    """Draw AADDC of each family minus the VAE's, a row a norm, with 95% intervals over seeds.

    The rows are `lrnb.metrics.statistics.over_seeds` of `lrnb.metrics.statistics.paired`.
    """
    families = FAMILIES.ordered(table["family"])
    rows, height = dict.fromkeys(BALLS.ordered(table["norm"]), ""), 1 + 0.5 * len(families)
    xlabel = "AADDC minus the VAE's"
    for ax, norm, here in facets(table, rows, height=height, by="norm", xlabel=xlabel):
        ax.axvline(0, color=GRAY, lw=1, ls="--")
        for k, (_, look, part) in enumerate(looks(here, "scale")):
            part, y = part.set_index("family").loc[families], np.arange(len(families))
            ax.hlines(y + 0.18 * (k - 1.5), part["low"], part["high"], color=look["color"], lw=1.5)
            ax.plot(part["mean"], y + 0.18 * (k - 1.5), "o", mec="white", ms=5, **look)
        style.name_rows(ax, [FAMILIES[family].label for family in families])
        style.note(ax, BALLS[norm].label)
    return plt.gcf()


def rank_correlations(table: pd.DataFrame) -> Figure:
    """Draw rank correlations with 95% intervals, pair by pair (`beta_sweep.correlations`)."""
    pairs = list(dict.fromkeys(zip(table["x"], table["y"], strict=True)))
    height = 0.42 * len(pairs) + 1.2
    for ax, _, here in facets(table, "", height=height, xlabel="Spearman's ρ"):
        step = 0.6 / here["family"].nunique()
        for i, (_, look, part) in enumerate(looks(here, swept=True)):
            shift = (i + 0.5) * step - 0.3
            y = [pairs.index(pair) + shift for pair in zip(part["x"], part["y"], strict=True)]
            ax.hlines(y, part["low"], part["high"], color=look["color"], lw=1.6)
            ax.plot(part["rho"], y, "o", ms=5, **look)
        ax.axvline(0, color=GRAY, lw=0.8)
        ax.set_xlim(-1.05, 1.05)
        style.name_rows(ax, [f"{_QUANTITIES[x]} – {_QUANTITIES[y]}" for x, y in pairs])
    return plt.gcf()


def tradeoff_paths(table: pd.DataFrame) -> Figure:
    """Draw AADDC over reconstruction error along β (`beta_sweep.table`); areas grow with MIG."""
    rows = {f"aaddc_{scale}": f"AADDC, {SCALES[scale]}" for scale in ("raw", "aggregate")}
    most = over_seeds(table, "mig")["mean"].max() or 1
    for ax, value, here in facets(table, rows, height=3.1, xlabel="squared error per image"):
        mig = over_seeds(here, "mig").set_index(["family", "beta"])["mean"]
        for i, (family, look, path) in enumerate(looks(here, swept=True)):
            x, y = (over_seeds(path, v).sort_values("beta") for v in ("squared_error", value))
            errors = y["high"] - y["mean"], x["high"] - x["mean"]
            ax.errorbar(x["mean"], y["mean"], *errors, lw=1.3, elinewidth=0.7, **look)
            area = (12 + 150 * mig[family][x["beta"]] / most).to_numpy()
            ax.scatter(x["mean"], y["mean"], s=area, color=look["color"], lw=0, alpha=0.8)
            offset, side = _CORNERS[i % len(_CORNERS)]
            text = {"textcoords": "offset points", "fontsize": 7.5, "color": look["color"]}
            for beta, *at in zip(x["beta"], x["mean"], y["mean"], strict=True):
                ax.annotate(f"{beta:g}", (at[0], at[1]), offset, ha=side, **text)
        ax.margins(0.08, 0.12)
        ax.set_xlim(max(0, ax.get_xlim()[0]), None)
        style.cut(ax, highest=1)
        if value == "aaddc_raw":
            ax.set_title(f"{ax.get_title()}, MIG {mig.min():.2f} to {mig.max():.2f}")
    return plt.gcf()


def dimension_differences(differences: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw the mean |δ| of each dimension, largest first; data set → of attack, of noise [d]."""
    rows, xlabel = "mean |δ| of the dimension", "dimension, by rank"
    for ax, _, (attack, noise) in facets(differences, rows, height=3.1, xlabel=xlabel):
        ordered = np.sort(attack.cpu().numpy())[::-1]
        ax.bar(range(1, len(ordered) + 1), ordered, color=ATTACK, width=0.75, label="attack")
        ax.axhline(float(noise.mean()), color=NOISE, lw=1.5, label="noise of the same norm")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return plt.gcf()


def embeddings(codes: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """Draw t-SNE of clean and adversarial codes; data set → both [N, d], labels [N]."""
    from sklearn.manifold import TSNE  # takes a second to import, and one chapter needs it

    for ax, _, (clean, adversarial, classes) in facets(codes, "", height=3.8):
        both, n = np.concatenate([clean.cpu().numpy(), adversarial.cpu().numpy()]), len(clean)
        perplexity = min(15.0, (len(both) - 1) / 3)
        flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(both)
        colors = [PALETTE[int(label) % len(PALETTE)] for label in classes]
        ax.plot(*np.stack([flat[:n], flat[n:]]).transpose(2, 0, 1), color="0.6", lw=0.7, zorder=1)
        marks = {"clean code": (flat[:n], "o", 0), "adversarial code": (flat[n:], "x", 1.2)}
        for name, (at, marker, width) in marks.items():
            ax.scatter(at[:, 0], at[:, 1], c=colors, s=28, lw=width, marker=marker)
            ax.scatter([], [], c="0.3", s=28, marker=marker, label=name)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return plt.gcf()


def costs(table: pd.DataFrame) -> Figure:
    """Draw median_seconds of each kind ("model", "table") and what (its name), a dot a dataset."""
    kinds = table.groupby("kind", sort=False)
    tallest, columns = max(kinds["what"].nunique(), default=1), max(len(kinds), 1)
    size = (4.2 * columns, 0.28 * tallest + 1.4)
    fig, axes = plt.subplots(1, columns, figsize=size, squeeze=False)
    for ax, (kind, part) in zip(axes[0], kinds, strict=False):
        names = list(part["what"].unique())
        for _, look, here in looks(part, "dataset"):
            y = [names.index(what) for what in here["what"]]
            ax.plot(here["median_seconds"], y, "o", ms=5, alpha=0.9, **look)
        style.name_rows(ax, [style.labels().get(x, x) if kind == "model" else x for x in names])
        ax.set(title=f"one {kind}", xlabel="seconds, median", xlim=(0, None))
        ax.set_ylim(tallest - 0.5, -0.5)
        ax.grid(axis="y", color="0.9")
    style.finish(fig)
    return fig
