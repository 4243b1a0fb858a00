"""Where adversarial codes lie: whether apart from clean ones, and along which dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import Tensor

from lrnb.balls import random_on_sphere
from lrnb.experiments import Profile, Recipe, get_model
from lrnb.robustness import (
    ACTIVE,
    KINDS,
    Rows,
    attacked_images,
    code_statistics,
    encode,
    identity_of,
    stored_table,
    training_codes,
    untargeted_samples,
)

_FOLDS = 5


def told_apart(clean: Tensor, moved: Tensor) -> float:
    """Share of held-out codes that a classifier tells rightly as clean or moved; ½ if it guesses.

    A classifier two-sample test (Lopez-Paz & Oquab 2017): logistic regression on the standardised
    coordinates and their squares, so that it sees a shift as well as a scatter outwards, in five
    folds. A code and what it was moved to are held out together. With more codes a classifier tells
    more, so only values from equally many compare.

    Args:
        clean, moved: [N, d], paired; N ≥ 2.

    >>> points = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> told_apart(points, points + 100)
    1.0
    """
    n = len(clean)
    if clean.shape != moved.shape or n < 2:
        raise ValueError(
            f"clean and moved have shapes {tuple(clean.shape)} and {tuple(moved.shape)}; "
            "two equal ones [N, d] with N ≥ 2 are accepted"
        )
    both = torch.cat([clean, moved]).double().cpu().numpy()
    kind, pair = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    classifier = make_pipeline(
        StandardScaler(),
        FunctionTransformer(_with_squares),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    folds = GroupKFold(min(_FOLDS, n))
    return float(cross_val_score(classifier, both, kind, groups=pair, cv=folds).mean())


def top_share(delta: Tensor, active: Tensor) -> float:
    """Part of ‖δ‖² that a quarter of the active dimensions carries, those with most of it.

    Of the part within active dimensions, over all codes together: a dimension that the model does
    not use cannot be attacked, and would make any attack look concentrated. `even_share` is what an
    attack has that prefers none.

    Args:
        delta: [N, d].
        active: [d], whether a dimension is; NaN results where none is.

    >>> delta = torch.tensor([[1.0, 1.0, 1.0, 1.0, 9.0]])
    >>> top_share(delta, torch.tensor([True, True, True, True, False]))
    0.25
    """
    energy = delta.double().square().mean(0)[active].sort(descending=True).values
    quarter = math.ceil(len(energy) / 4)
    return float(energy[:quarter].sum() / energy.sum())


def even_share(active: Tensor) -> float:
    """`top_share` of a δ that is equally long in every active dimension; ¼, or a little more.

    >>> even_share(torch.ones(10, dtype=torch.bool))      # ⌈10/4⌉ of 10
    0.3
    """
    count = int(active.sum())
    return math.ceil(count / 4) / count if count else math.nan


def shift_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How the untargeted attack (L2, raw ε) moves codes, at each ε, beside noise of its norm.

    Columns: those of the model, eps, kind ("attack" or "noise"), told_apart (`told_apart`),
    top_share (`top_share`), even_share (`even_share`).
    """
    return stored_table(
        "shift", recipes, profile, _shift_rows, label="shifted codes", rooms=["shift"]
    )


def _shift_rows(recipe: Recipe, profile: Profile) -> Rows:
    found = untargeted_samples(recipe, profile)
    images = attacked_images(recipe.dataset, profile).images
    codes = encode(get_model(recipe, profile), images).cpu()
    active = code_statistics(training_codes(recipe, profile)).deviations.cpu().square() > ACTIVE
    # (another seed than that of the damage under noise: a second draw)
    generator = torch.Generator().manual_seed(1)
    unit = random_on_sphere(found["delta"].shape, norm="l2", generator=generator)
    moves = dict(zip(KINDS, (found["delta"], found["radius"][:, None, None] * unit), strict=True))
    return [
        identity_of(recipe)
        | {
            "eps": float(eps),
            "kind": kind,
            "told_apart": told_apart(codes, codes + delta[e]),
            "top_share": top_share(delta[e], active),
            "even_share": even_share(active),
        }
        for kind, delta in moves.items()
        for e, eps in enumerate(found["radius"])
    ]


def _with_squares(values: np.ndarray) -> np.ndarray:
    return np.hstack([values, values**2])
