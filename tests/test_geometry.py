"""Steepness and density: against closed forms and other libraries, and what the tables say."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lrnb.attacks import largest_singular, singular_values
from lrnb.claims.verdicts import geometry_verdict as verdict
from lrnb.metrics.density import log_density
from lrnb.models import PROFILES, Autoencoder, Recipe
from lrnb.studies import geometry, untargeted
from lrnb.studies import tables as study_tables
from lrnb.studies.geometry import explanations

TINY = replace(PROFILES["smoke"], n_train=128, n_test=16, width=4, n_attack=6, eps_count=2, steps=6)
RECIPES = [Recipe("digits", family) for family in ("vae", "ae")]


def test_the_spectrum_of_a_linear_decoder_is_that_of_its_matrix():
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 4)).Q for n in (12, 4))
    values = torch.tensor([5.0, 2.0, 1.0, 0.1])
    matrix = left @ values.diag() @ right.T
    found = singular_values(lambda z: (z @ matrix.T).reshape(-1, 3, 2, 2), torch.randn(3, 4))
    torch.testing.assert_close(found, values.expand(3, 4), rtol=1e-3, atol=0)


def test_the_spectrum_of_a_network_is_that_of_its_jacobian():
    torch.manual_seed(0)
    decode = Autoencoder(latent=6, width=4).eval().requires_grad_(False).decode
    z = torch.randn(5, 6)
    found = singular_values(decode, z, batch=2)
    for n in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda c: decode(c[None]).flatten(), z[n])
        torch.testing.assert_close(
            found[n], torch.linalg.svdvals(jacobian), rtol=1e-3, atol=1e-3 * float(found[n, 0])
        )
    sigma, _ = largest_singular(decode, z, iterations=100)
    torch.testing.assert_close(found[:, 0], sigma, rtol=1e-3, atol=0)


def test_the_spectrum_differs_from_code_to_code():
    z = torch.tensor([[1.0, 2.0], [0.0, 3.0]])  # the Jacobian of z² is diagonal with entries 2z
    torch.testing.assert_close(
        singular_values(torch.square, z), torch.tensor([[4.0, 2.0], [6.0, 0.0]])
    )


def codes_of(*, sigma, damage, clean, attack, noise, seed=0):
    """A table as of `codes_table`, made by hand."""
    model = dict(
        dataset="digits", family="vae", beta=1.0, latent=2, adv_form="none", adv_eps=0.0,
        adv_weight=0.0, seed=seed,
    )  # fmt: skip
    density = {
        f"{name}_{at}": values
        for name in ("log_density", "kernel")
        for at, values in (("clean", clean), ("attack", attack), ("noise", noise))
    }
    columns = {"sigma": sigma, "damage_small": damage, "damage_large": damage} | density
    columns["linear_large"] = 2 * np.asarray(damage)
    return pd.DataFrame(
        {name: np.asarray(values, float) for name, values in columns.items()}
    ).assign(**model)


def test_explanations_tell_steepness_from_holes():
    rng = np.random.default_rng(0)
    cause, other, more = rng.normal(size=(3, 200))
    zero = np.zeros(200)
    steep = codes_of(sigma=cause, damage=np.exp(cause), clean=more, attack=other, noise=zero)
    holes = codes_of(
        sigma=other, damage=np.exp(cause), clean=zero, attack=-cause - 5, noise=zero - 1, seed=1
    )
    by_steepness, by_holes = explanations(pd.concat([steep, holes])).to_dict("records")
    for name in ("steepness_small", "steepness_large"):
        assert by_steepness[name] == pytest.approx(1) and abs(by_holes[name]) < 0.2
    assert by_steepness["over_linear"] == pytest.approx(0.5)
    assert abs(by_steepness["density_large"]) < 0.2
    assert by_holes["density_large"] == pytest.approx(1)
    assert by_holes["fall_attack"] == pytest.approx(5, abs=0.3)
    assert by_holes["fall_noise"] == pytest.approx(1)
    assert by_holes["extra_fall"] == pytest.approx(by_holes["fall_attack"] - 1)
    # where attacked codes are as probable as clean ones half lie below; in holes none do
    assert by_steepness["percentile"] == pytest.approx(0.5, abs=0.1)
    assert by_holes["percentile"] == by_holes["kernel_percentile"] == 0


def test_a_correlation_by_way_of_steepness_alone_vanishes_when_that_is_held_fixed():
    rng = np.random.default_rng(0)
    sigma = rng.normal(size=4000)
    damage, fall = (sigma + rng.normal(size=4000) for _ in range(2))
    (found,) = explanations(
        codes_of(sigma=sigma, damage=damage, clean=fall, attack=0 * fall, noise=fall)
    ).to_dict("records")
    assert found["density_large"] > 0.4 and abs(found["density_alone"]) < 0.06
    # ranks of a Gaussian pair with correlation r correlate by 6/π · asin(r/2)
    r_damage, r_fall = (6 / math.pi * math.asin(r / 2) for r in (math.sqrt(0.5), 0.5))
    expected = (r_damage - r_damage * r_fall) / math.sqrt((1 - r_damage**2) * (1 - r_fall**2))
    assert found["steepness_alone"] == pytest.approx(expected, abs=0.03)


def test_the_verdict_needs_every_sign_of_a_hole_and_an_interval_clear_of_0():
    clear, open_, below = [0.5, 0.6, 0.55], [-0.5, 0.6, 0.1], [-0.5, -0.6, -0.55]
    holes = ["extra_fall", "kernel_extra_fall", "density_alone", "kernel_alone"]
    both = pd.DataFrame({name: clear for name in ["steepness_alone", *holes]})
    assert verdict(both, decides=True) == "Damage follows steepness, and also holes."
    for name in holes:
        for values in (open_, below):
            assert "no clear sign" in verdict(both.assign(**{name: values}), decides=True), name
    flat = both.assign(steepness_alone=open_)
    assert verdict(flat, decides=True).startswith("Damage follows holes")
    assert verdict(flat.assign(extra_fall=open_), decides=True).startswith(
        "These intervals support neither"
    )
    small = "Too small a run to say."
    assert verdict(both, decides=False) == verdict(both[:2], decides=True) == small


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tables(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNB_HOME", home)
        makers = (geometry.codes_table, geometry.path_table, geometry.spectrum_table)
        return tuple(make(RECIPES, TINY) for make in makers)


@pytest.fixture
def same_store(home, monkeypatch):
    monkeypatch.setenv("LRNB_HOME", home)


def test_rows_hold_the_attacks_own_damage_and_the_models_own_density(tables, same_store):
    codes_table, _, _ = tables
    assert len(codes_table) == 2 * TINY.n_attack
    assert codes_table["participation"].between(1, 16).all()
    share, participation = codes_table["share"], codes_table["participation"]
    assert (share * participation > 0.9999).all() and (share**2 * participation < 1.0001).all()
    assert (codes_table["damage_large"] > codes_table["damage_small"]).all()
    # at a small ε a decoder is nearly linear
    near = codes_table["damage_small"] / codes_table["linear_small"]
    assert near.between(0.3, 3).all()
    for recipe in RECIPES:
        rows = codes_table[codes_table["family"] == recipe.family]
        found = untargeted.samples(recipe, TINY)
        assert rows["damage_large"].to_numpy() == pytest.approx(found["attack mse"][-1].numpy())
        _, z = study_tables.attacked_codes(recipe, TINY)
        train = study_tables.training_posterior(recipe, TINY)
        for column, at in (("clean", z), ("attack", z + found["delta"][-1])):
            expected = log_density(at, train.mean, logvar=train.logvar)
            assert rows[f"log_density_{column}"].to_numpy() == pytest.approx(
                expected.numpy(), rel=1e-5
            )


def test_the_path_begins_at_the_code_and_passes_through_the_attack(tables):
    codes_table, path, _ = tables
    start = path[path["t"] == 0]
    assert (start[["change", "log_density", "kernel"]] == 0).all(axis=None)
    for family, rows in codes_table.groupby("family"):
        at_delta = path[(path["family"] == family) & (path["t"] == 1)].set_index("direction")
        assert at_delta.loc["attack", "change"] == pytest.approx(
            rows["damage_large"].mean(), rel=1e-4
        )
        assert at_delta.loc["attack", "change"] > at_delta.loc["noise", "change"]
        for name in ("log_density", "kernel"):
            for kind in ("attack", "noise"):
                fall = (rows[f"{name}_{kind}"] - rows[f"{name}_clean"]).mean()
                assert at_delta.loc[kind, name] == pytest.approx(fall, rel=1e-6)


def test_the_spectrum_table_is_the_mean_over_codes(tables):
    codes_table, _, ranks = tables
    top = ranks[ranks["rank"] == 1].set_index("family")["sigma"]
    for family, rows in codes_table.groupby("family"):
        assert top[family] == pytest.approx(rows["sigma"].mean(), rel=1e-5)
    assert ranks.groupby("family")["rank"].max().eq(16).all()


def test_a_second_call_computes_nothing(tables, same_store, monkeypatch):
    monkeypatch.setattr(geometry, "singular_values", None)
    pd.testing.assert_frame_equal(geometry.codes_table(RECIPES, TINY), tables[0])
