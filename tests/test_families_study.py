"""Families side by side: areas are AADDC, differences are paired, intervals are what they say."""

from dataclasses import replace

import pytest

from lrnb.metrics.statistics import over_seeds, paired
from lrnb.models import PROFILES, Recipe
from lrnb.studies.families import comparison_table
from lrnb.studies.untargeted import aaddc_table
from lrnb.studies.untargeted import table as untargeted_table

TINY = replace(
    PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=6, eps_count=2, steps=4, epochs=1
)
RECIPES = [Recipe("digits", f, seed=s) for f in ("vae", "ae", "dae_swt") for s in (0, 1)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    yield untargeted_table(RECIPES, TINY), comparison_table(RECIPES, TINY, norms=["l2"])
    patch.undo()


def test_differences_are_those_of_the_curves_paired_by_seed(tables):
    damages, compared = tables
    scores = aaddc_table(damages[(damages.kind == "attack") & (damages.metric == "ssim")])
    expected = over_seeds(paired(scores, "aaddc", baseline="vae"), "difference")
    expected = expected.set_index(["family", "scale"])
    found = compared[compared.metric == "ssim"].set_index(["family", "scale"])
    assert len(found) == 4 and "vae" not in found.index
    for at, row in found.iterrows():
        # (with damages below 1 the mean of areas is the area of the mean)
        assert row["difference"] == pytest.approx(expected.loc[at, "mean"], abs=1e-5)
        assert row["low"] == pytest.approx(expected.loc[at, "low"], abs=1e-4)
        assert row["boot_low"] <= row["difference"] <= row["boot_high"]
        assert (row["seeds"], row["samples"]) == (2, 6)


def test_families_without_the_same_seeds_are_refused():
    with pytest.raises(ValueError, match="recipes must have the seeds"):
        comparison_table(RECIPES[:-1], TINY)
