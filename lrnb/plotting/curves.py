"""Figures of lines: a row a quantity, a column a data set; bands are 95% intervals over seeds."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lrnb.metrics.images import DAMAGES
from lrnb.metrics.statistics import over_seeds
from lrnb.plotting import style
from lrnb.plotting.style import ATTACK, END, GRAY, SCALES, draw_line, draw_lines, facets, looks


def damage_curves(table: pd.DataFrame) -> Figure:
    """Draw damage over ε under attack and noise (`untargeted.table` of one family and scale)."""
    targeted = "floor" in table
    prefix = "distance to target:\n" if targeted else ""
    rows = {name: prefix + DAMAGES[name] for name in DAMAGES.ordered(table["metric"])}
    for ax, _, here in facets(table, rows, height=2.3, by="metric", xlabel=style.eps_unit(table)):
        draw_lines(ax, here, "damage", "kind", origin=not targeted)
        if targeted and here["floor"].notna().any():
            floor = float(here.drop_duplicates("seed")["floor"].mean())
            ax.axhline(floor, color=GRAY, lw=1, ls="--", label=END + "target's reconstruction")
        ax.set_ylim(0, None)
    return plt.gcf()


def distance_curves(table: pd.DataFrame) -> Figure:
    """Draw the attacked decoding's distance to its target over ε (`targeted.table`, one family).

    It is not expected to pass the dashed line, the target's own reconstruction.
    """
    start = table.drop_duplicates(["dataset", "seed", "metric"])
    start = start.assign(eps=0.0, distance=start["start"], noise=start["start"])
    both = pd.concat([start, table])
    attack, noise = (both.assign(damage=both[column]) for column in ("distance", "noise"))
    return damage_curves(pd.concat([attack.assign(kind="attack"), noise.assign(kind="noise")]))


def family_curves(table: pd.DataFrame, *, metric: str = "ssim") -> Figure:
    """Draw damage over ε under attack, a row a scale of ε (`untargeted.table`, one norm)."""
    attacked = table[(table["kind"] == "attack") & (table["metric"] == metric)]
    rows = dict.fromkeys(SCALES.ordered(table["scale"]), DAMAGES[metric])
    for ax, _, here in facets(attacked, rows, height=2.9, by="scale", sharex=False):
        draw_lines(ax, here, "damage", origin=True)
        ax.set(ylim=(0, None), xlabel=style.eps_unit(here))
    return plt.gcf()


def training_curves(table: pd.DataFrame, values: Mapping[str, str]) -> Figure:
    """Draw columns of `adversarial_training.table` (→ label of the axis) over the ε of training."""
    for ax, value, here in facets(table, values, height=2.1, xlabel="ε in training (L2, raw)"):
        plain, trained = here[here["family"] == "vae"], here[here["adv_form"] != "none"]
        draw_lines(ax, trained, value, "adv_form", x="adv_eps", start=plain)
        style.cut(ax, highest=1 if value.startswith("aaddc") else np.inf)
    return plt.gcf()


def sweep_curves(table: pd.DataFrame) -> Figure:
    """Draw scores over β (`beta_sweep.table`); dotted: of a Gaussian of the same covariance."""
    rows = {f"aaddc_{scale}": f"AADDC,\n{SCALES[scale]}" for scale in ("raw", "aggregate")}
    rows |= {"active": "active\ndimensions", "total_correlation": "total\ncorrelation (nats)"}
    betas = sorted(table["beta"].unique())
    for ax, value, here in facets(table, rows, height=1.9, xlabel="β"):
        draw_lines(ax, here, value, x="beta", named=value == "aaddc_raw")
        if value == "total_correlation":
            gaussian = over_seeds(here, "gaussian_correlation").sort_values("beta")
            for _, look, line in looks(gaussian):
                ax.plot(line["beta"], line["mean"], color=look["color"], lw=1.2, ls=":")
        ax.set_xscale("log", base=2)
        ax.set_xticks(betas, [f"{beta:g}" for beta in betas])
        style.cut(ax, highest=1 if value.startswith("aaddc") else np.inf)
    return plt.gcf()


def effort_curves(table: pd.DataFrame, *, steps: int, restarts: int) -> Figure:
    """Draw the share of the loss reached with less effort (`strength.table`, one family).

    A ring marks the profile's own ``steps`` and ``restarts``.
    """
    own = {"steps": str(steps), "restarts": str(restarts)}
    rows, xlabel = dict.fromkeys(own, "share of the loss"), "decoder evaluations per code and ε"
    for ax, check, here in facets(table, rows, height=2.4, by="check", xlabel=xlabel):
        line, decodes = over_seeds(here, "ratio"), here.groupby("setting")["decodes"].mean()
        line["eps"] = decodes[line["setting"]].to_numpy()
        draw_line(ax, line, ATTACK)
        ax.axhline(1, color=GRAY, lw=1, ls="--")
        for x, y, name in zip(line["eps"], line["mean"], line["setting"], strict=True):
            ax.annotate(name, (x, y), (0, -12), textcoords="offset points", fontsize=8, ha="center")
            if name == own[check]:
                ax.plot(x, y, "o", ms=9, mfc="none", mec=ATTACK)
        ax.margins(0.08, 0.2)
        style.note(ax, f"by {check}")
    return plt.gcf()


def reference_curves(table: pd.DataFrame) -> Figure:
    """Draw the attack's loss over its references', over ε (`strength.table`, one family)."""
    rows = {"first order": "√loss / (ε·σ_max)", "exhaustive": "loss / grid search"}
    rows, xlabel = rows | {"noise": "loss / noise"}, "ε (L2, raw)"
    for ax, check, here in facets(table, rows, height=2.2, by="check", xlabel=xlabel, sharex=False):
        draw_line(ax, over_seeds(here, "ratio"), ATTACK)
        ax.axhline(1, color=GRAY, lw=1, ls="--")
        ax.set_xscale("log" if check == "first order" else "linear")
        low, high = ax.get_ylim()
        ax.set_ylim(0 if check == "noise" else min(low, 0.95), max(high, 1.05))
    return plt.gcf()


def minimum_norms(table: pd.DataFrame) -> Figure:
    """Draw the share of codes for which a ‖δ‖ is enough (`strength.minimum_norm_table`)."""
    rows = dict.fromkeys(("raw", "units of the spread"), "share of codes")
    for ax, unit, here in facets(table, rows, height=2.5, sharex=False):
        for _, look, codes in looks(here):
            lengths = codes["length"] if unit == "raw" else codes["length"] / codes["spread"]
            share = np.arange(len(codes) + 1) / len(codes)
            ax.step(np.append(0, np.sort(lengths)), share, where="post", lw=1.6, **look)
        ax.margins(x=0.1)
        ax.set(ylim=(0, 1.02), xlim=(0, None), xlabel=f"‖δ‖₂ ({unit})")
    return plt.gcf()


def spectra(table: pd.DataFrame) -> Figure:
    """Draw singular values of the decoder's Jacobian by rank (`geometry.spectrum_table`)."""
    rows, xlabel = "singular value of ∂D/∂z", "rank of the singular value"
    for ax, _, here in facets(table.assign(eps=table["rank"]), rows, height=3.2, xlabel=xlabel):
        draw_lines(ax, here, "sigma", named=False)
        for _, look, _ in looks(here):
            ax.plot([], [], **look)
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return plt.gcf()


