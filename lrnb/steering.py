"""What the targeted attack is more than: a straight step towards the target's own code."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch

from lrnb import metrics
from lrnb.balls import length, over
from lrnb.experiments import Profile, Recipe, eps_grid, get_model
from lrnb.robustness import (
    Rows,
    attacked_images,
    encode,
    identity_of,
    stored_table,
    target_of,
)


def straight_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Distance to the target over ε after a straight step towards the target's own code (L2).

    The pairs are those of `lrnb.robustness.targeted_table`. The step is min(ε, ‖z_target −
    z_source‖) long: whoever has the target's code and takes no heed of the decoder would take it.

    Columns: those of the model, eps, relative (median over pairs of
    `lrnb.metrics.relative_distance` in squared error), pairs (for which it is defined).
    """
    return stored_table(
        "straight", recipes, profile, _straight_rows, label="straight steps", rooms=["steering"]
    )


def _straight_rows(recipe: Recipe, profile: Profile) -> Rows:
    model, test = get_model(recipe, profile), attacked_images(recipe.dataset, profile)
    codes, partner = encode(model, test.images), target_of(test.labels)
    target = test.images[partner].to(codes.device)
    way = codes[partner] - codes
    whole = length(way, "l2").clamp_min(torch.finfo(way.dtype).tiny)
    rows = []
    with torch.no_grad():
        clean = model.decode(codes)
        start, floor = metrics.mse(clean, target), metrics.mse(clean[partner], target)
        for eps in eps_grid(recipe.dataset, profile):
            share = (eps / whole).clamp_max(1)
            reached = metrics.mse(model.decode(codes + over(share, way) * way), target)
            relative = metrics.relative_distance(reached, start, floor)
            rows.append(
                identity_of(recipe)
                | {"eps": eps, "relative": float(relative.nanmedian())}
                | {"pairs": int(relative.isfinite().sum())}
            )
    return rows
