"""Families side by side: differences of robustness, paired over seeds and test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from lrnb import metrics
from lrnb._provenance import code_hash
from lrnb.metrics.statistics import bootstrap_difference, interval
from lrnb.models import Profile, Recipe, get_profile
from lrnb.studies import untargeted
from lrnb.studies.tables import Rows, identity, stored_rows, table_spec

METRICS = ("ssim", "lpips")


def comparison_table(
    recipes: Iterable[Recipe],
    profile: str | Profile,
    *,
    baseline: str = "vae",
    norms: Sequence[str] = ("l2", "linf"),
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
        for norm in norms:
            # the rows of one data set and norm are addressed by the attacks on all its models
            specs = [
                table_spec("untargeted", recipe, profile, untargeted.samples, norm=norm)
                for members in families.values()
                for recipe in members
            ]
            spec = specs[0] | {"table": "comparison", "baseline": baseline, "of": specs}
            spec["code"] = code_hash(_differences)
            rows += stored_rows(spec, partial(_differences, families, profile, baseline, norm))
    return pd.DataFrame(rows)


def _differences(
    families: dict[str, list[Recipe]], profile: Profile, baseline: str, norm: str
) -> Rows:
    rows: Rows = []
    for scale in untargeted.SCALES:
        for metric in METRICS:
            scores = {
                family: np.stack([_areas(r, profile, norm, scale, metric) for r in members])
                for family, members in families.items()
            }
            reference = scores.pop(baseline)
            for family, score in scores.items():
                row = identity(families[family][0]) | {
                    "norm": norm,
                    "scale": scale,
                    "metric": metric,
                }
                del row["seed"]
                mean, low, high = interval((score - reference).mean(1))
                _, boot_low, boot_high = bootstrap_difference(score, reference)
                row |= {"difference": mean, "low": low, "high": high}
                row |= {"boot_low": boot_low, "boot_high": boot_high}
                rows.append(row | {"seeds": score.shape[0], "samples": score.shape[1]})
    return rows


def _areas(recipe: Recipe, profile: Profile, norm: str, scale: str, metric: str) -> np.ndarray:
    """AADDC of each code by itself."""
    found = untargeted.samples(recipe, profile, norm=norm, scale=scale)
    damage = found[f"attack {metric}"]
    if bool(damage.isnan().any()):  # LPIPS without its weights
        return np.full(damage.shape[1], np.nan)
    # (an area has no unit: the radius serves as well as ε in either unit)
    return np.asarray(metrics.aaddc(found["radius"], damage))