def path_curves(table: pd.DataFrame) -> Figure:
    """Draw the change of the decoding and of log q along δ (`geometry.path_table`, one family)."""
    rows = {"change": "squared error\nper pixel"}
    rows |= {"log_density": "change of log q\n(posteriors, nats)"}
    rows |= {"kernel": "change of log q\n(kernels, nats)"}
    path = table.assign(kind=table["direction"], eps=table["t"])
    for ax, value, here in facets(path, rows, height=2.3, xlabel="t, way along δ"):
        draw_lines(ax, here, value, "kind")
        ax.axvline(1, color=GRAY, lw=1, ls=":")  # δ itself
        if value == "change":
            ax.set_ylim(0, None)
    return plt.gcf()


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Draw the reconstruction error over epochs; data set → family → `lrnb.models` history."""
    for ax, _, here in facets(histories, "squared error per image", height=3.2, xlabel="epoch"):
        for _, look, history in looks(here):
            table, color = pd.DataFrame(history).set_index("epoch"), look["color"]
            ax.plot(table["reconstruction"], color=color, lw=1.4, ls=":")
            ax.plot(table["validation"], color=color, lw=1.4, label=END + look["label"])
        ax.plot([], [], color=GRAY, ls=":", lw=1.4, label="training (with code noise)")
        ax.plot([], [], color=GRAY, ls="-", lw=1.4, label="test images")
        ax.set_yscale("log")
    return plt.gcf()


def code_deviations(deviations: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Draw each dimension's standard deviation, sorted; data set → family → [d]."""
    rows, xlabel = "standard deviation of μ", "dimension, by rank"
    for ax, _, here in facets(deviations, rows, height=3, xlabel=xlabel):
        for _, look, values in looks(here):
            ranks, ordered = range(1, len(values) + 1), np.sort(values.cpu().numpy())[::-1]
            look["label"] = END + look["label"]
            ax.plot(ranks, ordered, marker="o", ms=2.5, lw=1.4, **look)
        ax.axhline(0.1, color=GRAY, lw=0.8, ls="--")
        ax.text(1, 0.1, "active above", fontsize=7, color=GRAY, va="bottom")
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return plt.gcf()
