"""What each model is like without an attack: reconstruction error, spread, active dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
import torch

from lrnb import metrics
from lrnb.models import Profile, Recipe, get_model, load_images, losses
from lrnb.studies.tables import Rows, identity, stored_table, training_statistics


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """One row a recipe.

    Columns: those of the model; spread, active (`lrnb.metrics.density.code_statistics` of training
    codes); squared_error (per test image, summed over pixels), ssim (of reconstruction and image),
    kl (per image, NaN for a deterministic encoder).
    """
    return stored_table("clean", recipes, profile, _rows)


def _rows(recipe: Recipe, profile: Profile) -> Rows:
    model = get_model(recipe, profile)
    codes = training_statistics(recipe, profile)
    error, similarity, divergence = [], [], []
    with torch.no_grad():
        for chunk in load_images(recipe.dataset, "test", profile.n_test).images.split(500):
            chunk = chunk.to(model.device)
            posterior = model.encode(chunk)
            outputs = model.decode(posterior.mean)
            error.append(losses.reconstruction(chunk, outputs))
            similarity.append(metrics.ssim(chunk, outputs))
            if posterior.logvar is not None:
                divergence.append(losses.kl(posterior))
    row = identity(recipe) | {"spread": codes.spread, "active": codes.active}
    row |= {
        "squared_error": float(torch.cat(error).mean()),
        "ssim": float(torch.cat(similarity).mean()),
        "kl": float(torch.cat(divergence).mean()) if divergence else math.nan,
    }
    return [row]
