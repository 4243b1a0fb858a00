"""The model zoo: recipes, and load-or-train of one model or of many side by side."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import torch

from lrnb import _store
from lrnb._progress import track
from lrnb._provenance import code_hash, cores
from lrnb._validation import check_integer, check_name
from lrnb.attacks import BALLS
from lrnb.data import DATASETS, ImageSet, data_root, fingerprint, load_data
from lrnb.models.autoencoder import Autoencoder
from lrnb.models.families import FAMILIES
from lrnb.models.fused import fused
from lrnb.models.profiles import Profile, get_profile
from lrnb.models.training import ADVERSARIAL_FORMS, History, TrainingSettings, train

_VALIDATION_IMAGES = 256
_MIN_IMAGES_FOR_WORKERS = 20_000  # a process trains on about so many while another one starts
_PASSED_ON = ("LRNB_HOME", "LRNB_DATA", "LRNB_PROGRESS")


@dataclass(frozen=True)
class Recipe:
    """Which model: everything about it but its size, which is the profile's.

    Attributes:
        dataset, family: names in `lrnb.data.DATASETS` and `lrnb.models.FAMILIES`.
        beta, seed, adv_eps, adv_form, adv_weight: as of `lrnb.models.training.TrainingSettings`;
            the last three count for an adversarial family only.
        latent: d, the size of the code; None for the data set's own.

    >>> Recipe(dataset="mnist", family="vea")
    Traceback (most recent call last):
    lrnb._validation.UnknownName: family must be one of ae, vae, tcvae, ..., got 'vea'; ...
    """

    dataset: str
    family: str = "vae"
    beta: float = 1.0
    seed: int = 0
    adv_eps: float = 0.5
    adv_form: str = "trades"
    adv_weight: float = 1.0
    latent: int | None = None

    def __post_init__(self) -> None:
        if self.latent is not None:
            check_integer("latent", self.latent, 1)
        check_name("dataset", self.dataset, DATASETS)
        check_name("family", self.family, FAMILIES)
        check_name("adv_form", self.adv_form, ADVERSARIAL_FORMS)
        check_integer("seed", self.seed, 0)
        for argument in ("beta", "adv_eps", "adv_weight"):
            given = getattr(self, argument)
            if not 0 <= given < math.inf or (argument == "adv_eps" and given == 0):
                minimum = "> 0" if argument == "adv_eps" else "≥ 0"
                raise ValueError(f"{argument} must be a finite number {minimum}, got {given!r}")

    def __str__(self) -> str:
        details = f" β={self.beta:g}" if self.beta != 1 else ""
        if FAMILIES[self.family].adversarial:
            details += f" ({self.adv_form}, ε={self.adv_eps:g})"
        return f"{self.family}{details} on {self.dataset}, seed {self.seed}"


def recipes(
    datasets: Iterable[str], families: Iterable[str], seeds: Iterable[int], **fields: Any
) -> list[Recipe]:
    """A recipe for each data set, family and seed, in this order; ``fields`` are those of all.

    >>> [str(recipe) for recipe in recipes(["digits"], ["ae", "vae"], [0])]
    ['ae on digits, seed 0', 'vae on digits, seed 0']
    """
    families, seeds = list(families), list(seeds)
    return [Recipe(d, f, seed=s, **fields) for d in datasets for f in families for s in seeds]


def latent_size(recipe: Recipe) -> int:
    """d, the size of the code of a recipe's model.

    >>> latent_size(Recipe("celeba")), latent_size(Recipe("celeba", latent=2))
    (64, 2)
    """
    return recipe.latent or DATASETS[recipe.dataset].latent


def get_model(
    recipe: Recipe, profile: str | Profile = "quick", *, device: str | torch.device | None = None
) -> Autoencoder:
    """The trained model of a recipe: loaded from the store, or trained now and stored.

    An interrupted training goes on from its last epoch. Two processes that ask for the same model
    train it once. By default the device is the GPU if there is one. The model returned is in
    evaluation mode, fused for inference, its weights frozen.

    Raises:
        MissingData: the data set is not there.
    """
    return _get(recipe, profile, device)[0]


def get_history(recipe: Recipe, profile: str | Profile = "quick") -> History:
    """The training history of a recipe's model (`lrnb.models.training.train`)."""
    return _get(recipe, profile, None)[1]


def train_all(
    recipes: Iterable[Recipe], profile: str | Profile = "quick", *, jobs: int | None = None
) -> list[Autoencoder]:
    """The models of many recipes, in their order; those not in the store are trained side by side.

    ``jobs`` is the number of processes, through joblib; by default one per core, and one on a GPU
    or where starting processes would take longer than the training. Another joblib backend (``with
    joblib.parallel_config(backend=…, n_jobs=…)``) can carry them to other machines that share the
    store's folder.
    """
    recipes = list(recipes)
    ensure_trained(recipes, profile, jobs=jobs)
    return [get_model(recipe, profile) for recipe in recipes]


