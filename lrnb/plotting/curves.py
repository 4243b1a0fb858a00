"""Figures of lines: a row a quantity, a column a data set; bands are 95% intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lrnb.metrics.images import METRICS
from lrnb.metrics.statistics import over_seeds
from lrnb.models.families import FAMILIES
from lrnb.plotting import style
from lrnb.plotting.style import Ends, facets


def damage_curves(table: pd.DataFrame, *, value: str = "damage") -> Figure:
    """Draw damage over ε under attack and noise, a row a metric (`untargeted.table`).

    The table is of one family, norm and scale; ``value`` is its column to draw.
    """

    def draw(ax: Axes, metric: str, here: pd.DataFrame) -> Ends | None:
        here = here[here["metric"] == metric]
        if style.not_computed(ax, metric, here[value]):
            return None
        ends = style.draw_lines(ax, here, value, "kind", origin="start" not in here)
        if "floor" in here:
            level = float(here.drop_duplicates("seed")["floor"].mean())
            ax.axhline(level, color=style.GRAY, lw=1, ls="--")
            ends["target itself"] = level, style.GRAY
        ax.set_ylim(0, None)
        return ends

    prefix = "distance to target:\n" if "floor" in table else ""
    rows = {name: prefix + METRICS[name].label for name in METRICS.ordered(table["metric"])}
    return facets(table, rows, draw, height=2.3, xlabel=style.eps_unit(table))


def distance_curves(table: pd.DataFrame) -> Figure:
    """Draw the attacked decoding's distance to its target over ε (`targeted.table`, one family).

    The dashed line is the target's own reconstruction, which the attack cannot be expected to pass.
    """
    start = table.drop_duplicates(["dataset", "seed", "metric"])
    start = start.assign(eps=0.0, distance=start["start"], noise=start["start"])
    both = pd.concat([start, table])
    noise = both.assign(kind="noise", distance=both["noise"])
    return damage_curves(pd.concat([both.assign(kind="attack"), noise]), value="distance")


def family_curves(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """Draw damage over ε under attack, a row a scale of ε (`untargeted.table`, one norm)."""
    attacked = table[(table["kind"] == "attack") & (table["metric"] == metric)]

    def draw(ax: Axes, scale: str, here: pd.DataFrame) -> Ends:
        here = here[here["scale"] == scale]
        ends = style.draw_lines(ax, here, "damage", "family", origin=True)
        ax.set_ylim(0, None)
        ax.set_xlabel(style.eps_unit(here))
        return ends

    rows = dict.fromkeys(style.SCALES.ordered(table["scale"]), METRICS[metric].label)
    return facets(attacked, rows, draw, height=2.9, sharex="none")


def training_curves(table: pd.DataFrame, values: Mapping[str, str]) -> Figure:
    """Draw what adversarial training changes over its ε (`adversarial_training.table`).

    A line a form of training, which starts from the plain VAE at ε = 0; ``values``: columns to
    draw, and what stands at the axis.
    """

    def draw(ax: Axes, value: str, here: pd.DataFrame) -> Ends | None:
        if style.not_computed(ax, value, here[value]):
            return None
        plain, trained = here[here["family"] == "vae"], here[here["adv_form"] != "none"]
        return style.draw_lines(ax, trained, value, "adv_form", x="adv_eps", start=plain)

    return facets(table, values, draw, height=2.1, xlabel="ε in training (L2, raw)")


def sweep_curves(table: pd.DataFrame) -> Figure:
    """Draw robustness, active dimensions and total correlation over β (`beta_sweep.table`).

    The dotted lines are the total correlation of a Gaussian of the same covariance.
    """
    rows = {f"aaddc_{scale}": f"AADDC,\n{name}" for scale, name in style.SCALES.items()} | {
        "active": "active\ndimensions", "total_correlation": "total\ncorrelation (nats)",
    }  # fmt: skip
    betas = sorted(table["beta"].unique())

    def draw(ax: Axes, value: str, here: pd.DataFrame) -> Ends:
        ends = style.draw_lines(ax, here, value, "family", x="beta")
        if value == "total_correlation":
            lines = over_seeds(here, "gaussian_correlation").sort_values("beta")
            for family, line in lines.groupby("family"):
                color = style.family_color(str(family))
                ax.plot(line["beta"], line["mean"], color=color, lw=1.2, ls=":")
        ax.set_xscale("log", base=2)
        ax.set_xticks(betas, [f"{beta:g}" for beta in betas])
        style.cut(ax, highest=1 if value.startswith("aaddc") else math.inf)
        return ends if value == "aaddc_raw" else {}

    return facets(table, rows, draw, height=1.9, xlabel="β")


def effort_curves(table: pd.DataFrame, *, steps: int, restarts: int) -> Figure:
    """Draw the share of the loss reached with less effort than twice the profile's.

    Of `strength.table`, one family; a ring marks the profile's own ``steps`` and ``restarts``.
    """
    own = {"steps": str(steps), "restarts": str(restarts)}

    def draw(ax: Axes, check: str, here: pd.DataFrame) -> None:
        here = here[here["check"] == check]
        line = over_seeds(here, "ratio")
        line["eps"] = here.groupby("setting")["decodes"].mean()[line["setting"]].to_numpy()
        style.draw_line(ax, line, style.ATTACK)
        ax.axhline(1, color=style.GRAY, lw=1, ls="--")
        for x, y, setting in zip(line["eps"], line["mean"], line["setting"], strict=True):
            ax.annotate(
                setting, (x, y), (0, -12), textcoords="offset points", fontsize=8, ha="center"
            )
            if setting == own[check]:
                ax.plot(x, y, "o", ms=9, mfc="none", mec=style.ATTACK)
        ax.margins(0.08, 0.2)
        style.note(ax, f"by {check}")

    rows = dict.fromkeys(own, "share of the loss")
    return facets(table, rows, draw, height=2.4, xlabel="decoder evaluations per code and ε")


def reference_curves(table: pd.DataFrame) -> Figure:
    """Draw the attack's loss over its references', over ε (`strength.table`, one family)."""

    def draw(ax: Axes, check: str, here: pd.DataFrame) -> None:
        style.draw_line(ax, over_seeds(here[here["check"] == check], "ratio"), style.ATTACK)
        ax.axhline(1, color=style.GRAY, lw=1, ls="--")
        ax.set_xscale("log" if check == "first order" else "linear")
        low, high = ax.get_ylim()
        ax.set_ylim(*((0, None) if check == "noise" else (min(low, 0.95), max(high, 1.05))))

    rows = {"first order": "√loss / (ε·σ_max)", "exhaustive": "loss / grid search"}
    rows |= {"noise": "loss / noise"}
    return facets(table, rows, draw, height=2.2, xlabel="ε (L2, raw)", sharex="none")


def minimum_norms(table: pd.DataFrame) -> Figure:
    """Draw the share of codes for which a ‖δ‖ is enough (`strength.minimum_norm_table`).

    All seeds of a family are one distribution; in the lower row per spread of the code.
    """

    def draw(ax: Axes, unit: str, here: pd.DataFrame) -> None:
        lengths = here["length"] if unit == "raw" else here["length"] / here["spread"]
        for family in FAMILIES.ordered(here["family"]):
            ordered = np.sort(lengths[here["family"] == family])
            share, color = np.arange(len(ordered) + 1) / len(ordered), style.family_color(family)
            ax.step(np.append(0, ordered), share, where="post", color=color, lw=1.6,
                    label=FAMILIES[family].label)  # fmt: skip
        ax.margins(x=0.1)
        ax.set(ylim=(0, 1.02), xlim=(0, None), xlabel=f"‖δ‖₂ ({unit})")

    rows = dict.fromkeys(("raw", "units of the spread"), "share of codes")
    return facets(table, rows, draw, height=2.5, sharex="none")


def spectra(table: pd.DataFrame) -> Figure:
    """Draw singular values of the decoder's Jacobian by rank (`geometry.spectrum_table`)."""

    def draw(ax: Axes, _: str, here: pd.DataFrame) -> None:
        for name, (_end, color) in style.draw_lines(ax, here, "sigma", "family").items():
            ax.plot([], [], color=color, label=name)
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))

    rows, ranked = {"": "singular value of ∂D/∂z"}, table.assign(eps=table["rank"])
    return facets(ranked, rows, draw, height=3.2, xlabel="rank of the singular value")


