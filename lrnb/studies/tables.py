"""Tables that are computed model by model, each part once, and kept in the store."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lrnb import _store
from lrnb._progress import track
from lrnb._provenance import code_hash, version
from lrnb._work import Work, compute
from lrnb.attacks import BALLS, Attack
from lrnb.attacks.problem import Problem
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
from lrnb.models.zoo import model_spec, model_work

Rows = list[dict[str, Any]]
Needs = Callable[..., Iterable[Work]]


def model_of(recipe: Recipe, profile: Profile, **settings: str) -> list[Work]:
    """What most tables are made from: the recipe's model."""
    return [model_work(recipe, profile)]


@dataclass(frozen=True)
class Table:
    """A table of a study, computed and stored model by model.

    ``compute`` is a function of the module level, (recipe, profile, **settings) → rows or tensors;
    ``needs`` names the works that it reads; ``packages`` are those whose versions decide numbers.
    Settings are JSON values, among them "norm", if the table has one.
    """

    name: str
    compute: Callable[..., Any]
    needs: Needs = field(default=model_of, compare=False)
    packages: Sequence[str] = ()

    def rows(
        self, recipes: Iterable[Recipe], profile: str | Profile, **settings: str
    ) -> pd.DataFrame:
        """The rows of all recipes, in their order; what is missing is made, side by side."""
        profile, recipes = get_profile(profile), list(recipes)
        compute(self.works(recipes, profile, **settings), label=self.name)
        parts = [self.get(r, profile, **settings)[1]["rows"] for r in track(recipes, self.name)]
        return pd.DataFrame([row for part in parts for row in part])

    def tensors(self, recipe: Recipe, profile: str | Profile, **settings: str) -> dict[str, Tensor]:
        """The tensors of one recipe, on the CPU."""
        return dict(self.get(recipe, get_profile(profile), **settings)[0])

    def get(self, recipe: Recipe, profile: Profile, **settings: str) -> _store.Artefact:
        """One recipe's part from the store, or made now and stored."""

        def make() -> _store.Artefact:
            made = self.compute(recipe, profile, **settings)
            return (made, {}) if isinstance(made, dict) else ({}, {"rows": made})

        about, spec = self._about(recipe, profile), self.spec(recipe, profile, **settings)
        return _store.get("tables", spec, make, about)

    def works(
        self, recipes: Iterable[Recipe], profile: Profile, **settings: str
    ) -> tuple[Work, ...]:
        """The works that make each recipe's part."""
        return tuple(
            Work(
                "tables",
                self.spec(recipe, profile, **settings),
                about := self._about(recipe, profile),
                partial(self.get, recipe, profile, **settings),
                about["size"],
                tuple(self.needs(recipe, profile, **settings)),
            )
            for recipe in recipes
        )

    def spec(
        self, recipe: Recipe, profile: Profile, *, norm: str = "l2", **settings: str
    ) -> dict[str, Any]:
        """What a recipe's part is made from: its address in the store."""
        size = {k: getattr(profile, k) for k in ("n_test", "n_attack", "steps", "restarts")}
        entries = DATASETS[recipe.dataset], FAMILIES[recipe.family], BALLS[norm], *METRICS.values()
        return {
            "table": self.name,
            "model": model_spec(recipe, profile),
            "size": size | {"eps": eps_grid(recipe.dataset, profile)},
            "settings": settings | {"norm": norm},
            "lpips": "lpips" in self.packages and lpips_is_present(),
            "packages": {name: version(name) for name in self.packages},
            "code": [code_hash(part) for part in (self.compute, *entries)],
        }

    def _about(self, recipe: Recipe, profile: Profile) -> dict[str, Any]:
        """For the cost: the size is how many codes an attack of the profile decodes."""
        decodes = profile.n_attack * profile.eps_count * profile.steps * profile.restarts
        of = {"kind": "table", "what": self.name, "dataset": recipe.dataset}
        return of | {"size": decodes}


