"""Where adversarial codes lie: whether apart from clean ones, and along which dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from lrnb import provenance
from lrnb.balls import random_on_sphere
from lrnb.experiments import Profile, Recipe, get_model, get_profile
from lrnb.progress import track
from lrnb.robustness import (
    KINDS,
    ROOMS,
    Rows,
    attacked_images,
    encode,
    identity_of,
    stored_rows,
    table_spec,
    untargeted_samples,
)


def told_apart(clean: Tensor, moved: Tensor) -> float:
    """How often a code's nearest neighbour is of its own kind, clean or moved; ½ if by chance.

    The nearest-neighbour two-sample test (Schilling 1986; Henze 1988). The other half of a code's
    own pair is left out, else a short move would always be found by its origin.

    Args:
        clean, moved: [N, d], paired; N ≥ 2.

    >>> points = torch.tensor([[0.0], [1.0], [2.0]])
    >>> told_apart(points, points + 100)
    1.0
    """
    n = len(clean)
    if clean.shape != moved.shape or n < 2:
        raise ValueError(
            f"clean and moved have shapes {tuple(clean.shape)} and {tuple(moved.shape)}; "
            "two equal ones [N, d] with N ≥ 2 are accepted"
        )
    both = torch.cat([clean, moved]).double()
    apart = torch.cdist(both, both)
    i = torch.arange(2 * n, device=both.device)
    apart[i, i] = apart[i, (i + n) % (2 * n)] = torch.inf
    of_clean = i < n
    return float((of_clean[apart.argmin(1)] == of_clean).double().mean())


def top_share(delta: Tensor, *, share: float = 0.25) -> float:
    """Part of ‖δ‖² that the dimensions with most of it carry, over all codes together.

    Args:
        delta: [N, d].
        share: of the dimensions, rounded up to whole ones.

    >>> top_share(torch.ones(5, 8)), top_share(torch.eye(4)[[0, 0, 0]])
    (0.25, 1.0)
    """
    energy = delta.double().square().mean(0).sort(descending=True).values
    count = -int(-len(energy) * share // 1)
    return float(energy[:count].sum() / energy.sum())


def shift_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How the untargeted attack (L2, raw ε) moves codes, at each ε, beside noise of its norm.

    Columns: those of the model, eps, kind ("attack" or "noise"), told_apart (`told_apart`),
    top_share (`top_share`; an even spread over d dimensions gives ¼).
    """
    profile = get_profile(profile)
    rows: Rows = []
    for recipe in track(list(recipes), "shifted codes"):
        spec = table_spec("shift", recipe, profile)
        spec |= {"code": provenance.code_fingerprint(*ROOMS, "shift")}
        rows += stored_rows(spec, partial(_shift_rows, recipe, profile))
    return pd.DataFrame(rows)


def _shift_rows(recipe: Recipe, profile: Profile) -> Rows:
    found = untargeted_samples(recipe, profile)
    images = attacked_images(recipe.dataset, profile).images
    codes = encode(get_model(recipe, profile), images).cpu()
    generator = torch.Generator().manual_seed(0)
    unit = random_on_sphere(found["delta"].shape, norm="l2", generator=generator)
    moves = dict(zip(KINDS, (found["delta"], found["radius"][:, None, None] * unit), strict=True))
    return [
        identity_of(recipe)
        | {
            "eps": float(eps),
            "kind": kind,
            "told_apart": told_apart(codes, codes + delta[e]),
            "top_share": top_share(delta[e]),
        }
        for kind, delta in moves.items()
        for e, eps in enumerate(found["radius"])
    ]
