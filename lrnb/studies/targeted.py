"""The targeted attack, and its baseline: a straight step towards the target's own code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics
from lrnb._work import Work
from lrnb.attacks import Attack, attack
from lrnb.attacks.balls import expand_like
from lrnb.attacks.problem import Problem
from lrnb.data import ImageSet
from lrnb.metrics.images import METRICS, distances
from lrnb.models import Autoencoder, Profile, Recipe, eps_grid, get_profile, load_images
from lrnb.models import recipes as recipes_of
from lrnb.models.classifier import classifier_work, get_classifier, named
from lrnb.studies.tables import (
    Rows,
    Table,
    as_attack,
    attacked_codes,
    attacked_images,
    identity,
    of_attack,
    target_of,
)
from lrnb.studies.untargeted import averaged, noise_like

CHAPTER = "03_targeted_attack"


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    vaes = recipes_of(datasets, ["vae"], seeds)
    return [*TARGETED.works(vaes, profile, norm="l2"), *STRAIGHT.works(vaes, profile)]


def attack_model(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2"
) -> tuple[Attack, Tensor]:
    """The targeted attack on a recipe's model over raw ε, and the index of each target, [N]."""
    model, codes, target, partner = _pairs(recipe, get_profile(profile))
    found = FOUND.tensors(recipe, profile, norm=norm)
    return as_attack(found, Problem(model.decode, codes, target), norm), partner


def table(recipes: Iterable[Recipe], profile: str | Profile, *, norm: str = "l2") -> pd.DataFrame:
    """Distance to the target over ε under the targeted attack; the target is `target_of`.

    Columns: those of the model, norm, eps, metric, distance (of the attacked decoding to the target
    image, mean over samples), deviation, samples, start (distance of the clean reconstruction), floor
    (of the target's own reconstruction), noise (under noise of the same norm), labelled (share of
    the attacked decodings that an independent classifier gives the target's label) and
    labelled_clean (of the clean ones), relative (median over
    samples of `lrnb.metrics.relative_distance`), steered (median over samples of how much farther
    it comes on the way to its target than to images that were not, of another label than the
    source, as a share of the way), distortion (mean ‖δ‖₂ / ‖z_source − z_target‖₂),
    auddc (mean over samples, the same for each ε), pairs (for which relative is defined; the others
    are left out of it and of auddc).
    """
    return TARGETED.rows(recipes, profile, norm=norm)


def straight_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Distance to the target over ε after a straight step towards the target's own code (L2).

    The step is min(ε, ‖z_target − z_source‖) long: what an attacker does who has the target's code
    and ignores the decoder. Columns: those of the model, eps, relative (median over the pairs of
    `table`, in squared error), mean_image (the same of the mean training image, which aims at no
    target and knows no ε), pairs.
    """
    return STRAIGHT.rows(recipes, profile)


def _pairs(recipe: Recipe, profile: str | Profile) -> tuple[Autoencoder, Tensor, Tensor, Tensor]:
    """The model, the sources' codes, the target images and their indices."""
    model, codes = attacked_codes(recipe, profile)
    test = attacked_images(recipe.dataset, profile, recipe.seed)
    partner = target_of(test.labels)
    return model, codes, test.images[partner].to(codes), partner


def _found(recipe: Recipe, profile: Profile, *, norm: str) -> dict[str, Tensor]:
    model, codes, target, _ = _pairs(recipe, profile)
    hit = attack(
        model.decode,
        codes,
        target=target,
        eps=eps_grid(recipe.dataset, profile),
        norm=norm,
        steps=profile.steps,
        restarts=profile.restarts,
        progress=f"targeted attack on {recipe}",
    )
    return {name: values.cpu() for name, values in of_attack(hit).items()}


