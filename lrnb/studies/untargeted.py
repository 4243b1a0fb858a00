"""The untargeted attack: damage over ε, beside noise of the same norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics
from lrnb._progress import track
from lrnb._validation import check_name
from lrnb._work import Work, compute
from lrnb.attacks import Attack, attack, noise
from lrnb.attacks.problem import Problem
from lrnb.metrics.images import METRICS, distances
from lrnb.metrics.statistics import MODEL
from lrnb.models import Profile, Recipe, eps_grid, get_profile
from lrnb.studies.tables import (
    Table,
    as_attack,
    attacked_codes,
    identity,
    of_attack,
    training_statistics,
)

SCALES = ("raw", "spread")
KINDS = ("attack", "noise")


def table(recipes: Iterable[Recipe], profile: str | Profile, *, norm: str = "l2") -> pd.DataFrame:
    """Damage over ε under the untargeted attack and under noise of the same norm.

    The damage is that of D(z + δ) against the clean reconstruction D(z). An ε of the "spread" scale
    is in units of the code's own spread s: the radius of the ball is ε·s.

    Columns: those of the model, norm, scale, eps, radius, kind ("attack" or "noise"), metric (a name
    in `lrnb.metrics.images.METRICS`), damage (mean over samples), deviation (standard deviation),
    samples. LPIPS is NaN where its weights are not on the machine.
    """
    profile, recipes = get_profile(profile), list(recipes)
    compute(works(recipes, profile, norm=norm), label="untargeted attacks")
    rows = []
    for recipe, scale in product(recipes, SCALES):
        found = samples(recipe, profile, norm=norm, scale=scale)
        for e, eps in enumerate(eps_grid(recipe.dataset, profile)):
            at = identity(recipe) | {"norm": norm, "scale": scale, "eps": eps}
            at["radius"] = float(found["radius"][e])
            rows += [
                at
                | {"kind": kind, "metric": metric}
                | averaged(found[f"{kind} {metric}"][e], "damage")
                for kind in KINDS
                for metric in METRICS
            ]
    return pd.DataFrame(rows)


def works(recipes: Iterable[Recipe], profile: Profile, *, norm: str = "l2") -> list[Work]:
    """The attacks that `table` rests on: of each model at both scales."""
    of_scales = (SAMPLES.works(recipes, profile, norm=norm, scale=scale) for scale in SCALES)
    return [work for works in of_scales for work in works]


def samples(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2", scale: str = "raw"
) -> dict[str, Tensor]:
    """What the untargeted attack and noise of its norm do to each code, computed once.

    Returns:
        "radius" [E], of the balls; "delta" [E, N, d], "loss" [E, N] and "decodes" of the attack;
        and for each kind and metric, such as "attack ssim", the damage [E, N]. On the CPU.
    """
    check_name("scale", scale, SCALES)
    return SAMPLES.tensors(recipe, profile, norm=norm, scale=scale)


def attack_model(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2", scale: str = "raw"
) -> Attack:
    """The untargeted attack on a recipe's model over the ε of its data set, computed once."""
    model, codes = attacked_codes(recipe, profile)
    found = samples(recipe, profile, norm=norm, scale=scale)
    return as_attack(found, Problem(model.decode, codes), norm)


def radii(recipe: Recipe, profile: str | Profile, scale: str) -> list[float]:
    """The grid of ε in units of the code; of the "spread" scale, times the code's spread."""
    eps = eps_grid(recipe.dataset, profile)
    if check_name("scale", scale, SCALES) == "raw":
        return eps
    spread = training_statistics(recipe, profile).spread
    return [e * spread for e in eps]


def noise_like(hit: Attack) -> Tensor:
    """Random perturbations with ‖δ‖ = ε, [E, N, …]; the same directions for every model."""
    return noise(hit.delta.shape, hit.eps, norm=hit.norm, seed=0)


def aaddc_table(damages: pd.DataFrame) -> pd.DataFrame:
    """AADDC of each damage curve (`table`); larger means more robust.

    Columns: those of the table without eps, radius, damage, deviation and samples; aaddc.
    """
    by = [*MODEL, "seed", "norm", "scale", "kind", "metric"]
    by = [name for name in by if name in damages]
    rows = []
    for names, curve in damages.groupby(by, sort=False):
        curve = curve.sort_values("eps")
        eps, damage = (torch.tensor(curve[name].to_numpy()) for name in ("eps", "damage"))
        score = math.nan if damage.isnan().any() else metrics.aaddc(eps, damage)
        rows.append(dict(zip(by, names, strict=True)) | {"aaddc": score})
    return pd.DataFrame(rows)


def summary_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """AADDC of 1 − SSIM under the untargeted L2 attack, one row a recipe.

    Columns: those of the model, aaddc_raw, aaddc_spread.
    """
    profile, recipes = get_profile(profile), list(recipes)
    compute(works(recipes, profile), label="untargeted attacks")
    rows = []
    for recipe in recipes:
        row, eps = identity(recipe), torch.tensor(eps_grid(recipe.dataset, profile))
        for scale in SCALES:
            damage = samples(recipe, profile, scale=scale)["attack ssim"].mean(1)
            row[f"aaddc_{scale}"] = metrics.aaddc(eps, damage)
        rows.append(row)
    return pd.DataFrame(rows)


def averaged(values: Tensor, name: str) -> dict[str, float | int]:
    """The columns that summarize per-sample values [N]: mean (so named), deviation, samples."""
    deviation = float(values.std(unbiased=False))
    return {name: float(values.mean()), "deviation": deviation, "samples": len(values)}


def _samples(recipe: Recipe, profile: Profile, *, norm: str, scale: str) -> dict[str, Tensor]:
    model, codes = attacked_codes(recipe, profile)
    hit = attack(
        model.decode,
        codes,
        eps=radii(recipe, profile, scale),
        norm=norm,
        steps=profile.steps,
        restarts=profile.restarts,
        progress=f"attacking {recipe}",
    )
    with torch.no_grad():
        noisy = torch.stack([model.decode(codes + d) for d in noise_like(hit)])
    found = of_attack(hit)
    for kind, outputs in zip(KINDS, (hit.images, noisy), strict=True):
        damages = [distances(hit.clean, x) for x in track(outputs, f"damage by {kind}")]
        for metric in METRICS:
            found[f"{kind} {metric}"] = torch.stack([d[metric] for d in damages])
    return {name: values.cpu() for name, values in found.items()}


SAMPLES = Table("untargeted", _samples, packages=("lpips", "torchmetrics"))
