"""Families side by side: differences of robustness, paired over seeds and test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import pandas as pd

from lrnb import metrics
from lrnb._work import Work, compute
from lrnb.metrics.statistics import bootstrap_difference, interval
from lrnb.models import Profile, Recipe, get_profile
from lrnb.models import recipes as recipes_of
from lrnb.studies import clean, untargeted
from lrnb.studies.tables import Rows, identity

CHAPTER = "04_dae_comparison"
COMPARED = ("vae", "ae", "dae_kl", "dae_mmd", "dae_swt")
NORMS = ("l2", "linf")
METRICS = ("ssim", "lpips")


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    chosen = recipes_of(datasets, COMPARED, seeds)
    found = [work for norm in NORMS for work in untargeted.works(chosen, profile, norm=norm)]
    return [*found, *clean.CLEAN.works(chosen, profile)]


def comparison_table(
    recipes: Iterable[Recipe],
    profile: str | Profile,
    *,
    baseline: str = "vae",
    norms: Sequence[str] = NORMS,
) -> pd.DataFrame:
    """AADDC of each family minus that of a baseline, with the same seeds and test images.

    Positive: more robust than the baseline. Columns: those of the model but the seed, norm, scale,
    metric; difference (mean over seeds and images), low and high (95%, Student's t over seeds, NaN
    for one seed), boot_low and boot_high (95%, bootstrap over seeds and images), seeds, samples.

    Args:
        recipes: several families, each with the same seeds.
        baseline: the family that the others are compared with.

    Raises:
        ValueError: a family lacks a seed that the baseline has, or vice versa.
    """
    profile = get_profile(profile)
    by_dataset: dict[str, dict[str, list[Recipe]]] = {}
    for recipe in recipes:
        by_dataset.setdefault(recipe.dataset, {}).setdefault(recipe.family, []).append(recipe)
    rows: Rows = []
    for families in by_dataset.values():
        seeds = {family: [r.seed for r in members] for family, members in families.items()}
        if baseline not in seeds or any(s != seeds[baseline] for s in seeds.values()):
            raise ValueError(
                f"recipes must have the seeds of {baseline} in each family, got {seeds}"
            )
        members = [recipe for of_family in families.values() for recipe in of_family]
        for norm in norms:
            compute(untargeted.works(members, profile, norm=norm), label="untargeted attacks")
        for norm, scale, metric in product(norms, untargeted.SCALES, METRICS):
            scores = {
                family: np.stack([_areas(r, profile, norm, scale, metric) for r in of_family])
                for family, of_family in families.items()
            }
            reference = scores.pop(baseline)
            for family, score in scores.items():
                row = identity(families[family][0])
                del row["seed"]
                mean, low, high = interval((score - reference).mean(1))
                _, boot_low, boot_high = bootstrap_difference(score, reference)
                row |= {"norm": norm, "scale": scale, "metric": metric}
                row |= {"difference": mean, "low": low, "high": high}
                row |= {"boot_low": boot_low, "boot_high": boot_high}
                rows.append(row | {"seeds": score.shape[0], "samples": score.shape[1]})
    return pd.DataFrame(rows)


def _areas(recipe: Recipe, profile: Profile, norm: str, scale: str, metric: str) -> np.ndarray:
    """AADDC of each code by itself."""
    found = untargeted.samples(recipe, profile, norm=norm, scale=scale)
    damage = found[f"attack {metric}"]
    if bool(damage.isnan().any()):  # LPIPS without its weights
        return np.full(damage.shape[1], np.nan)
    # (an area has no unit: the radius serves as well as ε in either unit)
    return np.asarray(metrics.aaddc(found["radius"], damage))
