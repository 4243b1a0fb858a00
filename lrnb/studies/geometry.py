"""Why a small δ does so much: how steep the decoder is, and how probable the codes it leads to.

Two explanations of damage are compared. Holes: between the codes of data lie places that training
never saw, and the attack finds them. Steepness: the decoder's Jacobian stretches a few directions
strongly, wherever they lead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics
from lrnb._work import Work
from lrnb.attacks import noise, singular_values
from lrnb.metrics.density import log_density
from lrnb.metrics.statistics import MODEL, partial_spearman
from lrnb.models import Autoencoder, Profile, Recipe, encode, eps_grid, load_images
from lrnb.models import recipes as recipes_of
from lrnb.models.classifier import classifier_work, get_classifier
from lrnb.studies import untargeted
from lrnb.studies.tables import (
    Rows,
    Table,
    attacked_codes,
    identity,
    training_posterior,
    training_statistics,
)

CHAPTER = "07_geometry"
# training images whose posteriors form the aggregate
AGGREGATED = 2000
_NEAREST = 10_000
# multiples of δ at which the path along it is evaluated
SHARES = tuple(k / 4 for k in range(9))


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    return list(GEOMETRY.works(recipes_of(datasets, ["vae", "ae", "dae_mmd"], seeds), profile))


def codes_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How steep the decoder is at each attacked code, how much is damaged, and where δ leads.

    The attack is the untargeted one on the raw L2 grid of ε; noise has the length of its δ and a
    random direction. Columns: those of the model; sample;

    - sigma (σ_max of the Jacobian), share (of Σσ² that it carries), participation ((Σσ²)²/Σσ⁴, 1 to
      d: how many directions are steep);
    - at the ends of the grid, "small" and "large": eps_…, damage_… (mean squared error per pixel
      under attack), linear_… ((ε·σ_max)² per pixel, the largest damage of a linear decoder);
    - log_density_clean, …_attack, …_noise: log q at the code, and at the largest ε under attack and
      under noise, in nats (`log_density` of at most `AGGREGATED` training images); kernel_…: the
      same by Scott's kernels about one sample of each posterior, a smoother estimate (for a
      deterministic encoder both are one);
    - whether the decoding there is still an image of the data, by three measures: confidence_… (the
      largest probability that an independent classifier gives a label), nearest_… (mean squared
      error per pixel to the nearest of at most 10,000 training images), again_… (‖E(D(z)) − z‖ over
      the active dimensions: how far encoding the decoding again leads); also of a random move that
      changes the image about as much as the attack, to first order, "equal".
    """
    return _part("codes", recipes, profile)


def path_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """What happens on the straight line from a code along δ, up to twice its length (L2, largest ε).

    Columns: those of the model; direction ("attack", or "noise" for a random one of the same
    length); t (multiple of δ, 0 to 2; 1 is the attack itself); change (‖D(z + tδ) − D(z)‖² per
    pixel); log_density (log q(z + tδ) − log q(z), in nats) and kernel (the same by the kernel
    estimate); means over the attacked codes.
    """
    return _part("path", recipes, profile)


