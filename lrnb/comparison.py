"""Families side by side: differences of robustness, paired over seeds and test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from lrnb.experiments import Profile, Recipe, get_profile
from lrnb.intervals import bootstrap_difference, interval
from lrnb.robustness import SCALES, identity_of, untargeted_samples

NORMS = ("l2", "linf")


def areas(eps: Tensor, damage: Tensor) -> Tensor:
    """AADDC of each code by itself (`lrnb.metrics.aaddc`), [E] and [E, N] → [N].

    Their mean is the AADDC of the mean curve as long as no damage passes 1.

    >>> areas(torch.tensor([0.5, 1.0]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    x = functional.pad(eps.double(), (1, 0))
    y = functional.pad(damage.double().clamp(0, 1), (0, 0, 1, 0))
    return 1 - torch.trapezoid(y, x, dim=0) / x[-1]


def comparison_table(
    recipes: Iterable[Recipe],
    profile: str | Profile,
    *,
    baseline: str = "vae",
    norms: Sequence[str] = NORMS,
    metrics: Sequence[str] = ("ssim", "lpips"),
) -> pd.DataFrame:
    """AADDC of each family minus that of a baseline, with the same seeds and test images.

    Positive: more robust than the baseline. Columns: those of the model but the seed, norm, scale,
    metric; difference (mean over seeds and images), low and high (95%, Student's t over seeds, NaN
    for one seed), boot_low and boot_high (95%, bootstrap over seeds and images), seeds, samples.

    Args:
        recipes: several families, each with the same seeds.
        profile: name or `Profile`.
        baseline: the family that the others are compared with.

    Raises:
        ValueError: a family lacks a seed that the baseline has, or the other way about.
    """
    profile = get_profile(profile)
    by_model: dict[str, dict[str, list[Recipe]]] = {}
    for recipe in recipes:
        by_model.setdefault(recipe.dataset, {}).setdefault(recipe.family, []).append(recipe)
    rows: list[dict[str, Any]] = []
    for families in by_model.values():
        seeds = {family: [r.seed for r in members] for family, members in families.items()}
        if baseline not in seeds or any(s != seeds[baseline] for s in seeds.values()):
            raise ValueError(f"recipes have the seeds {seeds}; those of {baseline} are accepted")
        for norm in norms:
            for scale in SCALES:
                for metric in metrics:
                    scores = {
                        family: np.stack(
                            [_areas_of(r, profile, norm, scale, metric) for r in members]
                        )
                        for family, members in families.items()
                    }
                    reference = scores.pop(baseline)
                    for family, score in scores.items():
                        about = identity_of(families[family][0])
                        del about["seed"]
                        about |= {"norm": norm, "scale": scale, "metric": metric}
                        rows.append(about | _difference(score, reference))
    return pd.DataFrame(rows)


def _difference(score: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    mean, low, high = interval((score - reference).mean(1))
    _, boot_low, boot_high = bootstrap_difference(score, reference)
    seeds, samples = score.shape
    return {
        "difference": mean, "low": low, "high": high, "boot_low": boot_low, "boot_high": boot_high,
        "seeds": seeds, "samples": samples,
    }  # fmt: skip


def _areas_of(recipe: Recipe, profile: Profile, norm: str, scale: str, metric: str) -> np.ndarray:
    found = untargeted_samples(recipe, profile, norm=norm, scale=scale)
    # (an area has no unit: the radius does as well as ε in whichever unit)
    values: np.ndarray = areas(found["radius"], found[f"attack {metric}"]).numpy()
    return values
