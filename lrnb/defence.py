"""Latent adversarial training: the robustness it gains, the quality and diversity it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics
from lrnb.experiments import EPS_MAX, Profile, Recipe, get_model, get_profile, latent_of
from lrnb.robustness import (
    Rows,
    aaddc_table,
    clean_table,
    identity_of,
    stored_table,
    training_codes,
    untargeted_table,
)
from lrnb.training import ADVERSARIAL_FORMS

# radii of the attack in training, as shares of the largest ε of the test
TRAINING_EPS = (0.25, 0.5, 1.0)
_SAMPLES = 24


def defended_recipes(datasets: Sequence[str], seeds: Sequence[int]) -> list[Recipe]:
    """The adversarially trained VAEs: both forms at each training ε.

    >>> len(defended_recipes(["mnist"], [0, 1]))
    12
    """
    return [
        Recipe(d, "vae_adv", seed=s, adv_form=form, adv_eps=share * EPS_MAX[d])
        for d in datasets
        for form in ADVERSARIAL_FORMS
        for share in TRAINING_EPS
        for s in seeds
    ]


def diversity(images: Tensor) -> dict[str, float]:
    """Mean distance over all pairs of images [N, C, H, W]: LPIPS and squared error per pixel.

    LPIPS is NaN where its weights are not on the machine.

    >>> diversity(torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]))["mse"]
    1.0
    """
    if len(images) < 2:
        raise ValueError(f"images has {len(images)} images; at least 2 are accepted")
    first, second = torch.triu_indices(len(images), len(images), 1, device=images.device)
    perceptual = float("nan")
    if metrics.lpips_is_present():
        pairs = zip(first.split(64), second.split(64), strict=True)
        distances = [metrics.lpips(images[a], images[b]) for a, b in pairs]
        perceptual = float(torch.cat(distances).mean())
    return {
        "lpips": perceptual,
        "mse": float(metrics.mse(images[first], images[second]).mean()),
    }


def defence_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Robustness, clean quality and diversity of each model, one row a recipe.

    Columns: those of `lrnb.robustness.clean_table`; aaddc_raw and aaddc_spread (of 1 − SSIM under
    the untargeted L2 attack); diversity_prior_lpips, diversity_prior_mse (`diversity` of decodings
    of N(0, I)), diversity_fitted_lpips, diversity_fitted_mse (of decodings of the Gaussian with the
    mean and covariance of the model's own training codes).
    """
    profile, recipes = get_profile(profile), list(recipes)
    damages = untargeted_table(recipes, profile)
    attacked = damages[(damages["kind"] == "attack") & (damages["metric"] == "ssim")]
    model = list(identity_of(recipes[0]))
    wide = aaddc_table(attacked).pivot(index=model, columns="scale", values="aaddc")
    wide = wide.add_prefix("aaddc_").reset_index()
    samples = stored_table(
        "diversity", recipes, profile, _diversity_rows, label="sample diversity", rooms=["defence"]
    )
    return clean_table(recipes, profile).merge(wide, on=model).merge(samples, on=model)


def _diversity_rows(recipe: Recipe, profile: Profile) -> Rows:
    model = get_model(recipe, profile)
    generator = torch.Generator().manual_seed(0)  # the same noise for every model
    noise = torch.randn(_SAMPLES, latent_of(recipe), generator=generator).double()
    codes = training_codes(recipe, profile).double().cpu()
    # eigenvectors rather than Cholesky: a dead dimension makes the covariance singular
    values, vectors = torch.linalg.eigh(codes.T.cov())
    fitted = codes.mean(0) + noise * values.clamp_min(0).sqrt() @ vectors.T
    row = identity_of(recipe)
    for source, z in (("prior", noise), ("fitted", fitted)):
        with torch.no_grad():
            found = diversity(model.decode(z.float()))
        row |= {f"diversity_{source}_{metric}": value for metric, value in found.items()}
    return [row]
