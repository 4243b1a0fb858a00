"""Tables: what the rows say is what the attack and the metrics say."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from lrnb import metrics
from lrnb.attacks import BALLS, attack
from lrnb.data import load_data
from lrnb.metrics.density import whitening
from lrnb.metrics.statistics import curve_summary, over_seeds
from lrnb.models import PROFILES, Recipe, eps_grid, get_model
from lrnb.models.classifier import get_classifier, named
from lrnb.studies import clean, tables, targeted, untargeted
from lrnb.studies.untargeted import noise_like

TINY = replace(PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=4, eps_count=2, steps=4)
VAE = Recipe(dataset="digits")
SWT = Recipe(dataset="digits", family="dae_swt")


def test_untargeted_table_holds_the_attacks_own_damage():
    table = untargeted.table([VAE, SWT], TINY)
    assert len(table) == 2 * 4 * 2 * 2 * 4  # recipes, scales, ε, kinds, metrics
    hit = untargeted.attack_model(VAE, TINY)
    rows = table[(table.family == "vae") & (table.scale == "raw") & (table.kind == "attack")]
    for e, eps in enumerate(eps_grid("digits", TINY)):
        at = rows[rows.eps == eps].set_index("metric")
        assert at.loc["mse", "damage"] == pytest.approx(hit.loss[e].mean().item() / 1024, rel=1e-3)
        similarity = metrics.ssim(hit.clean, hit.images[e]).mean().item()
        assert at.loc["ssim", "damage"] == pytest.approx(1 - similarity, abs=1e-4)
        assert at.loc["mse", "radius"] == pytest.approx(eps)


def test_spread_scale_multiplies_the_radius():
    table = untargeted.table([VAE], TINY).query("scale == 'spread'")
    spread = clean.table([VAE], TINY)["spread"].item()
    assert (table["radius"] / table["eps"]).to_numpy() == pytest.approx(spread, rel=1e-5)


def test_between_radii_the_damage_is_what_an_attack_there_finds():
    found = untargeted.samples(VAE, PROFILES["smoke"], scale="aggregate")
    model, codes = tables.attacked_codes(VAE, PROFILES["smoke"])
    own = attack(model.decode, codes, eps=found["radius"], steps=20, restarts=8)
    for e, images in enumerate(own.images):
        direct = (1 - metrics.ssim(own.clean, images)).mean()
        assert found["attack ssim"][e].mean() == pytest.approx(direct.item(), abs=0.02)


def test_whitened_perturbations_have_the_length_epsilon_in_whitened_coordinates():
    found = untargeted.samples(VAE, TINY, scale="whitened")
    posterior = tables.training_posterior(VAE, TINY)
    _, root = whitening(posterior.mean, posterior.logvar)
    covariance = posterior.mean.double().T.cov(correction=0)
    covariance += posterior.logvar.double().exp().mean(0).diag()
    torch.testing.assert_close(root @ root.T, covariance.float(), atol=1e-4, rtol=1e-3)
    u = found["delta"] @ torch.linalg.pinv(root).T
    for lengths, eps in zip(u.norm(dim=2), eps_grid("digits", TINY), strict=True):
        assert (lengths <= eps * (1 + 1e-3)).all() and lengths.max() > 0.9 * eps


def test_whitened_damage_does_not_depend_on_the_parametrization_of_the_code():
    posterior = tables.training_posterior(VAE, TINY)
    mix = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    means, turned = posterior.mean, posterior.mean @ mix.T
    root, other = whitening(means)[1], whitening(turned)[1]
    direction = torch.randn(root.shape[1], generator=torch.Generator().manual_seed(1))
    # the ball {A·u} of one parametrization is that of the other, mapped
    inside = torch.linalg.pinv(other) @ (mix @ (root @ direction))
    assert inside.norm() == pytest.approx(direction.norm().item(), rel=0.05)


def test_each_seed_attacks_images_of_its_own():
    first, second = (tables.attacked_images("digits", TINY, seed).images for seed in (0, 1))
    test = load_data("digits", "test", 8).images
    assert torch.equal(torch.cat([first, second]), test)
    far = tables.attacked_images("digits", TINY, 10_000).images  # (begins again at the first)
    assert far.shape == first.shape


def test_flips_are_told_by_a_classifier_of_real_images():
    classifier, accuracy = get_classifier("digits", TINY)
    test = load_data("digits", "test", 200)
    share = (named(classifier, test.images) == test.labels).float().mean()
    assert 0.3 < accuracy <= 1 and share > 0.3  # (64 images and 128 steps)
    hit = untargeted.attack_model(VAE, TINY)
    flips = named(classifier, hit.clean) != named(classifier, hit.images[-1])
    found = untargeted.samples(VAE, TINY)["attack flips"][-1]
    assert found.tolist() == flips.float().tolist()


def test_attack_does_more_than_noise_at_every_eps():
    table = untargeted.table([VAE, SWT], TINY)
    # (where codes hardly spread, an interpolated damage is that of rounding)
    wide = table[(table.metric == "mse") & table.scale.isin(["raw", "whitened"])].pivot(
        index=["family", "scale", "eps"], columns="kind", values="damage"
    )
    assert (wide["attack"] > wide["noise"]).all()


def test_noise_has_the_length_of_the_ball():
    for norm in ("l2", "linf"):
        hit = untargeted.attack_model(VAE, TINY, norm=norm)
        noise = noise_like(hit)
        for e, eps in enumerate(hit.eps):
            lengths = BALLS[norm].length(noise[e])
            torch.testing.assert_close(lengths, eps.expand(len(lengths)))


def test_target_is_the_next_sample_of_another_class():
    labels = torch.tensor([3, 3, 1, 3, 3])
    assert targeted.target_of(labels).tolist() == [2, 2, 3, 2, 2]
    with pytest.raises(ValueError, match="labels"):
        targeted.target_of(torch.ones(3))


def test_targeted_table_approaches_the_target():
    table = targeted.table([VAE], TINY)
    hit, partner = targeted.attack_model(VAE, TINY)
    mse = table[table.metric == "mse"].sort_values("eps")
    assert mse["distance"].to_numpy() == pytest.approx((-hit.loss.mean(1) / 1024).numpy(), rel=1e-3)
    assert (mse["distance"] < mse["start"]).all()
    assert mse["distance"].is_monotonic_decreasing
    target = tables.attacked_images("digits", TINY).images[partner]
    assert mse["start"].iloc[0] == pytest.approx(
        metrics.mse(hit.clean, target).mean().item(), rel=1e-4
    )


def test_clean_table_agrees_with_a_direct_computation():
    row = clean.table([VAE], TINY).iloc[0]
    model, images = get_model(VAE, TINY), load_data("digits", "test", 16).images
    error = (model(images) - images).square().sum((1, 2, 3)).mean().item()
    assert row["squared_error"] == pytest.approx(error, rel=1e-4)
    assert row["kl"] > 0 and row["latent"] == 16
    assert math.isnan(clean.table([SWT], TINY).iloc[0]["kl"])


def test_without_lpips_its_rows_are_not_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    table = untargeted.table([VAE], TINY).query("scale == 'raw'")
    assert table[table.metric == "lpips"]["damage"].isna().all()
    assert table[table.metric != "lpips"]["damage"].notna().all()
    assert curve_summary(table).set_index("metric").loc["lpips", "aaddc"].isna().all()


def test_a_second_call_takes_the_rows_from_the_store(monkeypatch):
    first = untargeted.table([VAE], TINY)
    monkeypatch.setattr(untargeted, "find", None)
    pd.testing.assert_frame_equal(untargeted.table([VAE], TINY), first)


def test_aaddc_of_a_table():
    rows = [
        dict(
            dataset="digits", family="vae", beta=1.0, seed=0, norm="l2", scale="raw", kind="attack",
            metric="ssim", eps=eps, damage=eps / 2,
        )
        for eps in (2.0, 1.0)
    ]  # fmt: skip
    assert curve_summary(pd.DataFrame(rows))["aaddc"].item() == pytest.approx(0.5)


def test_a_damage_curve_is_read_at_its_mean_half_and_end():
    about = dict(dataset="digits", family="vae", seed=0, kind="attack", metric="ssim", samples=4)
    curve = pd.DataFrame([about | {"eps": eps, "damage": 0.4 * eps} for eps in (0.5, 1.0)])
    # the trapezoid from 0 over ε = 0.5 and 1 of a line that ends at 0.4
    found = curve_summary(curve)[["mean", "half", "end"]].iloc[0].to_dict()
    assert found == pytest.approx({"mean": 0.2, "half": 0.2, "end": 0.4})


def test_adversarial_models_that_differ_only_in_eps_are_kept_apart():
    recipes = [
        Recipe(dataset="digits", family="vae_adv", adv_eps=eps, seed=s)
        for eps in (0.1, 0.9)
        for s in (0, 1)
    ]
    table = clean.table(recipes, replace(TINY, epochs=1))
    assert over_seeds(table, "spread")["seeds"].tolist() == [2, 2]
    assert over_seeds(table, "spread")["adv_eps"].tolist() == [0.1, 0.9]
