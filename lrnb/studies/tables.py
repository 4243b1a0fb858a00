"""Tables that are computed model by model, each row once, and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
from torch import Tensor

from lrnb import _store
from lrnb._progress import track
from lrnb._provenance import code_hash, version
from lrnb.attacks import BALLS
from lrnb.data import DATASETS, ImageSet
from lrnb.metrics.density import CodeStatistics, code_statistics
from lrnb.metrics.images import METRICS, lpips_is_present
from lrnb.metrics.statistics import MODEL
from lrnb.models import (
    FAMILIES,
    Autoencoder,
    Posterior,
    Profile,
    Recipe,
    encode,
    eps_grid,
    get_model,
    get_profile,
    latent_size,
    load_images,
)
from lrnb.models.zoo import ensure_trained, model_spec

Rows = list[dict[str, Any]]
PACKAGES = ("lpips", "torchmetrics")


def stored_table(
    name: str,
    recipes: Iterable[Recipe],
    profile: str | Profile,
    compute: Callable[..., Rows],
    *,
    models: Callable[[Recipe], list[Recipe]] = lambda recipe: [recipe],
    packages: Sequence[str] = PACKAGES,
    **settings: str,
) -> pd.DataFrame:
    """A table whose rows are computed model by model; models are trained where rows are missing.

    Args:
        models: all models that the rows of one recipe need.
        compute: a function of the module level, (recipe, profile, **settings) → rows.
        packages: whose versions decide the numbers.
        settings: JSON values, among them "norm", if the table has one.
    """
    profile, recipes = get_profile(profile), list(recipes)
    specs = [table_spec(name, r, profile, compute, packages=packages, **settings) for r in recipes]
    pairs = list(zip(recipes, specs, strict=True))
    missing = [recipe for recipe, spec in pairs if not _store.holds("tables", spec)]
    ensure_trained([needed for recipe in missing for needed in models(recipe)], profile)
    rows: Rows = []
    for recipe, spec in track(pairs, name):
        rows += stored_rows(spec, partial(compute, recipe, profile, **settings))
    return pd.DataFrame(rows)


def table_spec(
    table: str,
    recipe: Recipe,
    profile: Profile,
    compute: Callable[..., Any],
    *,
    packages: Sequence[str] = PACKAGES,
    norm: str = "l2",
    **settings: str,
) -> dict[str, Any]:
    """What a table's rows for one model are made from: their address in the store."""
    size = {k: getattr(profile, k) for k in ("n_test", "n_attack", "steps", "restarts")}
    entries = DATASETS[recipe.dataset], FAMILIES[recipe.family], BALLS[norm], *METRICS.values()
    return {
        "table": table,
        "model": model_spec(recipe, profile),
        "size": size | {"eps": eps_grid(recipe.dataset, profile)},
        "settings": settings | {"norm": norm},
        "lpips": "lpips" in packages and lpips_is_present(),
        "packages": {name: version(name) for name in packages},
        "code": code_hash(compute, *entries),
    }


def stored(spec: dict[str, Any], make: Callable[[], _store.Artefact]) -> _store.Artefact:
    """A table's tensors and record from the store, or made now and stored."""
    dataset = spec["model"]["recipe"]["dataset"]
    about = {"kind": "table", "what": spec["table"], "dataset": dataset}
    return _store.get("tables", spec, make, about)


def stored_rows(spec: dict[str, Any], compute: Callable[[], Rows]) -> Rows:
    """Rows from the store, or computed now and stored."""
    return list(stored(spec, lambda: ({}, {"rows": compute()}))[1]["rows"])


def identity(recipe: Recipe) -> dict[str, Any]:
    """The columns that name a model in a table; the adversarial ones are 0 where they do not apply."""
    columns = asdict(recipe) | {"latent": latent_size(recipe)}
    if not FAMILIES[recipe.family].adversarial:
        columns |= {"adv_form": "none", "adv_eps": 0.0, "adv_weight": 0.0}
    return {name: columns[name] for name in [*MODEL, "seed"]}


def attacked_images(dataset: str, profile: str | Profile) -> ImageSet:
    """The test images whose codes are attacked."""
    return load_images(dataset, "test", get_profile(profile).n_attack)


def attacked_codes(recipe: Recipe, profile: str | Profile) -> tuple[Autoencoder, Tensor]:
    """A recipe's model and its codes, posterior means [N, d], of the attacked images."""
    model = get_model(recipe, profile)
    return model, encode(model, attacked_images(recipe.dataset, profile).images).mean


def training_posterior(recipe: Recipe, profile: str | Profile, n: int = 10_000) -> Posterior:
    """The posteriors of (at most n of) the images that a model was trained on."""
    n = min(get_profile(profile).n_train or n, n)
    return encode(get_model(recipe, profile), load_images(recipe.dataset, "train", n).images)


def training_statistics(recipe: Recipe, profile: str | Profile) -> CodeStatistics:
    """Spread and active dimensions of a model's training codes."""
    return code_statistics(training_posterior(recipe, profile).mean)
