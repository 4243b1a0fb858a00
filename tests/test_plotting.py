"""Figures show every row of a table."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from lrnb import plotting
from lrnb._validation import UnknownName

matplotlib.use("Agg")
DATASETS = ["digits", "mnist"]
EPS = {"eps": [0.5, 1.0]}
METRICS = {"metric": ["ssim", "lpips", "mse"]}
KIND = {"kind": ["attack", "noise"]}
SCALE = {"scale": ["raw", "aggregate"]}
FAMILY = {"family": ["ae", "vae"]}
SWEPT = {"family": ["vae", "tcvae"], "beta": [1.0, 2.0, 4.0]}
SEEDS = {"seed": [0, 1, 2]}


def table(values="", /, **columns):
    """Every combination of the columns for two data sets, and random numbers."""
    columns = {"dataset": DATASETS} | {
        k: v if isinstance(v, list) else [v] for k, v in columns.items()
    }
    rows = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    random = np.random.default_rng(0)
    return rows.assign(**{value: random.random(len(rows)) + 0.1 for value in values.split()})


def forms():
    trained = table(
        "a lpips", family="vae_adv", adv_form=["trades", "maxmin"], adv_eps=EPS["eps"], **SEEDS
    )
    return pd.concat(
        [table("a lpips", family="vae", adv_form="none", adv_eps=0.0, **SEEDS), trained]
    )


SWEEP = "mig squared_error aaddc_raw aaddc_aggregate active total_correlation gaussian_correlation"
CODES = "sigma damage_small damage_large linear_small linear_large eps_small eps_large"
INTERVAL = "low high boot_low boot_high"
STRENGTH = {
    "check": ["steps", "restarts", "first order", "exhaustive", "noise"],
    "setting": ["1", "2"],
}
PER_FAMILY = {data: {"ae": torch.rand(4), "vae": torch.rand(4)} for data in DATASETS}
HISTORY = [{"epoch": e, "reconstruction": 3 / e, "validation": 2 / e} for e in (1, 2)]
# function, what it is given, options; panels, what is written in the first one or its legend
FIGURES = [
    ("damage_curves", table("damage", norm="l2", scale="raw", **EPS, **KIND, **METRICS, **SEEDS), {}, 6, "attack"),
    ("distance_curves", table("distance noise start floor", norm="l2", **EPS, **METRICS, **SEEDS), {}, 6, "target's reconstruction"),
    ("family_curves", table("damage", norm="linf", **FAMILY, **SCALE, **EPS, **KIND, **METRICS, **SEEDS), {}, 4, "AE"),
    ("training_curves", forms(), {"values": {"a": "A", "lpips": "B"}}, 4, "max–min"),
    ("sweep_curves", table(SWEEP, **SWEPT, **SEEDS), {}, 8, "β-VAE"),
    ("tradeoff_paths", table(SWEEP, **SWEPT, **SEEDS), {}, 4, "β-TCVAE"),
    ("rank_correlations", table("rho low high", family=["vae", "tcvae"], x="beta", y=["mig", "active"]), {}, 2, "β-TCVAE"),
    ("effort_curves", table("ratio decodes", **STRENGTH, **SEEDS), {"steps": 1, "restarts": 2}, 4, "by steps"),
    ("reference_curves", table("ratio", check=STRENGTH["check"], **EPS, **SEEDS), {}, 6, ""),
    ("minimum_norms", table("length spread", **FAMILY, sample=[0, 1, 2]), {}, 4, "VAE"),
    ("spectra", table("sigma", **FAMILY, rank=[1, 2], **SEEDS), {}, 2, "VAE"),
    ("steepness_scatter", table(CODES, **FAMILY, sample=[0, 1, 2]), {}, 4, "AE"),
    ("path_curves", table("change log_density kernel", direction=KIND["kind"], t=[0, 1, 2], **SEEDS), {}, 6, "noise"),
    ("robustness_and_diversity", table("a b", **FAMILY, **SEEDS), {"x": "a", "y": "b"}, 2, "VAE"),
    ("differences", table("mean " + INTERVAL, **FAMILY, **SCALE, norm=["l2", "linf"]), {}, 4, "ε per spread of q(z)"),
    ("forest", table("effect low high least", claim=["a", "b", "c"], reading=["primary", "control"], found="holds"), {"titles": {"a": "A", "b": "B", "c": "C"}}, 2, "holds"),
    ("specification_curve", table("effect low high least", reading="primary", choices=["norm: L2; ε: end", "norm: L∞; ε: end"], found="no effect"), {}, 2, "no effect"),
    ("costs", table("median_seconds", kind="model", what=["ae", "vae"]), {}, 1, "Digits"),
    ("loss_curves", {data: {"ae": HISTORY} for data in DATASETS}, {}, 2, "test images"),
    ("code_deviations", PER_FAMILY, {}, 2, "VAE"),
    ("dimension_differences", {data: (torch.rand(4), torch.rand(4)) for data in DATASETS}, {}, 2, "attack"),
    ("embeddings", {data: (torch.rand(9, 3), torch.rand(9, 3), torch.arange(9)) for data in DATASETS}, {}, 2, "clean code"),
    ("image_grids", {data: {"a": torch.rand(6, 1, 8, 8)} for data in DATASETS}, {}, 12, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "options", "panels", "text"), FIGURES, ids=[f[0] for f in FIGURES])  # fmt: skip
def test_figure_has_a_panel_for_each_row_and_data_set(name, given, options, panels, text):
    fig = getattr(plotting, name)(given, **options)
    assert len(fig.axes) == panels
    legends = [t.get_text() for legend in fig.legends for t in legend.get_texts()]
    ax = fig.axes[0]
    shown = [*legends, *[t.get_text() for t in ax.texts], ax.get_title("right")]
    assert text == "" or text in shown
    assert all(ax.has_data() for ax in fig.axes if ax.get_visible())
    plt.close(fig)


@pytest.mark.parametrize(("name", "given", "options"), [figure[:3] for figure in FIGURES], ids=[f[0] for f in FIGURES])  # fmt: skip
def test_unknown_data_set_is_an_error(name, given, options):
    other = given.replace("digits", "dogits") if isinstance(given, pd.DataFrame) else {"dogits": given["digits"]}  # fmt: skip
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        getattr(plotting, name)(other, **options)
    plt.close("all")


def test_unknown_names_of_lines_are_errors():
    curves = FIGURES[2][1]
    for old, new in (("ae", "aee"), ("raw", "row"), ("linf", "l_inf")):
        with pytest.raises(UnknownName, match=new):
            plotting.family_curves(curves.replace(old, new))
    with pytest.raises(UnknownName, match="kind must be one of attack, noise"):
        plotting.damage_curves(FIGURES[0][1].replace("noise", "nois"))
    with pytest.raises(UnknownName, match="did you mean 'tcvae'"):
        plotting.label("tcvea")
    plt.close("all")


def test_labels_rename_an_index_and_leave_other_names():
    index = pd.DataFrame(index=["mnist", "tcvae", "mean"]).rename(index=plotting.LABELS).index
    assert list(index) == ["MNIST", "β-TCVAE", "mean"]


def test_missing_lpips_is_said_in_its_panels():
    curves = FIGURES[0][1]
    fig = plotting.damage_curves(curves.assign(damage=curves["damage"].where(curves["metric"] != "lpips")))  # fmt: skip
    assert ["not computed" in "".join(t.get_text() for t in ax.texts) for ax in fig.axes] == [False] * 2 + [True] * 2 + [False] * 2  # fmt: skip
    plt.close(fig)
