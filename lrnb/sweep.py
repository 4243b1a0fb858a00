"""Disentanglement against robustness: β swept, every score of each model, rank correlations.

A β-VAE weighs the whole KL by β (Higgins et al. 2017), a β-TCVAE the total correlation alone (Chen
et al. 2018). Both are swept over the same β, so that what disentangling does can be told from what
a heavier regulariser does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Normal

from lrnb import metrics
from lrnb.data import ImageSet
from lrnb.disentanglement import dci, factor_vae, mig, modularity, sap
from lrnb.experiments import Profile, Recipe, data_of, eps_grid, get_model
from lrnb.intervals import MODEL, correlation_rows
from lrnb.models import Autoencoder, Posterior
from lrnb.robustness import (
    ACTIVE,
    SCALES,
    Rows,
    clean_table,
    code_statistics,
    identity_of,
    stored_table,
    untargeted_attack,
)

BETAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SWEPT = ("tcvae", "vae")
SCORES = (
    "mig", "sap", "disentanglement", "completeness", "informativeness", "factor_vae", "modularity",
)  # fmt: skip
# what is set against what in `tradeoff`
PAIRS = (
    ("beta", "aaddc_raw"),
    ("beta", "aaddc_spread"),
    ("beta", "squared_error"),
    ("beta", "active"),
    ("beta", "mig"),
    ("mig", "aaddc_raw"),
    ("mig", "aaddc_spread"),
)

# an attribute counts as a factor if each of its two values has this share of the images
_RARE = 0.05
# SAP and DCI learn to predict each factor: for 40 attributes that takes longer than all the rest
_LEARNT = 10
_PACKAGES = ("scikit-learn", "torchmetrics")
_ORDERED = ("size", "x", "y")
_SAMPLES = 500
# floats in one tensor of densities, [chunk, N, d]: 4 MB, of which a few are alive at a time
_FLOATS = 2**20


def sweep_recipes(datasets: Iterable[str], seeds: Iterable[int]) -> list[Recipe]:
    """β-TCVAE and β-VAE over `BETAS`, for each data set and seed.

    >>> len(sweep_recipes(["shapes"], [0, 1]))
    24
    """
    seeds = list(seeds)
    return [
        Recipe(dataset, family, beta=beta, seed=seed)
        for dataset in datasets
        for family in SWEPT
        for beta in BETAS
        for seed in seeds
    ]


def total_correlation(codes: Tensor, posterior: Posterior) -> float:
    """KL(q(z) ‖ Π_j q(z_j)) in nats, of the aggregate posterior q(z) = mean over n of q(z|x_n).

    The mean over samples of the log ratio of densities. The aggregate is that of the images given,
    as Chen et al. (2018) define it, and N images are no continuum: where posteriors are narrow, q(z)
    is N separate peaks, whose coordinates tell about each other even if the means are drawn
    independently. With I_j the information of dimension j about the image, the value is at least
    Σ_j I_j − log N; `gaussian_total_correlation` has no such floor.

    Args:
        codes: [S, d], samples of q(z).
        posterior: of N images, [N, d], with a variance.

    Returns:
        ≥ 0 up to the error of a mean over S samples.

    Raises:
        ValueError: the posterior has no variance, or the codes are not of its size.

    >>> far = Posterior(100 * torch.eye(2), torch.zeros(2, 2))      # two peaks far apart
    >>> round(total_correlation(far.mean, far), 4)                  # one coordinate tells the other
    0.6931
    """
    logvar = _logvar(posterior)
    n, d = logvar.shape
    if codes.ndim != 2 or len(codes) == 0 or codes.shape[1] != d:
        raise ValueError(f"codes has shape {tuple(codes.shape)}; ('S', {d}) is accepted")
    each = Normal(posterior.mean, torch.exp(0.5 * logvar))
    ratios = []
    for chunk in codes.split(max(1, _FLOATS // (n * d))):
        density = each.log_prob(chunk[:, None])  # [chunk, N, d]
        joint = torch.logsumexp(density.sum(2), dim=1) - math.log(n)
        product = (torch.logsumexp(density, dim=1) - math.log(n)).sum(1)
        ratios.append(joint - product)
    return float(torch.cat(ratios).double().mean())


def gaussian_total_correlation(posterior: Posterior) -> float:
    """Total correlation, in nats, of the Gaussian with the covariance of the aggregate posterior.

    ½(Σ_j log Σ_jj − log det Σ) with Σ = Cov[μ] + E[diag σ²]: what correlation alone accounts for,
    as Locatello et al. (2019) report it.

    Args:
        posterior: of N images, [N, d], with a variance.

    Raises:
        ValueError: the posterior has no variance.

    >>> mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])             # Σ = [[2, 1], [1, 2]]
    >>> round(gaussian_total_correlation(Posterior(mean, torch.zeros(2, 2))), 4)
    0.1438
    """
    variances = _logvar(posterior).double().exp().mean(0)
    centred = posterior.mean.double() - posterior.mean.double().mean(0)
    covariance = centred.T @ centred / len(centred) + variances.diag()
    return float(0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)))


def factors_of(images: ImageSet) -> Tensor:
    """What the scores take for the factors of variation of images, [N, K].

    Shapes has true factors: shape and angle as classes, size, x and y as numbers in [0, 1], since
    they have an order. CelebA has attributes, a proxy: those of which each value has at least 5% of
    the images, the nearest to balance first. Of the other data sets only the class label is known,
    a proxy with K = 1.
    """
    factors = images.factors
    if factors is None:
        return images.labels[:, None].float()
    if images.name == "celeba":
        rarer = torch.minimum(factors.mean(0), 1 - factors.mean(0))
        order = rarer.argsort(descending=True, stable=True)
        return factors[:, order[rarer[order] >= _RARE]]
    ordered = torch.tensor([name in _ORDERED for name in images.factor_names])
    return torch.where(ordered, factors / factors.amax(0), factors)


def disentanglement_scores(factors: Tensor, codes: Tensor) -> dict[str, float]:
    """Every score of `SCORES` (`lrnb.disentanglement`); NaN where K = 1 leaves one undefined.

    SAP and DCI take the first ten factors.

    Args:
        factors: [N, K]; codes: [N, d].
    """
    found = dict.fromkeys(SCORES, math.nan)
    first = factors[:, :_LEARNT]
    found |= {"mig": mig(factors, codes), "sap": sap(first, codes)}
    if factors.shape[1] > 1:
        found |= vars(dci(first, codes))
        found |= {
            "factor_vae": factor_vae(factors, codes),
            "modularity": modularity(factors, codes),
        }
    return found


def tradeoff_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Disentanglement, reconstruction and robustness of each model, one row a recipe.

    Columns: those of the model; the scores of `SCORES`, of mean codes of (at most 2000) test images
    against `factors_of` them, dimensions that are not active held constant; total_correlation and
    gaussian_correlation (of at most 10,000 training images, nats); spread, active, squared_error
    (`lrnb.robustness.clean_table`); under the untargeted L2 attack, aaddc_raw and aaddc_spread (of
    1 − SSIM; larger is more robust), damage_raw and damage_spread (squared error per pixel at the
    largest ε).

    Args:
        recipes: distinct, of families with a stochastic encoder.
        profile: name or `Profile`.
    """
    recipes = list(recipes)
    scores = stored_table(
        "tradeoff", recipes, profile, _tradeoff_rows, label="disentanglement and robustness",
        rooms=["disentanglement", "sweep"], packages=_PACKAGES,
    )  # fmt: skip
    by = [*MODEL, "seed"]
    clean = clean_table(recipes, profile)[[*by, "spread", "active", "squared_error"]]
    return scores.merge(clean, on=by, validate="1:1")