def spectrum_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Singular values of the decoder's Jacobian by rank, means over the attacked codes.

    Columns: those of the model; rank (1 to d); sigma.
    """
    return _part("spectrum", recipes, profile)


def explanations(table: pd.DataFrame) -> pd.DataFrame:
    """What predicts which codes are damaged, and whether the attack leads to improbable ones.

    From `codes_table`, one row a model and seed; over its codes:

    - steepness_small, steepness_large: Spearman's ρ of sigma with the damage at the smallest and at
      the largest ε; steepness_alone: the latter with the fall of log q held fixed, as partial rank
      correlation; over_linear: mean damage at the largest ε over that of a linear decoder;
    - density_large: ρ of the fall of log q under attack with the damage, at the largest ε;
      density_alone: with sigma held fixed;
    - fall_attack, fall_noise: mean fall of log q, in nats; extra_fall: the first minus the second,
      positive where the attack leads to less probable codes than noise does;
    - percentile: mean share of the clean codes that are less probable than an attacked one; 0.5 if
      attacked codes are as probable as clean ones;
    - kernel_large, kernel_alone, kernel_extra_fall, kernel_percentile: by the kernel estimate.

    ρ is NaN where a column is constant.
    """
    rows = []
    for names, part in table.groupby([*MODEL, "seed"], sort=False):
        row = dict(zip([*MODEL, "seed"], names, strict=True))
        large = part["damage_large"]
        row["steepness_small"] = part["sigma"].corr(part["damage_small"], "spearman")
        row["steepness_large"] = part["sigma"].corr(large, "spearman")
        row["over_linear"] = large.mean() / part["linear_large"].mean()
        for density, ours in (("log_density", "density_"), ("kernel", "kernel_")):
            clean, attack = part[f"{density}_clean"], part[f"{density}_attack"]
            noisy, prefix = part[f"{density}_noise"], ours.removeprefix("density_")
            fall = clean - attack
            row[f"{ours}large"] = fall.corr(large, "spearman")
            row[f"{ours}alone"] = partial_spearman(fall, large, fixed=part["sigma"])
            row[f"{prefix}extra_fall"] = (noisy - attack).mean()
            less = clean.to_numpy()[:, None] < attack.to_numpy()
            row[f"{prefix}percentile"] = float(less.mean())
            if density == "log_density":
                row["steepness_alone"] = partial_spearman(part["sigma"], large, fixed=fall)
                row |= {"fall_attack": fall.mean(), "fall_noise": (clean - noisy).mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def _part(name: str, recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """One of the tables that are computed together and stored as one."""
    recipes = list(recipes)
    stored = GEOMETRY.rows(recipes, profile)
    parts = zip(recipes, stored[name], strict=True)
    return pd.DataFrame([identity(recipe) | row for recipe, rows in parts for row in rows])


def _geometry(recipe: Recipe, profile: Profile) -> Rows:
    (model, codes), found = attacked_codes(recipe, profile), untargeted.samples(recipe, profile)
    delta = found["delta"][-1].to(codes)
    random = noise((1, *delta.shape), delta.flatten(1).norm(dim=1)[None], norm="l2", seed=0)[0]
    moves = dict(zip(untargeted.KINDS, (delta, random), strict=True))
    sigma, densities = singular_values(model.decode, codes), _densities(recipe, profile)

    power, pixels = sigma.square(), math.prod(model.image_shape)
    columns = {
        "sigma": sigma[:, 0],
        "share": power[:, 0] / power.sum(1),
        "participation": power.sum(1).square() / power.square().sum(1),
    }
    grid = eps_grid(recipe.dataset, profile)
    for at, e in (("small", 0), ("large", -1)):
        columns[f"eps_{at}"] = torch.full_like(sigma[:, 0], grid[e])
        columns[f"linear_{at}"] = grid[e] ** 2 * power[:, 0] / pixels
        columns[f"damage_{at}"] = found["attack mse"][e]
    for name, density in densities.items():
        columns[f"{name}_clean"] = density(codes)
        for kind, move in moves.items():
            columns[f"{name}_{kind}"] = density(codes + move)
    of_data, mse = _validity(recipe, profile, model), found["attack mse"][-1].to(codes)
    with torch.no_grad():
        by_noise = metrics.mse(model.decode(codes + random), model.decode(codes))
    equal = (mse / by_noise.clamp_min(1e-12)).sqrt().clamp_max(10)[:, None] * random
    for kind, move in {"clean": 0 * delta, **moves, "equal": equal}.items():
        columns |= {f"{name}_{kind}": of_code for name, of_code in of_data(codes + move).items()}
    values = pd.DataFrame({name: column.tolist() for name, column in columns.items()})
    of_codes = values.rename_axis("sample").reset_index().to_dict("records")
    of_ranks = [{"rank": k, "sigma": s} for k, s in enumerate(sigma.mean(0).tolist(), start=1)]
    return [
        {"codes": of_codes, "spectrum": of_ranks, "path": _path(model, codes, moves, densities)}
    ]


@torch.no_grad()
def _path(
    model: Autoencoder,
    codes: Tensor,
    moves: dict[str, Tensor],
    densities: dict[str, Callable[[Tensor], Tensor]],
) -> Rows:
    clean, rows = model.decode(codes), []
    start = {name: density(codes) for name, density in densities.items()}
    for kind, move in moves.items():
        for t in SHARES:
            point = codes + t * move
            row = {"direction": kind, "t": t}
            row["change"] = float(metrics.mse(model.decode(point), clean).mean())
            for name, density in densities.items():
                row[name] = float((density(point) - start[name]).mean())
            rows.append(row)
    return rows


def _validity(
    recipe: Recipe, profile: Profile, model: Autoencoder
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Of codes [N, d], how much their decodings are like images of the data, [N] each."""
    classifier = get_classifier(recipe.dataset, profile)[0]
    active = training_statistics(recipe, profile).is_active
    n = min(profile.n_train or _NEAREST, _NEAREST)
    seen = load_images(recipe.dataset, "train", n).images.flatten(1).to(model.device)

    @torch.no_grad()
    def measures(codes: Tensor) -> dict[str, Tensor]:
        images = model.decode(codes)
        pixels = images.flatten(1)
        nearest = torch.cdist(pixels, seen).amin(1).square() / pixels.shape[1]
        again = ((encode(model, images).mean - codes) * active).norm(dim=1)
        confidence = classifier(images).softmax(1).amax(1)
        return {"confidence": confidence, "nearest": nearest, "again": again}

    return measures


def _densities(recipe: Recipe, profile: Profile) -> dict[str, Callable[[Tensor], Tensor]]:
    """log q by the posteriors of training images, and by kernels about one sample of each."""
    posterior = training_posterior(recipe, profile, AGGREGATED)
    drawn = posterior.sample(torch.Generator(posterior.mean.device).manual_seed(0))
    return {
        "log_density": partial(log_density, means=posterior.mean, logvar=posterior.logvar),
        "kernel": partial(log_density, means=drawn, logvar=None),
    }


def _needs(recipe: Recipe, profile: Profile) -> Iterable[Work]:
    attacks = untargeted.SAMPLES.works([recipe], profile, norm="l2", attack="ours")
    return [*attacks, classifier_work(recipe.dataset, profile)]


GEOMETRY = Table("geometry", _geometry, needs=_needs)
