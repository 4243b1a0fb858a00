"""Adversarial training: recipes, diversity of known images, and one row a model."""

from dataclasses import replace

import pytest

from lrnb.data import DATASETS
from lrnb.metrics.statistics import curve_summary
from lrnb.models import PROFILES, Recipe
from lrnb.studies import adversarial_training
from lrnb.studies.untargeted import table as untargeted_table

TINY = replace(
    PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=4, eps_count=2, steps=4, epochs=1
)


def test_recipes_are_both_forms_at_each_training_eps():
    recipes = adversarial_training.recipes(["digits", "celeba"], [0])
    assert len(set(recipes)) == 2 * 2
    assert (
        max(r.adv_eps for r in recipes if r.dataset == "celeba") == DATASETS["celeba"].eps_max / 2
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    recipes = [Recipe("digits", f) for f in ("vae", "ae")] + adversarial_training.recipes(
        ["digits"], [0]
    )
    yield adversarial_training.table(recipes, TINY)
    patch.undo()


def test_one_row_a_model_with_its_own_scores(table, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert len(table) == 4 and not table["aaddc_raw"].isna().any()
    assert (table["diversity_prior_mse"] > 0).all() and (table["diversity_fitted_mse"] > 0).all()
    assert table["diversity_prior_lpips"].isna().all()
    scores = curve_summary(untargeted_table([Recipe("digits", "ae")], TINY))
    scores = scores[(scores.kind == "attack") & (scores.metric == "ssim")].set_index("scale")
    row = table[table.family == "ae"].iloc[0]
    for scale in ("raw", "spread"):
        assert row[f"aaddc_{scale}"] == pytest.approx(scores.loc[scale, "aaddc"], abs=1e-6)