def _rows(recipe: Recipe, profile: Profile, *, norm: str) -> Rows:
    hit, partner = attack_model(recipe, profile, norm=norm)
    decode, codes, target = hit.problem.decoder, hit.problem.codes, hit.problem.reference
    test = attacked_images(recipe.dataset, profile, recipe.seed)
    classifier, wanted = get_classifier(recipe.dataset, profile)[0], test.labels[partner]
    with torch.no_grad():
        labelled = [
            float((named(classifier, images).cpu() == wanted).float().mean())
            for images in (hit.clean, *hit.images)
        ]
        noisy = [distances(decode(codes + d), target) for d in noise_like(hit)]
    reached = [distances(images, target) for images in hit.images]
    start, floor = distances(hit.clean, target), distances(hit.clean[partner], target)
    relative_elsewhere = _elsewhere(hit, test, partner)
    apart = (codes - codes[partner]).flatten(1).norm(dim=1)
    distortion = hit.delta.flatten(2).norm(dim=2) / apart  # [E, N]
    rows = []
    for metric in METRICS:
        values = torch.stack([r[metric] for r in reached])
        relative = metrics.relative_distance(values, start[metric], floor[metric])
        area = _auddc(distortion, relative)
        steered = relative_elsewhere - relative if metric == "mse" else relative * math.nan
        for e, eps in enumerate(eps_grid(recipe.dataset, profile)):
            row = identity(recipe) | {"norm": norm, "eps": eps, "metric": metric}
            row |= averaged(values[e], "distance")
            row |= {"start": float(start[metric].mean()), "floor": float(floor[metric].mean())}
            row |= {"noise": float(noisy[e][metric].mean())}
            row |= {"labelled": labelled[e + 1], "labelled_clean": labelled[0]}
            row |= {"relative": float(relative[e].nanmedian())}
            row |= {"steered": float(steered[e].nanmedian())}
            row |= {"distortion": float(distortion[e].mean()), "auddc": area}
            rows.append(row | {"pairs": int(relative[e].isfinite().sum())})
    return rows


def _elsewhere(hit: Attack, test: ImageSet, partner: Tensor) -> Tensor:
    """`lrnb.metrics.relative_distance` in squared error to targets of other sources, [E, N].

    A mean over four of them, of another label than the source; NaN where there is none.
    """
    found = []
    for k in range(1, 5):
        other = partner.roll(k * len(partner) // 5)
        image = test.images[other].to(hit.clean)
        start, floor = metrics.mse(hit.clean, image), metrics.mse(hit.clean[other], image)
        reached = torch.stack([metrics.mse(images, image) for images in hit.images])
        usable = (test.labels[other] != test.labels) & (other != partner)
        relative = metrics.relative_distance(reached, start, floor)
        found.append(torch.where(usable.to(relative.device), relative, math.nan))
    return torch.stack(found).nanmean(0)


def _auddc(distortion: Tensor, relative: Tensor) -> float:
    """AUDDC per sample over its ε, with the clean start (0, 1), averaged over samples."""
    x = torch.cat([torch.zeros_like(distortion[:1]), distortion]).cpu()
    y = torch.cat([torch.ones_like(relative[:1]), relative]).cpu()
    defined = y.isfinite().all(0)
    areas = [metrics.auddc(x[:, n], y[:, n]) for n in defined.nonzero().flatten()]
    return float(np.mean(areas)) if areas else math.nan


def _straight_rows(recipe: Recipe, profile: Profile) -> Rows:
    model, codes, target, partner = _pairs(recipe, profile)
    way = codes[partner] - codes
    length = way.flatten(1).norm(dim=1).clamp_min(torch.finfo(way.dtype).tiny)
    rows = []
    with torch.no_grad():
        clean = model.decode(codes)
        start, floor = metrics.mse(clean, target), metrics.mse(clean[partner], target)
        mean = load_images(recipe.dataset, "train", profile.n_train).images.mean(0).to(target)
        by_mean = metrics.relative_distance(
            metrics.mse(mean.expand_as(target), target), start, floor
        )
        for eps in eps_grid(recipe.dataset, profile):
            step = expand_like((eps / length).clamp_max(1), way) * way
            reached = metrics.mse(model.decode(codes + step), target)
            relative = metrics.relative_distance(reached, start, floor)
            row = {"eps": eps, "relative": float(relative.nanmedian())}
            row["mean_image"] = float(by_mean.nanmedian())
            rows.append(identity(recipe) | row | {"pairs": int(relative.isfinite().sum())})
    return rows


def _needs(recipe: Recipe, profile: Profile, *, norm: str) -> Iterable[Work]:
    return [*FOUND.works([recipe], profile, norm=norm), classifier_work(recipe.dataset, profile)]


FOUND = Table("targeted attack", _found)
TARGETED = Table("targeted", _rows, needs=_needs, packages=("lpips", "torchmetrics"))
STRAIGHT = Table("straight", _straight_rows)