def path_curves(table: pd.DataFrame) -> Figure:
    """Draw the change of the decoding and of log q along δ (`geometry.path_table`, one family)."""
    rows = {"change": "squared error\nper pixel"}
    rows |= {"log_density": "change of log q\n(posteriors, nats)"}
    rows |= {"kernel": "change of log q\n(kernels, nats)"}

    def draw(ax: Axes, value: str, here: pd.DataFrame) -> Ends:
        ends = style.draw_lines(ax, here, value, "kind")
        ax.axvline(1, color=style.GRAY, lw=1, ls=":")  # δ itself
        if value == "change":
            ax.set_ylim(0, None)
        return ends

    path = table.assign(kind=table["direction"], eps=table["t"])
    return facets(path, rows, draw, height=2.3, xlabel="t, way along δ")


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Draw the reconstruction error over epochs; data set → family → `lrnb.models` history."""
    shown = {
        "reconstruction": (":", "training (with code noise)"),
        "validation": ("-", "test images"),
    }

    def draw(ax: Axes, _: str, here: Mapping[str, Sequence[Mapping[str, float]]]) -> Ends:
        ends = {}
        for family, history in here.items():
            table, color = pd.DataFrame(history), style.family_color(family)
            for column, (dashes, _label) in shown.items():
                ax.plot(table["epoch"], table[column], color=color, lw=1.4, ls=dashes)
            ends[FAMILIES[family].label] = (float(table["validation"].iloc[-1]), color)
        for dashes, name in shown.values():
            ax.plot([], [], color=style.GRAY, ls=dashes, lw=1.4, label=name)
        ax.set_yscale("log")
        return ends

    return facets(histories, {"": "squared error per image"}, draw, height=3.2, xlabel="epoch")


def code_deviations(deviations: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Draw each dimension's standard deviation, sorted; data set → family → [d]."""

    def draw(ax: Axes, _: str, here: Mapping[str, Tensor]) -> Ends:
        ends = {}
        for family, values in here.items():
            ordered, color = np.sort(values.cpu().numpy())[::-1], style.family_color(family)
            ax.plot(range(1, len(ordered) + 1), ordered, color=color, marker="o", ms=2.5, lw=1.4)
            ends[FAMILIES[family].label] = (float(ordered[-1]), color)
        ax.axhline(0.1, color=style.GRAY, lw=0.8, ls="--")
        ax.text(1, 0.1, "active above", fontsize=7, color=style.GRAY, va="bottom")
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return ends

    rows = {"": "standard deviation of μ"}
    return facets(deviations, rows, draw, height=3, xlabel="dimension, by rank")
