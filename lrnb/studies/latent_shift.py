"""Where adversarial codes lie: whether apart from clean ones, and along which dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from lrnb._work import Work
from lrnb.attacks import largest_singular, noise
from lrnb.models import Profile, Recipe
from lrnb.models import recipes as recipes_of
from lrnb.studies import untargeted
from lrnb.studies.tables import Rows, Table, attacked_codes, identity, training_statistics

CHAPTER = "02_untargeted_attack"


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    vaes = recipes_of(datasets, ["vae"], seeds)
    return [*untargeted.damage_works(vaes, profile), *SHIFT.works(vaes, profile)]


def classifier_accuracy(clean: Tensor, moved: Tensor, *, kernel: bool = False) -> float:
    """Share of held-out codes that a classifier names correctly as clean or moved; ½ if it guesses.

    A classifier two-sample test (Lopez-Paz & Oquab 2017): logistic regression on the standardized
    coordinates and their squares, so that it sees a shift as well as a scatter outwards, in five
    folds. A code and what it was moved to are held out together. With more codes a classifier
    learns more, so only values from equally many compare.

    Args:
        clean, moved: [N, d], paired; N ≥ 2.
        kernel: whether a support vector machine with a Gaussian kernel takes the place of the
            regression, on the standardized coordinates.

    >>> points = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> classifier_accuracy(points, points + 100)
    1.0
    """
    n = len(clean)
    if clean.shape != moved.shape or n < 2:
        shapes = f"{tuple(clean.shape)} and {tuple(moved.shape)}"
        raise ValueError(f"clean and moved must have equal shapes [N, d], N ≥ 2, got {shapes}")
    both = torch.cat([clean, moved]).double().cpu().numpy()
    kind, pair = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    squares = FunctionTransformer(lambda values: np.hstack([values, values**2]))
    regression = squares, StandardScaler(), LogisticRegression(max_iter=1000)
    classifier = make_pipeline(StandardScaler(), *([SVC()] if kernel else regression))
    folds = GroupKFold(min(5, n))
    return float(cross_val_score(classifier, both, kind, groups=pair, cv=folds).mean())


def top_share(delta: Tensor, active: Tensor) -> float:
    """Part of ‖δ‖² in that quarter of the active dimensions that has most of it.

    Of the part within active dimensions [d] (bool), over all δ [N, d] together: dimensions that the
    model does not use would make any attack look concentrated. NaN where none is active.

    >>> delta = torch.tensor([[1.0, 1.0, 1.0, 1.0, 9.0]])
    >>> top_share(delta, torch.tensor([True, True, True, True, False]))
    0.25
    """
    energy = delta.double().square().mean(0)[active].sort(descending=True).values
    return float(energy[: math.ceil(len(energy) / 4)].sum() / energy.sum())


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How the untargeted attack (L2, raw ε) moves codes, at each ε, beside noise of its norm.

    Columns: those of the model, eps, kind ("attack" or "noise"), told_apart and told_by_kernel
    (`classifier_accuracy`), top_share; even_share (`top_share` of a δ that is equally long in every
    active dimension: ¼, or a little more) and linear_share (of the first singular direction of the
    decoder's Jacobian, the worst δ for a linear decoder).
    """
    return SHIFT.rows(recipes, profile)


def _rows(recipe: Recipe, profile: Profile) -> Rows:
    found = untargeted.samples(recipe, profile)
    model, codes = attacked_codes(recipe, profile)
    _, direction = largest_singular(model.decode, codes)
    codes = codes.cpu()
    active = training_statistics(recipe, profile).is_active.cpu()
    shares = {"even_share": top_share(torch.ones(1, len(active)), active)}
    shares["linear_share"] = top_share(direction.cpu(), active)
    # (another seed than that of the damage under noise: a second draw)
    random = noise(found["delta"].shape, found["radius"], norm="l2", seed=1)
    moves = dict(zip(untargeted.KINDS, (found["delta"], random), strict=True))
    return [
        identity(recipe)
        | {"eps": float(eps), "kind": kind, "told_apart": classifier_accuracy(codes, codes + d)}
        | {"told_by_kernel": classifier_accuracy(codes, codes + d, kernel=True)}
        | {"top_share": top_share(d, active)}
        | shares
        for kind, delta in moves.items()
        for eps, d in zip(found["radius"], delta, strict=True)
    ]


def _needs(recipe: Recipe, profile: Profile) -> Iterable[Work]:
    return untargeted.SAMPLES.works([recipe], profile, norm="l2", attack="ours")


SHIFT = Table("shift", _rows, needs=_needs, packages=["scikit-learn"])