def tradeoff(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of `PAIRS` over the β of each data set and family.

    Args:
        table: `tradeoff_table`.

    Returns:
        Columns dataset, family, x, y, and those of `lrnb.intervals.correlation_rows`: rho, low,
        high, seeds, models.
    """
    parts = [
        correlation_rows(table, x, y, by=["dataset", "family"]).assign(x=x, y=y) for x, y in PAIRS
    ]
    found = pd.concat(parts, ignore_index=True)
    about = ["dataset", "family", "x", "y"]
    return found[[*about, *found.columns.difference(about, sort=False)]]


def _tradeoff_rows(recipe: Recipe, profile: Profile) -> Rows:
    model = get_model(recipe, profile)
    trained = data_of(recipe.dataset, "train", min(profile.n_train or 10_000, 10_000))
    aggregate = _posterior(model, trained.images)
    # (drawn on the processor: the same on any device)
    on_cpu = Posterior(aggregate.mean.cpu(), _logvar(aggregate).cpu())
    drawn = on_cpu.sample(torch.Generator().manual_seed(0))[:_SAMPLES].to(model.device)
    seen = data_of(recipe.dataset, "test", min(4 * profile.n_test, 2000))
    # what little a dimension that is switched off still moves is drowned by the posterior's noise
    active = code_statistics(aggregate.mean).deviations.square() > ACTIVE
    codes = _posterior(model, seen.images).mean * active
    row = identity_of(recipe) | disentanglement_scores(factors_of(seen), codes)
    row["total_correlation"] = total_correlation(drawn, aggregate)
    row["gaussian_correlation"] = gaussian_total_correlation(aggregate)
    for scale in SCALES:
        row |= _attacked(recipe, profile, scale)
    return [row]


def _attacked(recipe: Recipe, profile: Profile, scale: str) -> dict[str, float]:
    hit = untargeted_attack(recipe, profile, scale=scale)
    damage = [1 - metrics.ssim(images, hit.clean).mean().cpu() for images in hit.images]
    eps = torch.tensor(eps_grid(recipe.dataset, profile))
    return {
        f"aaddc_{scale}": metrics.aaddc(eps, torch.stack(damage)),
        f"damage_{scale}": float(metrics.mse(hit.images[-1], hit.clean).mean()),
    }


def _posterior(model: Autoencoder, images: Tensor, *, batch: int = 500) -> Posterior:
    with torch.no_grad():
        parts = [model.encode(chunk) for chunk in images.split(batch)]
    mean, logvar = torch.cat([p.mean for p in parts]), torch.cat([_logvar(p) for p in parts])
    return Posterior(mean, logvar)


def _logvar(posterior: Posterior) -> Tensor:
    if posterior.logvar is None:
        raise ValueError("posterior has no variance; one of a stochastic encoder is accepted")
    return posterior.logvar