def chapters() -> dict[str, Callable[[Sequence[str], Sequence[int], Profile], list[Work]]]:
    """By the name of a chapter, what makes the works that it rests on.

    Each module of this package that has a ``CHAPTER`` has ``works``, a function of data sets, seeds
    and profile.
    """
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])]
    modules = [importlib.import_module(f"lrnb.studies.{name}") for name in names]
    return {module.CHAPTER: module.works for module in modules if hasattr(module, "CHAPTER")}


def identity(recipe: Recipe) -> dict[str, Any]:
    """The columns that name a model in a table; the adversarial ones are 0 where they do not apply."""
    columns = asdict(recipe) | {"latent": latent_size(recipe)}
    if not FAMILIES[recipe.family].adversarial:
        columns |= {"adv_form": "none", "adv_eps": 0.0, "adv_weight": 0.0}
    return {name: columns[name] for name in [*MODEL, "seed"]}


def of_attack(hit: Attack) -> dict[str, Tensor]:
    """What is stored of an attack: what `as_attack` needs."""
    decodes = torch.tensor(hit.decodes)
    return {"radius": hit.eps, "delta": hit.delta, "loss": hit.loss, "decodes": decodes}


def joined(hits: Sequence[Attack]) -> Attack:
    """Attacks with one ε each on the same problem as one attack with all of them."""
    eps, delta, images, loss = (
        torch.cat([getattr(hit, name) for hit in hits])
        for name in ("eps", "delta", "images", "loss")
    )
    decodes = sum(hit.decodes for hit in hits)
    return replace(hits[0], eps=eps, delta=delta, images=images, loss=loss, decodes=decodes)


@torch.no_grad()
def as_attack(found: Mapping[str, Tensor], problem: Problem, norm: str) -> Attack:
    """The attack on a problem that is stored in ``found``."""
    names = ("radius", "delta", "loss")
    eps, delta, loss = (found[name].to(problem.clean) for name in names)
    images = torch.stack([problem.outputs(problem.codes + d) for d in delta])
    decodes, method = int(found["decodes"]), "backtracking"
    return Attack(eps, delta, images, problem.clean, loss, decodes, norm, method, problem)


def attacked_images(dataset: str, profile: str | Profile, seed: int = 0) -> ImageSet:
    """The test images whose codes are attacked: each seed's own, while there are enough."""
    n = get_profile(profile).n_attack
    seen = load_images(dataset, "test", (seed + 1) * n)
    rows = (torch.arange(n) + seed * n) % len(seen)
    factors = None if seen.factors is None else seen.factors[rows]
    return replace(seen, images=seen.images[rows], labels=seen.labels[rows], factors=factors)


def target_of(labels: Tensor) -> Tensor:
    """For each sample the next one, cyclically, with another label, [N] → [N].

    Raises:
        ValueError: all labels are equal.

    >>> target_of(torch.tensor([0, 0, 1]))
    tensor([2, 2, 0])
    """
    if len(labels.unique()) < 2:
        raise ValueError(f"labels must take at least 2 values, got only {labels[:1].tolist()}")
    n = len(labels)
    ahead = (torch.arange(n)[:, None] + torch.arange(1, n)) % n  # [N, N − 1]
    differs = labels[ahead] != labels[:, None]
    return ahead[torch.arange(n), differs.int().argmax(1)]


def attacked_codes(recipe: Recipe, profile: str | Profile) -> tuple[Autoencoder, Tensor]:
    """A recipe's model and its codes, posterior means [N, d], of the images of its seed."""
    model = get_model(recipe, profile)
    images = attacked_images(recipe.dataset, profile, recipe.seed).images
    return model, encode(model, images).mean


def training_posterior(recipe: Recipe, profile: str | Profile, n: int = 10_000) -> Posterior:
    """The posteriors of (at most n of) the images that a model was trained on."""
    n = min(get_profile(profile).n_train or n, n)
    return encode(get_model(recipe, profile), load_images(recipe.dataset, "train", n).images)


def training_statistics(recipe: Recipe, profile: str | Profile) -> CodeStatistics:
    """Spread and active dimensions of a model's training codes."""
    posterior = training_posterior(recipe, profile)
    return code_statistics(posterior.mean, posterior.logvar)
