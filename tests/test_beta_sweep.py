"""The sweep over β: recipes, the table's columns, the correlations."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrnb.metrics.disentanglement import SCORES
from lrnb.metrics.statistics import curve_summary
from lrnb.models import PROFILES, Recipe
from lrnb.studies import beta_sweep, clean, tables, untargeted

TINY = replace(
    PROFILES["smoke"], name="tiny", epochs=1, n_attack=6, eps_count=2, steps=3, restarts=2
)


def test_the_sweep_holds_every_beta_of_both_families_once():
    recipes = beta_sweep.recipes(["digits", "shapes"], (s for s in (0, 1)))
    assert len(recipes) == len(set(recipes)) == 2 * 2 * 2 * len(beta_sweep.BETAS)


def test_a_row_agrees_with_the_other_tables():
    recipes = [Recipe("shapes", "tcvae", beta=4.0), Recipe("digits")]
    table = beta_sweep.table(recipes, TINY)
    assert len(table) == 2 and set(SCORES) <= set(table)
    about = clean.table(recipes, TINY)
    damages = untargeted.table(recipes, TINY)
    areas = curve_summary(damages).query("kind == 'attack' and metric == 'ssim'")
    for (_, row), (_, own) in zip(table.iterrows(), about.iterrows(), strict=True):
        for name in ("spread", "active", "squared_error"):
            assert row[name] == own[name]
        for scale in untargeted.SCALES:
            of = areas[(areas["dataset"] == row["dataset"]) & (areas["scale"] == scale)]
            assert row[f"aaddc_{scale}"] == pytest.approx(of["aaddc"].item(), abs=1e-6)
    digits = table[table["dataset"] == "digits"].iloc[0]
    assert math.isnan(digits["factor_vae"]) and not math.isnan(digits["mig"])


@pytest.fixture(scope="module")
def made_up():
    """A sweep in which robustness falls with β at raw ε and knows nothing of it in spread units."""
    rng = np.random.default_rng(0)
    rows = []
    for recipe in beta_sweep.recipes(["digits", "celeba"], [0, 1, 2]):
        noise = rng.normal(size=3)
        rows.append(
            tables.identity(recipe)
            | {
                "aaddc_raw": 0.5 - 0.02 * recipe.beta,
                "aaddc_aggregate": 0.5 + 0.1 * noise[0],
                "squared_error": 10 * recipe.beta,
                "active": 8,
                "mig": 0.1 + 0.001 * abs(noise[1]),
                "total_correlation": 3 / recipe.beta,
                "gaussian_correlation": 1 / recipe.beta,
            }
        )
    return pd.DataFrame(rows)


def test_tradeoff_finds_the_correlations_that_were_built_in(made_up):
    found = beta_sweep.correlations(made_up)
    assert len(found) == 2 * 2 * len(beta_sweep.PAIRS)
    assert not found.duplicated(["dataset", "family", "x", "y"]).any()
    assert (found["models"] == len(beta_sweep.BETAS)).all()
    of = found.query("dataset == 'celeba' and family == 'tcvae' and x == 'beta'").set_index("y")
    assert of.loc["aaddc_raw", ["rho", "low", "high"]].tolist() == pytest.approx([-1, -1, -1])
    assert of.loc["squared_error", "rho"] == pytest.approx(1)
    assert of.loc["aaddc_aggregate", "low"] < 0 < of.loc["aaddc_aggregate", "high"]
    assert math.isnan(of.loc["active", "rho"])  # it never changed
    part = made_up.query("dataset == 'celeba' and family == 'tcvae'")
    expected = [
        stats.spearmanr(seed["beta"], seed["aaddc_aggregate"]).statistic
        for _, seed in part.groupby("seed")
    ]
    assert of.loc["aaddc_aggregate", "rho"] == pytest.approx(sum(expected) / 3)
