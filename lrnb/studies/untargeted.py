"""The untargeted attack: damage over ε, beside noise of the same norm, in every unit of ε."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from lrnb import metrics
from lrnb._validation import check_name
from lrnb._work import Work, compute
from lrnb.attacks import Attack, noise
from lrnb.attacks.balls import expand_like
from lrnb.attacks.pgd import attack as find
from lrnb.attacks.problem import Problem
from lrnb.metrics.density import UNITS, whitening
from lrnb.metrics.images import DAMAGES, distances
from lrnb.models import Profile, Recipe, encode, eps_grid, get_model, get_profile
from lrnb.models.classifier import classifier_work, get_classifier, named
from lrnb.models.zoo import model_work
from lrnb.studies.tables import (
    Table,
    as_attack,
    attacked_codes,
    attacked_images,
    identity,
    joined,
    of_attack,
    target_of,
    training_posterior,
    training_statistics,
)

SCALES = tuple(UNITS)
KINDS = ("attack", "noise")
# how δ is looked for: by this book's attack on the squared error; by that on 1 − SSIM itself; by
# projected gradient steps of fixed length from one random start, as is customary
ATTACKS = ("ours", "ssim", "pgd")
# norm and attack of all that is compared
WAYS = (("l2", "ours"), ("linf", "ours"), ("l2", "ssim"), ("l2", "pgd"))
_PGD_STEPS = 40
_STRETCH = 1.4  # from one radius to the next, beyond the grid of ε


def table(
    recipes: Iterable[Recipe],
    profile: str | Profile,
    *,
    norm: str = "l2",
    attack: str = "ours",
    scales: Sequence[str] = SCALES,
) -> pd.DataFrame:
    """Damage over ε under the untargeted attack and under noise of the same norm.

    The damage is that of D(z + δ) against the clean reconstruction D(z). The ball's radius is ε
    times the unit of the scale (`lrnb.metrics.density.UNITS`): 1, the spread s_μ of the means, the
    spread s_q of the aggregate posterior. In whitened units the ball lies in coordinates u of the
    code m + A·u (`lrnb.metrics.density.whitening`); there is one for the attack "ours" in L2 only,
    since an L∞ ball depends on the axes chosen.

    Columns: those of the model, norm, attack (a name in `ATTACKS`), scale, eps, radius, kind
    ("attack" or "noise"), metric (a name in `lrnb.metrics.images.DAMAGES`; a flip is a decoding
    that an independent classifier names otherwise than the clean one), damage (mean over samples),
    deviation (standard deviation), samples; and for comparison the mean damage own (by the
    posterior's own noise; NaN for a deterministic encoder), between (between reconstructions of two
    images of different labels) and clean (between image and reconstruction); own_length is the mean
    length of the posterior's noise. LPIPS is NaN where its
    weights are not on the machine.
    """
    profile, recipes = get_profile(profile), list(recipes)
    compute(works(recipes, profile, norm=norm, attack=attack), label="untargeted attacks")
    rows = []
    for recipe, scale in product(recipes, scales):
        if scale == "whitened" and (norm, attack) != ("l2", "ours"):
            continue
        found = samples(recipe, profile, norm=norm, scale=scale, attack=attack)
        beside = REFERENCES.tensors(recipe, profile)
        for metric in DAMAGES:
            about = {name: float(beside[f"{name} {metric}"].mean()) for name in _BESIDE}
            about["own_length"] = float(beside["own length"].mean())
            for (e, eps), kind in product(enumerate(eps_grid(recipe.dataset, profile)), KINDS):
                at = identity(recipe) | {"norm": norm, "attack": attack, "scale": scale}
                at |= {"eps": eps, "radius": float(found["radius"][e])}
                at |= {"kind": kind, "metric": metric}
                rows.append(at | averaged(found[f"{kind} {metric}"][e], "damage") | about)
    return pd.DataFrame(rows)


def works(
    recipes: Iterable[Recipe], profile: Profile, *, norm: str = "l2", attack: str = "ours"
) -> list[Work]:
    """The attacks that `table` rests on."""
    recipes = list(recipes)
    found = [*SAMPLES.works(recipes, profile, norm=norm, attack=attack)]
    if (norm, attack) == ("l2", "ours"):
        found += SAMPLES.works(recipes, profile, norm=norm, attack="whitened")
    return found


def damage_works(recipes: Iterable[Recipe], profile: Profile) -> list[Work]:
    """The attacks of `damage_table`."""
    recipes = list(recipes)
    found = [works(recipes, profile, norm=norm, attack=way) for norm, way in WAYS]
    return [work for of_way in found for work in of_way]


def damage_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """`table` of each of `WAYS`."""
    recipes = list(recipes)
    parts = [table(recipes, profile, norm=norm, attack=way) for norm, way in WAYS]
    return pd.concat(parts, ignore_index=True)


def samples(
    recipe: Recipe,
    profile: str | Profile,
    *,
    norm: str = "l2",
    scale: str = "raw",
    attack: str = "ours",
) -> dict[str, Tensor]:
    """What the untargeted attack and noise of its norm do to each code, computed once.

    One attack serves all scales but the whitened one: it is made at the raw ε and beyond, and
    between its radii the root of each code's damage is interpolated (monotone cubic, Fritsch &
    Carlson), since damage begins as a square.

    Returns:
        "radius" [E], of the balls; for the raw and whitened scales "delta" [E, N, d], "loss" [E, N]
        and "decodes" of the attack; and for each kind and metric, such as "attack ssim", the damage
        [E, N]. On the CPU. Raises ValueError for another whitened attack than "ours" in L2.
    """
    check_name("scale", scale, SCALES)
    check_name("attack", attack, ATTACKS)
    if scale == "whitened" and (norm, attack) != ("l2", "ours"):
        raise ValueError(f"scale must not be whitened for {attack} in {norm}: only for ours in l2")
    way = "whitened" if scale == "whitened" else attack
    found = SAMPLES.tensors(recipe, profile, norm=norm, attack=way)
    eps = torch.tensor(eps_grid(recipe.dataset, profile))
    rows = [int((found["radius"] - e).abs().argmin()) for e in eps]
    at_grid = {n: values[rows] if values.ndim else values for n, values in found.items()}
    if scale in ("raw", "whitened"):
        return at_grid
    wanted = eps * REFERENCES.tensors(recipe, profile)[f"unit {scale}"]
    known = np.concatenate([[0.0], found["radius"].double().numpy()])
    read = {"radius": wanted}
    for name, values in found.items():
        if name.startswith(KINDS):
            root = np.concatenate(
                [np.zeros((1, values.shape[1])), values.double().clamp_min(0).sqrt()]
            )
            read[name] = torch.full_like(at_grid[name], math.nan)  # (LPIPS without its weights)
            if not np.isnan(root).any():
                read[name] = torch.from_numpy(PchipInterpolator(known, root)(wanted) ** 2).float()
    return read


def attack_model(recipe: Recipe, profile: str | Profile, *, norm: str = "l2") -> Attack:
    """The untargeted attack on a recipe's model over the raw ε of its data set, computed once."""
    model, codes = attacked_codes(recipe, profile)
    return as_attack(samples(recipe, profile, norm=norm), Problem(model.decode, codes), norm)


