"""Tables: what the rows say is what the attack and the metrics say."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from lrnb import experiments, metrics, robustness
from lrnb.data import load_data
from lrnb.experiments import PROFILES, Recipe, eps_grid, get_model
from lrnb.intervals import over_seeds
from lrnb.robustness import (
    aaddc_table,
    clean_table,
    code_statistics,
    noise_like,
    target_of,
    targeted_attack,
    targeted_table,
    untargeted_attack,
    untargeted_table,
)

TINY = replace(PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=4, eps_count=2, steps=4)
VAE = Recipe(dataset="digits")
SWT = Recipe(dataset="digits", family="dae_swt")


def test_spread_and_active_dimensions_of_known_codes():
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([3.0, 1.0, 0.05, 0.0])
    codes = torch.randn(20_000, 4, generator=generator) * scales + 7
    statistics = code_statistics(codes)
    assert statistics.spread == pytest.approx(math.sqrt((9 + 1 + 0.0025) / 4), rel=0.02)
    assert statistics.active == 2
    assert statistics.deviations.tolist() == pytest.approx(scales.tolist(), rel=0.03, abs=1e-6)


def test_untargeted_table_holds_the_attacks_own_damage():
    table = untargeted_table([VAE, SWT], TINY)
    assert len(table) == 2 * 2 * 2 * 2 * 3  # recipes, scales, ε, kinds, metrics
    hit = untargeted_attack(VAE, TINY)
    rows = table[(table.family == "vae") & (table.scale == "raw") & (table.kind == "attack")]
    for e, eps in enumerate(eps_grid("digits", TINY)):
        at = rows[rows.eps == eps].set_index("metric")
        assert at.loc["mse", "damage"] == pytest.approx(hit.loss[e].mean().item() / 1024, rel=1e-3)
        similarity = metrics.ssim(hit.clean, hit.images[e]).mean().item()
        assert at.loc["ssim", "damage"] == pytest.approx(1 - similarity, abs=1e-4)
        assert at.loc["mse", "radius"] == pytest.approx(eps)


def test_spread_scale_multiplies_the_radius():
    table = untargeted_table([VAE], TINY, scales=["spread"])
    spread = clean_table([VAE], TINY)["spread"].item()
    assert (table["radius"] / table["eps"]).to_numpy() == pytest.approx(spread, rel=1e-5)


def test_attack_does_more_than_noise_at_every_eps():
    table = untargeted_table([VAE, SWT], TINY)
    wide = table[table.metric == "mse"].pivot(
        index=["family", "scale", "eps"], columns="kind", values="damage"
    )
    assert (wide["attack"] > wide["noise"]).all()


def test_noise_has_the_length_of_the_ball():
    for norm in ("l2", "linf"):
        hit = untargeted_attack(VAE, TINY, norm=norm)
        noise = noise_like(hit)
        for e, eps in enumerate(hit.eps):
            lengths = robustness.length(noise[e], norm)
            torch.testing.assert_close(lengths, eps.expand(len(lengths)))


def test_target_is_the_next_sample_of_another_class():
    labels = torch.tensor([3, 3, 1, 3, 3])
    assert target_of(labels).tolist() == [2, 2, 3, 2, 2]
    with pytest.raises(ValueError, match="labels"):
        target_of(torch.ones(3))


def test_targeted_table_approaches_the_target():
    table = targeted_table([VAE], TINY)
    hit, partner = targeted_attack(VAE, TINY)
    mse = table[table.metric == "mse"].sort_values("eps")
    assert mse["distance"].to_numpy() == pytest.approx((-hit.loss.mean(1) / 1024).numpy(), rel=1e-3)
    assert (mse["distance"] < mse["start"]).all()
    assert mse["distance"].is_monotonic_decreasing
    target = robustness.attacked_images("digits", TINY).images[partner]
    assert mse["start"].iloc[0] == pytest.approx(
        metrics.mse(hit.clean, target).mean().item(), rel=1e-4
    )


def test_clean_table_agrees_with_a_direct_computation():
    row = clean_table([VAE], TINY).iloc[0]
    model, images = get_model(VAE, TINY), load_data("digits", "test", 16).images
    error = (model(images) - images).square().sum((1, 2, 3)).mean().item()
    assert row["squared_error"] == pytest.approx(error, rel=1e-4)
    assert row["kl"] > 0 and row["latent"] == 16
    assert math.isnan(clean_table([SWT], TINY).iloc[0]["kl"])


def test_without_lpips_its_rows_are_not_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    table = untargeted_table([VAE], TINY, scales=["raw"])
    assert table[table.metric == "lpips"]["damage"].isna().all()
    assert table[table.metric != "lpips"]["damage"].notna().all()
    assert aaddc_table(table).set_index("metric").loc["lpips", "aaddc"].isna().all()


def test_a_second_call_takes_the_rows_from_the_store(monkeypatch):
    first = untargeted_table([VAE], TINY)
    monkeypatch.setattr(robustness, "attack", None)
    pd.testing.assert_frame_equal(untargeted_table([VAE], TINY), first)


def test_aaddc_of_a_table():
    rows = [
        dict(
            dataset="digits", family="vae", beta=1.0, seed=0, norm="l2", scale="raw", kind="attack",
            metric="ssim", eps=eps, damage=eps / 2,
        )
        for eps in (2.0, 1.0)
    ]  # fmt: skip
    assert aaddc_table(pd.DataFrame(rows))["aaddc"].item() == pytest.approx(0.5)


def test_adversarial_models_that_differ_only_in_eps_are_kept_apart():
    recipes = [
        Recipe(dataset="digits", family="vae_adv", adv_eps=eps, seed=s)
        for eps in (0.1, 0.9)
        for s in (0, 1)
    ]
    table = clean_table(recipes, replace(TINY, epochs=1))
    assert over_seeds(table, "spread")["seeds"].tolist() == [2, 2]
    assert over_seeds(table, "spread")["adv_eps"].tolist() == [0.1, 0.9]


def test_other_eps_are_other_tables(monkeypatch):
    first = untargeted_table([VAE], TINY, scales=["raw"])
    monkeypatch.setitem(experiments.EPS_MAX, "digits", 3.0)
    second = untargeted_table([VAE], TINY, scales=["raw"])
    assert first["eps"].max() == 1 and second["eps"].max() == 3
