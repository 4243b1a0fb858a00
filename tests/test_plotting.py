"""Figures show every row of a table; images in pages are those of the attack."""

import base64
import io
import itertools
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lrnb import attack, metrics, plotting
from lrnb._validation import UnknownName

matplotlib.use("Agg")
DATASETS = ["digits", "mnist"]
EPS = {"eps": [0.5, 1.0]}
METRICS = {"metric": ["ssim", "lpips", "mse"]}
KIND = {"kind": ["attack", "noise"]}
SCALE = {"scale": ["raw", "spread"]}
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


SWEEP = "mig squared_error aaddc_raw aaddc_spread active total_correlation gaussian_correlation"
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
    ("distance_curves", table("distance noise start floor", norm="l2", **EPS, **METRICS, **SEEDS), {}, 6, "target itself"),
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
    ("differences", table("difference " + INTERVAL, **FAMILY, **SCALE, norm=["l2", "linf"], **METRICS), {}, 4, "ε per spread"),
    ("forest", table("effect low high least", claim=["a", "b", "c"], reading=["claim", "control"], holds="open"), {"titles": {"a": "A", "b": "B", "c": "C"}}, 8, "claim"),
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


@pytest.fixture(scope="module")
def hit():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 32 * 32, generator=generator)
    codes = torch.randn(10, 4, generator=generator)
    return attack(lambda z: (z @ weight).sigmoid().view(-1, 1, 32, 32), codes, eps=[0.5, 1.0])


def images_of(page):
    sources = re.findall(r"<img[^>]*base64,([^\"]+)\"", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(s)))) for s in sources]


def test_sliders_show_the_attacked_images_and_their_damage(hit):
    page = plotting.epsilon_sliders({"digits": hit, "shapes": hit})._repr_html_()
    assert page.count('type="range"') == 2 and "Shapes" in page
    assert "http" not in page and "<script" not in page
    above, *steps = images_of(page)[:4]
    assert np.array_equal(above, steps[0])
    for step, images in zip(steps[1:], hit.images, strict=True):
        third = (images[2, 0].numpy() * 255).round()
        assert step.shape == (32, 8 * 32) and np.abs(step[:, 64:96] - third).max() <= 1
    first, _ = (tag for tag in re.findall(r"<img[^>]*data-step[^>]*?src", page) if "hidden" not in tag)  # fmt: skip
    damage = float((1 - metrics.ssim(hit.images[0, :8], hit.clean[:8])).mean())
    assert f"attacked decodings at ε = 0.5, 1 − SSIM = {damage:.2f}" in first
    assert f"<output>ε = 0.5, 1 − SSIM = {damage:.2f}</output>" in page


def test_side_by_side_shows_each_row_and_its_damage(hit):
    page = plotting.side_by_side({"digits": {"clean": hit.clean, "attack, ε = 1": hit.images[-1]}})
    clean, attacked = images_of(page._repr_html_())
    assert clean.shape == (32, 5 * 32) and not np.array_equal(clean, attacked)
    damage = float((1 - metrics.ssim(hit.images[-1, :5], hit.clean[:5])).mean())
    # beside the row, and as its alternative text
    assert page.html.count(f"attack, ε = 1, 1 − SSIM = {damage:.2f}") == 2
    assert "Digits, clean" in page.html and "rendered page" in repr(page)


def test_photographs_change_little():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=64, mode="bilinear").clamp(0, 1)
    (shown,) = images_of(plotting.side_by_side({"celeba": {"clean": images}}).html)
    assert shown.shape == (64, 5 * 64, 3)
    first = images[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(shown[:, :64].astype(float) - first).mean() < 2
