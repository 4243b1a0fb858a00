"""Adversarial training: recipes, diversity of known images, and one row a model."""

import math
from dataclasses import replace

import pytest
import torch

from lrnb import metrics
from lrnb.defence import defence_table, defended_recipes, diversity
from lrnb.experiments import EPS_MAX, PROFILES, Recipe
from lrnb.figures import defence_curves, robustness_and_diversity
from lrnb.robustness import aaddc_table, untargeted_table

TINY = replace(
    PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=4, eps_count=2, steps=4, epochs=1
)


def test_recipes_are_both_forms_at_each_training_eps():
    recipes = defended_recipes(["digits", "celeba"], [0])
    assert len(set(recipes)) == 2 * 2 * 3
    assert max(r.adv_eps for r in recipes if r.dataset == "celeba") == EPS_MAX["celeba"]


def test_diversity_is_the_mean_over_pairs():
    a, b, c = torch.zeros(1, 32, 32), torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)
    found = diversity(torch.stack([a, b, c]))
    assert found["mse"] == pytest.approx((1 + 0.25 + 0.25) / 3)
    assert diversity(torch.stack([b, b]))["mse"] == 0
    if metrics.lpips_is_present():
        direct = torch.cat([metrics.lpips(x[None], y[None]) for x, y in ((a, b), (a, c), (b, c))])
        assert found["lpips"] == pytest.approx(direct.mean().item(), rel=1e-4)
    else:
        assert math.isnan(found["lpips"])
    with pytest.raises(ValueError, match="images has 1"):
        diversity(a[None])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    recipes = [Recipe("digits", f) for f in ("vae", "ae")] + defended_recipes(["digits"], [0])
    yield defence_table(recipes, TINY)
    patch.undo()


def test_one_row_a_model_with_its_own_scores(table, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert len(table) == 8 and not table["aaddc_raw"].isna().any()
    assert (table["diversity_prior_mse"] > 0).all() and (table["diversity_fitted_mse"] > 0).all()
    assert table["diversity_prior_lpips"].isna().all()
    scores = aaddc_table(untargeted_table([Recipe("digits", "ae")], TINY))
    scores = scores[(scores.kind == "attack") & (scores.metric == "ssim")].set_index("scale")
    row = table[table.family == "ae"].iloc[0]
    for scale in ("raw", "spread"):
        assert row[f"aaddc_{scale}"] == pytest.approx(scores.loc[scale, "aaddc"], abs=1e-6)


def test_figures_show_both_forms_and_all_families(table):
    values = {"aaddc_raw": "AADDC", "diversity_prior_lpips": "diversity (LPIPS)"}
    drawn = defence_curves(table, values)
    assert {"added term", "max–min"} <= {t.get_text() for t in drawn.axes[0].texts}
    assert "not computed" in drawn.axes[1].texts[0].get_text()
    scatter = robustness_and_diversity(table, x="aaddc_raw", y="diversity_prior_mse")
    assert len(scatter.axes[0].lines) == 3
