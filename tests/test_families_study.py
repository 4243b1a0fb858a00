"""Families side by side: every way of attacking them, and clean error beside robustness."""

from dataclasses import replace

import pytest

from lrnb.metrics.statistics import curve_summary
from lrnb.models import PROFILES, Recipe
from lrnb.studies import clean, families, untargeted

TINY = replace(
    PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=6, eps_count=2, steps=4, epochs=1
)
RECIPES = [Recipe("digits", family, seed=s) for family in ("vae", "ae") for s in (0, 1)]


@pytest.fixture(scope="module")
def damages(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(tmp_path_factory.mktemp("home")))
    patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    yield untargeted.damage_table(RECIPES, TINY)
    patch.undo()


def test_every_way_is_there_and_only_ours_in_l2_is_whitened(damages):
    ways = damages[["norm", "attack"]].drop_duplicates()
    assert set(ways.itertuples(index=False, name=None)) == set(untargeted.WAYS)
    whitened = damages[damages["scale"] == "whitened"]
    assert set(whitened["norm"]) == {"l2"} and set(whitened["attack"]) == {"ours"}


def test_what_is_attacked_itself_is_damaged_no_less(damages):
    summary = curve_summary(damages).query("kind == 'attack' and norm == 'l2'")
    at = summary.set_index(["family", "seed", "scale", "metric", "attack"])["end"]
    for metric, stronger, weaker in (("ssim", "ssim", "ours"), ("mse", "ours", "pgd")):
        high, low = (
            at.xs(metric, level="metric").xs(w, level="attack") for w in (stronger, weaker)
        )
        both = high.index.intersection(low.index)
        assert high[both].mean() >= 0.98 * low[both].mean()


def test_the_frontier_holds_every_family_and_the_vae_along_beta():
    models = families.frontier(["digits"], [0])
    assert len(models) == len(set(models)) == len(families.COMPARED) + 4
    table = families.frontier_table(RECIPES[:1], TINY)
    assert table["squared_error"].item() == clean.table(RECIPES[:1], TINY)["squared_error"].item()
    assert 0 <= table["aaddc_whitened"].item() <= 1