def noise_like(hit: Attack) -> Tensor:
    """Random perturbations with ‖δ‖ = ε, [E, N, …]: one direction a code, the same for every model."""
    one = noise(hit.delta[:1].shape, hit.eps.new_ones(1), norm=hit.norm, seed=0)
    return expand_like(hit.eps, hit.delta) * one


def areas(recipes: Iterable[Recipe], profile: str | Profile, *, norm: str = "l2") -> pd.DataFrame:
    """AADDC of 1 − SSIM under the untargeted attack, one row a recipe.

    Columns: those of the model; aaddc_raw, aaddc_spread, aaddc_aggregate and, in L2,
    aaddc_whitened.
    """
    profile, recipes = get_profile(profile), list(recipes)
    compute(works(recipes, profile, norm=norm), label="untargeted attacks")
    rows = []
    for recipe in recipes:
        row, eps = identity(recipe), torch.tensor(eps_grid(recipe.dataset, profile))
        for scale in SCALES if norm == "l2" else SCALES[:-1]:
            damage = samples(recipe, profile, norm=norm, scale=scale)["attack ssim"].mean(1)
            row[f"aaddc_{scale}"] = metrics.aaddc(eps, damage)
        rows.append(row)
    return pd.DataFrame(rows)


def averaged(values: Tensor, name: str) -> dict[str, float | int]:
    """The columns that summarize per-sample values [N]: mean (so named), deviation, samples."""
    deviation = float(values.std(unbiased=False))
    return {name: float(values.mean()), "deviation": deviation, "samples": len(values)}


_BESIDE = ("own", "between", "clean")


def _radii(eps: list[float], units: Sequence[float]) -> list[float]:
    """The raw ε, and smaller and larger radii as far as these units need them, but four halves."""
    radii, last = [eps[0] / 2, *eps], eps[-1] * max(1.0, *units)
    while radii[-1] < 0.99 * last:  # (a hundredth beyond is read off, too)
        radii.append(min(_STRETCH * radii[-1], last))
    while radii[0] > eps[0] * max(min(units), 1 / 16):
        radii.insert(0, radii[0] / 2)
    return radii


