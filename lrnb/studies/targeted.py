"""The targeted attack, and its baseline: a straight step towards the target's own code."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics
from lrnb.attacks import Attack, attack
from lrnb.attacks.balls import expand_like
from lrnb.metrics.images import METRICS, distances
from lrnb.models import Profile, Recipe, eps_grid, get_profile
from lrnb.studies.tables import Rows, attacked_codes, attacked_images, identity, stored_table
from lrnb.studies.untargeted import mean_over_samples, noise_like


def target_of(labels: Tensor) -> Tensor:
    """For each sample the next one, cyclically, with another label, [N] → [N].

    Raises:
        ValueError: all labels are equal.

    >>> target_of(torch.tensor([0, 0, 1]))
    tensor([2, 2, 0])
    """
    if len(labels.unique()) < 2:
        raise ValueError(f"labels must take at least 2 values, got only {labels[:1].tolist()}")
    n = len(labels)
    ahead = (torch.arange(n)[:, None] + torch.arange(1, n)) % n  # [N, N − 1]
    differs = labels[ahead] != labels[:, None]
    return ahead[torch.arange(n), differs.int().argmax(1)]


def attack_model(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2"
) -> tuple[Attack, Tensor]:
    """The targeted attack on a recipe's model over raw ε; also the index of each target, [N].

    The target of a source is the next test image with another label (`target_of`).
    """
    profile = get_profile(profile)
    (model, codes), test = attacked_codes(recipe, profile), attacked_images(recipe.dataset, profile)
    partner = target_of(test.labels)
    hit = attack(
        model.decode,
        codes,
        target=test.images[partner],
        eps=eps_grid(recipe.dataset, profile),
        norm=norm,
        steps=profile.steps,
        restarts=profile.restarts,
        progress=f"targeted attack on {recipe}",
    )
    return hit, partner


def table(recipes: Iterable[Recipe], profile: str | Profile, *, norm: str = "l2") -> pd.DataFrame:
    """Distance to the target over ε under the targeted attack.

    Columns: those of the model, norm, eps, metric, distance (of the attacked decoding to the target
    image, mean over samples), deviation, samples, start (distance of the clean reconstruction), floor
    (of the target's own reconstruction), noise (under noise of the same norm), relative (median over
    samples of `lrnb.metrics.relative_distance`), distortion (mean ‖δ‖₂ / ‖z_source − z_target‖₂),
    auddc (mean over samples, the same for each ε), pairs (for which relative is defined; the others
    are left out of it and of auddc).
    """
    return stored_table("targeted", recipes, profile, _rows, norm=norm)


def straight_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Distance to the target over ε after a straight step towards the target's own code (L2).

    The pairs are those of `table`. The step is min(ε, ‖z_target − z_source‖) long: what an attacker
    does who has the target's code and ignores the decoder.

    Columns: those of the model, eps, relative (median over pairs, in squared error), pairs.
    """
    return stored_table("straight", recipes, profile, _straight_rows)


def _rows(recipe: Recipe, profile: Profile, *, norm: str) -> Rows:
    hit, partner = attack_model(recipe, profile, norm=norm)
    model, codes = attacked_codes(recipe, profile)
    target = attacked_images(recipe.dataset, profile).images[partner].to(hit.clean)
    with torch.no_grad():
        noisy = [distances(model.decode(codes + d), target) for d in noise_like(hit)]
    reached = [distances(images, target) for images in hit.images]
    start, floor = distances(hit.clean, target), distances(hit.clean[partner], target)
    apart = (codes - codes[partner]).flatten(1).norm(dim=1)
    distortion = hit.delta.flatten(2).norm(dim=2) / apart  # [E, N]
    rows = []
    for metric in METRICS:
        values = torch.stack([r[metric] for r in reached])
        relative = metrics.relative_distance(values, start[metric], floor[metric])
        area = _auddc(distortion, relative)
        for e, eps in enumerate(eps_grid(recipe.dataset, profile)):
            rows.append(
                identity(recipe)
                | {"norm": norm, "eps": eps, "metric": metric}
                | mean_over_samples(distance=values[e])
                | {
                    "start": float(start[metric].mean()),
                    "floor": float(floor[metric].mean()),
                    "noise": float(noisy[e][metric].mean()),
                    "relative": float(relative[e].nanmedian()),
                    "distortion": float(distortion[e].mean()),
                    "auddc": area,
                    "pairs": int(relative[e].isfinite().sum()),
                }
            )
    return rows


def _auddc(distortion: Tensor, relative: Tensor) -> float:
    """AUDDC per sample over its ε, with the clean start (0, 1), averaged over samples."""
    areas = []
    for x, y in zip(distortion.T.cpu(), relative.T.cpu(), strict=True):
        if bool(torch.isfinite(y).all()):
            x, y = torch.cat([x.new_zeros(1), x]), torch.cat([y.new_ones(1), y])
            areas.append(metrics.auddc(x, y))
    return float(np.mean(areas)) if areas else math.nan


def _straight_rows(recipe: Recipe, profile: Profile) -> Rows:
    (model, codes), test = attacked_codes(recipe, profile), attacked_images(recipe.dataset, profile)
    partner = target_of(test.labels)
    target, way = test.images[partner].to(codes.device), codes[partner] - codes
    length = way.flatten(1).norm(dim=1).clamp_min(torch.finfo(way.dtype).tiny)
    rows = []
    with torch.no_grad():
        clean = model.decode(codes)
        start, floor = metrics.mse(clean, target), metrics.mse(clean[partner], target)
        for eps in eps_grid(recipe.dataset, profile):
            step = expand_like((eps / length).clamp_max(1), way) * way
            reached = metrics.mse(model.decode(codes + step), target)
            relative = metrics.relative_distance(reached, start, floor)
            row = {"eps": eps, "relative": float(relative.nanmedian())}
            rows.append(identity(recipe) | row | {"pairs": int(relative.isfinite().sum())})
    return rows
