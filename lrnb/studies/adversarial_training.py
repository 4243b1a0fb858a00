"""Latent adversarial training: the robustness it gains, the quality and diversity it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import pandas as pd
import torch

from lrnb._work import Work, compute
from lrnb.data import DATASETS
from lrnb.metrics.images import diversity, vendi
from lrnb.metrics.statistics import MODEL
from lrnb.models import Profile, Recipe, get_model, get_profile, latent_size, load_images
from lrnb.models import recipes as recipes_of
from lrnb.models.training import ADVERSARIAL_FORMS
from lrnb.studies import clean, untargeted
from lrnb.studies.families import COMPARED, frontier_table
from lrnb.studies.tables import Rows, Table, identity, training_posterior

CHAPTER = "06_adversarial_training"
# radii of the attack in training, as shares of the largest ε of the test (each costs as much as a
# sweep of β)
TRAINING_EPS = (0.5,)
_SAMPLES, _COUNTED = 24, 64  # for distances of pairs, of which there are many; for the Vendi score


def recipes(datasets: Sequence[str], seeds: Sequence[int]) -> list[Recipe]:
    """The adversarially trained VAEs: both forms at each training ε.

    >>> len(recipes(["mnist"], [0, 1]))
    4
    """
    return [
        Recipe(d, "vae_adv", seed=s, adv_form=form, adv_eps=share * DATASETS[d].eps_max)
        for d, form, share, s in product(datasets, ADVERSARIAL_FORMS, TRAINING_EPS, seeds)
    ]


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    chosen = [*recipes_of(datasets, COMPARED, seeds), *recipes(datasets, seeds)]
    return _works(chosen, profile)


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Robustness, clean quality and diversity of each model, one row a recipe.

    Columns: those of `lrnb.studies.clean.table`; aaddc_… (`lrnb.studies.untargeted.areas` in L2) and
    aaddc_linf_… (in L∞); diversity_prior_lpips, diversity_prior_mse, diversity_prior_vendi
    (`lrnb.metrics.images.diversity` of decodings of N(0, I), and `lrnb.metrics.images.vendi` with the
    mean squared distance of test images as its scale), diversity_fitted_… (of decodings of the
    Gaussian with the mean and covariance of the model's own training codes).
    """
    recipes, model = list(recipes), [*MODEL, "seed"]
    compute(_works(recipes, get_profile(profile)), label="adversarial training")
    samples = DIVERSITY.rows(recipes, profile)
    found = frontier_table(recipes, profile).merge(samples, on=model)
    areas = untargeted.areas(recipes, profile, norm="linf")
    areas.columns = areas.columns.str.replace("aaddc_", "aaddc_linf_")
    return found.merge(areas, on=model)


def _works(recipes: Sequence[Recipe], profile: Profile) -> list[Work]:
    found = [*clean.CLEAN.works(recipes, profile), *untargeted.works(recipes, profile)]
    found += untargeted.works(recipes, profile, norm="linf")
    return [*found, *DIVERSITY.works(recipes, profile)]


def _diversity_rows(recipe: Recipe, profile: Profile) -> Rows:
    model = get_model(recipe, profile)
    generator = torch.Generator().manual_seed(0)  # the same noise for every model
    noise = torch.randn(_COUNTED, latent_size(recipe), generator=generator).double()
    codes = training_posterior(recipe, profile).mean.double().cpu()
    # eigenvectors rather than Cholesky: an inactive dimension makes the covariance singular
    values, vectors = torch.linalg.eigh(codes.T.cov())
    fitted = codes.mean(0) + noise * values.clamp_min(0).sqrt() @ vectors.T
    seen = load_images(recipe.dataset, "test", profile.n_test).images[:500]
    apart = float(torch.pdist(seen.flatten(1)).square().mean()) / seen[0].numel()
    row = identity(recipe)
    for source, z in (("prior", noise), ("fitted", fitted)):
        with torch.no_grad():
            images = model.decode(z.float())
            found = diversity(images[:_SAMPLES]) | {"vendi": vendi(images, scale=apart)}
        row |= {f"diversity_{source}_{metric}": value for metric, value in found.items()}
    return [row]


DIVERSITY = Table("diversity", _diversity_rows, packages=["lpips"])