def _samples(recipe: Recipe, profile: Profile, *, norm: str, attack: str) -> dict[str, Tensor]:
    model, codes = attacked_codes(recipe, profile)
    grid = eps_grid(recipe.dataset, profile)
    ascent = partial(find, norm=norm, progress=f"attacking {recipe}")
    ours = partial(ascent, steps=profile.steps, restarts=profile.restarts)
    back = torch.eye(codes.shape[1]).to(codes)  # from the coordinates of the ball to the code's
    if attack == "whitened":
        posterior = training_posterior(recipe, profile)
        center, root = whitening(posterior.mean, posterior.logvar)
        points, back = (codes - center) @ torch.linalg.pinv(root).T, root.T
        codes = center + points @ back
        hit = ours(lambda u: model.decode(center + u @ back), points, eps=grid)
    else:
        units = REFERENCES.tensors(recipe, profile)
        radii = _radii(grid, [float(units[f"unit {s}"]) for s in ("spread", "aggregate")])
        if attack == "pgd":  # (each ε by itself: nothing is handed from one to the next)
            one = partial(ascent, model.decode, codes, method="pgd", restarts=1, steps=_PGD_STEPS)
            hit = joined([one(eps=radius) for radius in radii])
        else:
            hit = ours(model.decode, codes, eps=radii, objective=_AIMS[attack])
    found = of_attack(hit) | {"delta": hit.delta @ back}
    classifier = get_classifier(recipe.dataset, profile)[0]
    with torch.no_grad():
        by_noise = torch.stack([model.decode(codes + d) for d in noise_like(hit) @ back])
    for kind, moved in zip(KINDS, (hit.images, by_noise), strict=True):
        damages = [_damages(hit.clean, images, classifier) for images in moved]
        for metric in DAMAGES:
            found[f"{kind} {metric}"] = torch.stack([d[metric] for d in damages])
    return {name: values.cpu() for name, values in found.items()}


def _unlike(outputs: Tensor, reference: Tensor) -> Tensor:
    return 1 - metrics.ssim(outputs, reference)


_AIMS = {"ours": None, "ssim": _unlike}


@torch.no_grad()
def _damages(clean: Tensor, images: Tensor, classifier: torch.nn.Module) -> dict[str, Tensor]:
    """Every distance of `lrnb.metrics.images.DAMAGES`, [N] each."""
    flips = named(classifier, clean) != named(classifier, images)
    return distances(clean, images) | {"flips": flips.float()}


@torch.no_grad()
def _references(recipe: Recipe, profile: Profile) -> dict[str, Tensor]:
    """Units of ε, and with what damage is compared, as of `table`."""
    model, classifier = get_model(recipe, profile), get_classifier(recipe.dataset, profile)[0]
    test = attacked_images(recipe.dataset, profile, recipe.seed)
    posterior = encode(model, test.images)
    clean = model.decode(posterior.mean)
    about = training_statistics(recipe, profile)
    found = {"unit spread": torch.tensor(about.spread)}
    found["unit aggregate"] = torch.tensor(about.aggregate)
    damages = {
        "clean": _damages(test.images.to(clean), clean, classifier),
        "between": _damages(clean, clean[target_of(test.labels)], classifier),
        "own": {metric: torch.full((len(clean),), math.nan) for metric in DAMAGES},
    }
    found["own length"] = torch.zeros(len(clean))
    if posterior.logvar is not None:
        # (drawn on the CPU: the same on any device)
        drawn = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0))
        own = drawn.to(clean) * (0.5 * posterior.logvar).exp()
        damages["own"] = _damages(clean, model.decode(posterior.mean + own), classifier)
        found["own length"] = own.norm(dim=1)
    found |= {f"{n} {metric}": v for n, by in damages.items() for metric, v in by.items()}
    return {name: values.cpu() for name, values in found.items()}


def _of_model(recipe: Recipe, profile: Profile) -> list[Work]:
    return [model_work(recipe, profile), classifier_work(recipe.dataset, profile)]


def _needs(recipe: Recipe, profile: Profile, **settings: str) -> list[Work]:
    return [*REFERENCES.works([recipe], profile), *_of_model(recipe, profile)]


_PACKAGES = ("lpips", "torchmetrics")
REFERENCES = Table("references", _references, needs=_of_model, packages=_PACKAGES)
SAMPLES = Table("untargeted", _samples, needs=_needs, packages=_PACKAGES)
