"""Disentanglement against robustness: β varied, every score of each model, rank correlations.

A β-VAE weights the whole KL by β (Higgins et al. 2017), a β-TCVAE the total correlation alone (Chen
et al. 2018). Both are swept over the same β, so that what disentangling does can be separated from
what a heavier regularizer does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import pandas as pd
import torch

from lrnb._work import Work
from lrnb.data import DATASETS
from lrnb.metrics.density import code_statistics, gaussian_total_correlation, total_correlation
from lrnb.metrics.disentanglement import scores
from lrnb.metrics.statistics import correlation_over_seeds
from lrnb.models import Posterior, Profile, Recipe, encode, get_model, load_images
from lrnb.studies import clean, untargeted
from lrnb.studies.tables import Rows, Table, identity, training_posterior

CHAPTER = "05_beta_tradeoff"
BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
SWEPT = ("tcvae", "vae")
# what is correlated with what
PAIRS = (
    *(("beta", y) for y in ("aaddc_raw", "aaddc_aggregate", "squared_error", "active", "mig")),
    *(("mig", y) for y in ("aaddc_raw", "aaddc_aggregate")),
)
_SAMPLES = 500


def recipes(datasets: Iterable[str], seeds: Iterable[int]) -> list[Recipe]:
    """β-TCVAE and β-VAE over `BETAS`, for each data set and seed.

    >>> len(recipes(["shapes"], [0, 1]))
    20
    """
    models = product(datasets, SWEPT, BETAS, seeds)
    return [Recipe(d, family, beta=beta, seed=seed) for d, family, beta, seed in models]


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    return list(DISENTANGLEMENT.works(recipes(datasets, seeds), profile))


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Disentanglement, reconstruction and robustness of each model, one row a recipe.

    Columns: those of the model; the scores of `lrnb.metrics.disentanglement.SCORES`, of mean codes
    of (at most 2000) test images against the data set's factors, inactive dimensions held constant;
    total_correlation and gaussian_correlation (of at most 10,000 training images, nats); under the
    untargeted L2 attack and in each unit of ε (`lrnb.metrics.density.UNITS`) aaddc_… and damage_… (AADDC
    of 1 − SSIM; squared error per pixel at the largest ε); spread, active, squared_error
    (`lrnb.studies.clean`).
    """
    return DISENTANGLEMENT.rows(recipes, profile)


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of `PAIRS` over the β of each data set and family.

    Columns: dataset, family, x, y, and those of `lrnb.metrics.statistics.correlation_over_seeds`.
    """
    by = ["dataset", "family"]
    parts = [correlation_over_seeds(table, x, y, by=by).assign(x=x, y=y) for x, y in PAIRS]
    found = pd.concat(parts, ignore_index=True)
    about = [*by, "x", "y"]
    return found[[*about, *found.columns.difference(about, sort=False)]]


def _rows(recipe: Recipe, profile: Profile) -> Rows:
    model, aggregate = get_model(recipe, profile), training_posterior(recipe, profile)
    assert aggregate.logvar is not None
    # (drawn on the CPU: the same on any device)
    on_cpu = Posterior(aggregate.mean.cpu(), aggregate.logvar.cpu())
    drawn = on_cpu.sample(torch.Generator().manual_seed(0))[:_SAMPLES].to(model.device)
    seen = load_images(recipe.dataset, "test", min(4 * profile.n_test, 2000))
    # what an inactive dimension still moves is smaller than the noise of the posterior
    codes = encode(model, seen.images).mean * code_statistics(aggregate.mean).is_active
    row = identity(recipe) | scores(DATASETS[recipe.dataset].factors(seen), codes)
    row["total_correlation"] = total_correlation(drawn, aggregate.mean, aggregate.logvar)
    row["gaussian_correlation"] = gaussian_total_correlation(aggregate.mean, aggregate.logvar)
    (areas,) = untargeted.areas([recipe], profile).to_dict("records")
    for scale in untargeted.SCALES:
        row[f"aaddc_{scale}"] = areas[f"aaddc_{scale}"]
        found = untargeted.samples(recipe, profile, scale=scale)
        row[f"damage_{scale}"] = float(found["attack mse"][-1].mean())
    (about,) = clean.table([recipe], profile).to_dict("records")
    return [row | {name: about[name] for name in ("spread", "active", "squared_error")}]


def _needs(recipe: Recipe, profile: Profile) -> Iterable[Work]:
    return [*untargeted.works([recipe], profile), *clean.CLEAN.works([recipe], profile)]


_PACKAGES = ("scikit-learn", "torchmetrics")
DISENTANGLEMENT = Table("disentanglement", _rows, needs=_needs, packages=_PACKAGES)
