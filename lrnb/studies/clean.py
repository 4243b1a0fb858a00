"""What each model is like without an attack: reconstruction error, spread, active dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd
import torch

from lrnb import metrics
from lrnb._work import Work
from lrnb.models import Profile, Recipe, encode, get_model, load_images, losses
from lrnb.models import recipes as recipes_of
from lrnb.studies.tables import Rows, Table, identity, training_statistics

CHAPTER = "01_training"
SHOWN = ("ae", "vae", "tcvae", "dae_kl", "dae_mmd", "dae_swt")


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    return list(CLEAN.works(recipes_of(datasets, SHOWN, seeds), profile))


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """One row a recipe.

    Columns: those of the model; spread, aggregate, active (`lrnb.metrics.density.code_statistics` of training
    codes); squared_error (per test image, summed over pixels), ssim (of reconstruction and image),
    kl (per image, NaN for a deterministic encoder).
    """
    return CLEAN.rows(recipes, profile)


@torch.no_grad()
def _rows(recipe: Recipe, profile: Profile) -> Rows:
    model, codes = get_model(recipe, profile), training_statistics(recipe, profile)
    images = load_images(recipe.dataset, "test", profile.n_test).images
    posterior = encode(model, images)
    chunks = images.to(model.device).split(500), posterior.mean.split(500)
    outputs = [(x, model.decode(z)) for x, z in zip(*chunks, strict=True)]
    error = torch.cat([losses.reconstruction(*pair) for pair in outputs]).mean()
    ssim = torch.cat([metrics.ssim(*pair) for pair in outputs]).mean()
    kl = math.nan if posterior.logvar is None else float(losses.kl(posterior).mean())
    row = identity(recipe) | {"spread": codes.spread, "aggregate": codes.aggregate}
    row["active"] = codes.active
    return [row | {"squared_error": float(error), "ssim": float(ssim), "kl": kl}]


CLEAN = Table("clean", _rows, packages=["torchmetrics"])
