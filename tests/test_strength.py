"""Proof of strength: each check says what it should of a real attack, and fails a crippled one."""

import math
from dataclasses import replace

import pytest
import torch

from lrnb.attacks import STEP_RULES
from lrnb.models import PROFILES, Recipe
from lrnb.studies import strength

TINY = replace(PROFILES["smoke"], name="tiny", epochs=1, n_attack=6, steps=10, restarts=4)
VAE = Recipe("digits", "vae")


def test_exhaustive_search_on_decoders_whose_worst_point_is_known():
    z = torch.randn(3, 2)
    assert strength.exhaustive(lambda c: 3 * c, z, eps=[0.5]).flatten().tolist() == pytest.approx(
        [2.25] * 3, rel=1e-4
    )

    def bump(c):  # the largest change lies inside the disc, at distance 1 along the first axis
        return torch.exp(-8 * ((c[:, :1] - 1).square() + c[:, 1:].square()))

    found = strength.exhaustive(bump, torch.zeros(1, 2), eps=[0.5, 2.0])
    assert found[1].item() == pytest.approx((1 - math.exp(-8)) ** 2, rel=1e-3)
    assert found[0] < found[1]
    with pytest.raises(ValueError, match="codes must have shape"):
        strength.exhaustive(bump, torch.zeros(1, 3), eps=[1.0])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LRNB_HOME", str(tmp_path_factory.mktemp("home")))
    yield strength.table([VAE], TINY)
    patch.undo()


def rows(table, check):
    found = table[table["check"] == check]
    assert len(found), check
    return found


def test_a_real_attack_passes(table):
    first = rows(table, "first order").sort_values("eps")
    assert first["ratio"].iloc[0] == pytest.approx(1, abs=0.01)
    assert (rows(table, "noise")["worst"] > 1).all()
    assert (rows(table, "exhaustive")["worst"] > 0.99).all()
    assert (rows(table, "ssim")["ratio"] > 0.95).all()
    for check in ("steps", "restarts"):
        effort = rows(table, check).astype({"setting": int}).sort_values("setting")
        assert effort["decodes"].is_monotonic_increasing
        assert effort["ratio"].iloc[-1] == 1 and effort["ratio"].iloc[0] <= 1 + 1e-6
        assert {TINY.steps, TINY.restarts} & set(effort["setting"])
    rules = rows(table, "rule").set_index("setting")["ratio"]
    assert set(rules.index) == set(STEP_RULES) and rules.max() == 1
    assert table["samples"].eq(6).all()


def test_a_crippled_attack_is_found_out(table, monkeypatch):
    # an attack whose steps do not follow the gradient
    for rule in STEP_RULES.values():
        monkeypatch.setattr(rule, "propose", lambda self, point: point.delta)
    lame = strength.table([VAE], replace(TINY, restarts=1))
    assert rows(lame, "first order")["ratio"].min() < 0.97
    assert rows(lame, "exhaustive")["ratio"].min() < 0.97


def test_minimal_norms_agree_with_the_attack(table):
    found = strength.minimum_norm_table([VAE, replace(VAE, family="ae")], TINY)
    assert set(found["family"]) == {"vae", "ae"} and (found["length"] > 0).all()
    assert (found["spread"] > 0).all() and found["first_order"].notna().all()
