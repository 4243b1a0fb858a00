"""Families side by side: damage under every attack, norm and unit of ε; clean error beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from lrnb._work import Work
from lrnb.metrics.statistics import MODEL
from lrnb.models import Profile, Recipe, get_profile
from lrnb.models import recipes as recipes_of
from lrnb.studies import beta_sweep, clean, untargeted

CHAPTER = "04_dae_comparison"
COMPARED = ("vae", "ae", "dae_kl", "rae", "rae_gp", "dae_mmd", "dae_swt")


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    shown = frontier(datasets, seeds)
    attacks = [*untargeted.damage_works(recipes_of(datasets, COMPARED, seeds), profile)]
    attacks += untargeted.works(shown, profile)
    return [*attacks, *clean.CLEAN.works(shown, profile)]


def frontier(datasets: Sequence[str], seeds: Sequence[int]) -> list[Recipe]:
    """The families compared, and the VAE over β, which trades clean error for a regular code."""
    found = recipes_of(datasets, COMPARED, seeds)
    for beta in beta_sweep.BETAS:
        found += recipes_of(datasets, ["vae"], seeds, beta=beta) if beta != 1 else []
    return found


def frontier_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Robustness and clean error of each model, one row a recipe.

    Columns: those of `lrnb.studies.clean.table` and of `lrnb.studies.untargeted.areas` in L2.
    """
    recipes = list(recipes)
    areas = untargeted.areas(recipes, get_profile(profile))
    return clean.table(recipes, profile).merge(areas, on=[*MODEL, "seed"])