def ensure_trained(
    recipes: Iterable[Recipe], profile: str | Profile = "quick", *, jobs: int | None = None
) -> None:
    """Train the models that the store does not hold, as `train_all`; load none of the others."""
    size = get_profile(profile)
    missing = [r for r in recipes if not _store.holds("models", model_spec(r, size))]
    if jobs is None:
        configured = joblib.effective_n_jobs(None)
        images = math.inf if size.n_train is None else len(missing) * size.n_train * size.epochs
        one = torch.cuda.is_available() or images < _MIN_IMAGES_FOR_WORKERS
        jobs = configured if configured > 1 else 1 if one else cores()
    check_integer("jobs", jobs, 1)
    if jobs == 1 or len(missing) <= 1:
        for recipe in track(missing, "models"):
            get_model(recipe, profile)
        return
    parallel = joblib.Parallel(n_jobs=min(jobs, len(missing)), return_as="generator_unordered")
    passed_on = {name: os.environ.get(name) for name in _PASSED_ON}
    work = (joblib.delayed(_train_only)(recipe, profile, passed_on) for recipe in missing)
    with warnings.catch_warnings():  # a process that ran out of memory is replaced
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        for _ in track(parallel(work), "models", total=len(missing)):
            pass


def model_spec(recipe: Recipe, profile: str | Profile) -> dict[str, Any]:
    """What a model is made from, as JSON values: its address in the store."""
    profile, family = get_profile(profile), FAMILIES[recipe.family]
    names = ["dataset", "family", "beta", "seed"]
    names += ["adv_eps", "adv_form", "adv_weight"] * family.adversarial
    sizes = ["n_train", "epochs", "batch_size", "learning_rate", "width"]
    sizes += ["adv_steps"] * family.adversarial
    size = {name: getattr(profile, name) for name in sizes}
    entries = [family, DATASETS[recipe.dataset]] + [BALLS["l2"]] * family.adversarial
    return {
        "recipe": {name: getattr(recipe, name) for name in names},
        "size": size | {"latent": latent_size(recipe)},
        "data": _fingerprint(recipe.dataset, data_root()),
        "code": code_hash(_train, new_model, *entries),
    }


@functools.lru_cache(maxsize=8)
def _fingerprint(dataset: str, root: Path) -> str:
    return fingerprint(dataset)


@functools.lru_cache(maxsize=4)
def load_images(dataset: str, split: str, n: int | None) -> ImageSet:
    """`lrnb.load_data`, kept in memory: the same tensors each time, not to be written to."""
    return load_data(dataset, split, n)


def new_model(recipe: Recipe, profile: str | Profile) -> Autoencoder:
    """The untrained model of a recipe, its weights drawn from the recipe's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return Autoencoder(
            image_shape=DATASETS[recipe.dataset].image_shape,
            latent=latent_size(recipe),
            width=get_profile(profile).width,
            stochastic=FAMILIES[recipe.family].stochastic,
        )


def _get(
    recipe: Recipe, profile: str | Profile, device: str | torch.device | None
) -> tuple[Autoencoder, History]:
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    spec, model = model_spec(recipe, profile), new_model(recipe, profile).to(device)
    # (a checkpoint goes on only on its own kind of device, whose random numbers are its own)
    unfinished = spec | {"device": device.type}

    def make() -> _store.Artefact:
        history = _train(recipe, get_profile(profile), model, _store.partial(unfinished))
        return model.state_dict(), {"history": history}

    about = {"kind": "model", "what": recipe.family, "dataset": recipe.dataset}
    weights, record = _store.get("models", spec, make, about)
    _store.discard_partial(unfinished)
    model.load_state_dict(weights)
    return fused(model), record["history"]


def _train(recipe: Recipe, profile: Profile, model: Autoencoder, unfinished: Path) -> History:
    shared = {name: value for name, value in asdict(recipe).items() if name not in _NOT_SETTINGS}
    sizes = ("epochs", "batch_size", "learning_rate", "adv_steps")
    settings = TrainingSettings(**shared, **{name: getattr(profile, name) for name in sizes})
    with _reproducibly():
        return train(
            model,
            load_images(recipe.dataset, "train", profile.n_train).images,
            settings,
            validation=load_images(recipe.dataset, "test", _VALIDATION_IMAGES).images,
            checkpoint=unfinished / "checkpoint.safetensors",
            label=f"training {recipe}",
        )


_NOT_SETTINGS = ("dataset", "latent")


@contextlib.contextmanager
def _reproducibly() -> Generator[None, None, None]:
    """The same numbers on any number of cores, and again on the same GPU."""
    # sums over several threads round differently; models trained side by side use the cores better
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic


def _train_only(recipe: Recipe, profile: str | Profile, passed_on: dict[str, str | None]) -> None:
    # a worker process that is used again still has the environment it was started with
    for name, value in passed_on.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    get_model(recipe, profile)
