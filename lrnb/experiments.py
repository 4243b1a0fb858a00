"""Which models there are and how big a run is: recipes, profiles, and load-or-train."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import torch

from lrnb import checks, store
from lrnb.data import DATASETS, ImageSet, fingerprint, load_data
from lrnb.folding import folded
from lrnb.models import Autoencoder
from lrnb.objectives import FAMILIES, STOCHASTIC
from lrnb.progress import track
from lrnb.provenance import code_fingerprint
from lrnb.training import ADVERSARIAL_FORMS, History, TrainingSettings, train


@dataclass(frozen=True)
class Recipe:
    """Which model: everything about it but its size, which is the profile's.

    Attributes:
        dataset: one of `lrnb.data.DATASETS`.
        family: "ae", "vae", "tcvae", "dae_kl", "dae_mmd", "dae_swt" or "vae_adv".
        beta: weight of the regulariser, 1 being the family's standard.
        seed: of the training.
        adv_eps, adv_form, adv_weight: of the latent attack during training, for "vae_adv" only
            (`lrnb.training.TrainingSettings`).
        latent: d, the size of the code; None for the data set's own, `LATENT`.

    >>> Recipe(dataset="mnist", family="vea")
    Traceback (most recent call last):
    lrnb.checks.UnknownName: family='vea' is not known; accepted: ae, vae, tcvae, dae_kl, dae_mmd, dae_swt, vae_adv. Did you mean 'vae'?
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
            checks.at_least("latent", self.latent, 1)
        checks.one_of("dataset", self.dataset, DATASETS)
        checks.one_of("family", self.family, FAMILIES)
        checks.one_of("adv_form", self.adv_form, ADVERSARIAL_FORMS)
        checks.at_least("seed", self.seed, 0)
        for argument in ("beta", "adv_eps", "adv_weight"):
            given = getattr(self, argument)
            if not 0 <= given < float("inf") or (argument == "adv_eps" and given == 0):
                least = "> 0" if argument == "adv_eps" else "≥ 0"
                raise ValueError(
                    f"{argument}={given!r} is not accepted: a finite number {least} is"
                )

    def __str__(self) -> str:
        told = f" β={self.beta:g}" if self.beta != 1 else ""
        if self.family == "vae_adv":
            told += f" ({self.adv_form}, ε={self.adv_eps:g})"
        return f"{self.family}{told} on {self.dataset}, seed {self.seed}"


@dataclass(frozen=True)
class Profile:
    """How big a run is.

    Attributes:
        name: of the profile.
        datasets, seeds: what a chapter runs on unless told otherwise.
        n_train: training images, None for all; `n_test`: test images that are looked at.
        epochs, batch_size, learning_rate: of the training; `width`: channels of the first layer.
        n_attack: test codes that are attacked.
        eps_count: number of ε on the grid; `steps` and `restarts`: of the attack.
        adv_steps: gradient steps of the attack within an adversarial training.
        decides: whether a run of this size is large enough for verdicts.
    """

    name: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    n_train: int | None
    n_test: int
    epochs: int
    batch_size: int
    learning_rate: float
    width: int
    n_attack: int
    eps_count: int
    steps: int
    restarts: int
    adv_steps: int = 5
    decides: bool = True

    def __post_init__(self) -> None:
        for dataset in self.datasets:
            checks.one_of("datasets", dataset, DATASETS)
        counts = ("n_test", "epochs", "width", "n_attack", "eps_count", "steps", "restarts")
        for argument in (*counts, "adv_steps"):
            checks.at_least(argument, getattr(self, argument), 1)
        checks.at_least("batch_size", self.batch_size, 3)
        if self.n_train is not None:
            checks.at_least("n_train", self.n_train, 3)


_QUICK = Profile(
    "quick", ("digits", "shapes"), (0,), n_train=512, n_test=256, epochs=8, batch_size=16,
    learning_rate=3e-3, width=12, n_attack=24, eps_count=8, steps=10, restarts=4,
    adv_steps=2, decides=False,
)  # fmt: skip
_REAL = ("mnist", "fashion_mnist", "celeba")
PROFILES = {
    "smoke": replace(
        _QUICK, name="smoke", n_train=256, n_test=64, epochs=2, width=8, n_attack=8,
        eps_count=4, steps=4, restarts=2,
    ),
    "quick": _QUICK,
    "standard": replace(
        _QUICK, name="standard", datasets=_REAL, seeds=(0, 1, 2), n_train=5000, n_test=1000,
        epochs=10, batch_size=32, learning_rate=2e-3, width=16, n_attack=64, steps=12, restarts=8,
        decides=True,
    ),
    "paper": Profile(
        "paper", _REAL, (0, 1, 2), n_train=None, n_test=10_000, epochs=50, batch_size=128,
        learning_rate=1e-3, width=32, n_attack=1000, eps_count=16, steps=40, restarts=20,
    ),
}  # fmt: skip

_VALIDATION_IMAGES = 256
_WORTH_A_PROCESS = 20_000  # images to pass: a process trains about so many while another starts
_PLACES = ("LRNB_HOME", "LRNB_DATA", "LRNB_PROGRESS")

# the paper attacks with ε up to 1 on MNIST and FashionMNIST and up to 2 on CelebA
EPS_MAX = {"digits": 1.0, "shapes": 1.0, "mnist": 1.0, "fashion_mnist": 1.0, "celeba": 2.0}
LATENT = {"digits": 16, "shapes": 10, "mnist": 16, "fashion_mnist": 16, "celeba": 64}

# the modules on which the outcome of an attack depends
ATTACK_CODE = ("attacks", "balls", "jacobian", "steprules")


def get_profile(profile: str | Profile) -> Profile:
    """The profile of a name; a `Profile` is passed through.

    >>> get_profile("quick").datasets
    ('digits', 'shapes')
    """
    if isinstance(profile, Profile):
        return profile
    return PROFILES[checks.one_of("profile", profile, PROFILES)]


def eps_grid(dataset: str, profile: str | Profile) -> list[float]:
    """The ε of a damage curve, evenly spaced up to the paper's largest, without 0.

    >>> eps_grid("mnist", "smoke")
    [0.25, 0.5, 0.75, 1.0]
    """
    count = get_profile(profile).eps_count
    return [EPS_MAX[dataset] * (i + 1) / count for i in range(count)]


def latent_of(recipe: Recipe) -> int:
    """d, the size of the code of a recipe's model.

    >>> latent_of(Recipe("celeba")), latent_of(Recipe("celeba", latent=2))
    (64, 2)
    """
    return recipe.latent or LATENT[recipe.dataset]


def get_model(
    recipe: Recipe, profile: str | Profile = "quick", *, device: str | torch.device | None = None
) -> Autoencoder:
    """The trained model of a recipe: loaded from the store, or trained now and stored.

    A training that was interrupted goes on from its last epoch. Two processes that ask for the
    same model train it once.

    Args:
        recipe: which model.
        profile: name or `Profile`.
        device: where it is trained and returned; by default the GPU if there is one.

    Returns:
        The model for evaluation, its weights frozen (`lrnb.folding.folded`).

    Raises:
        MissingData: the data set is not there.
    """
    return _get(recipe, profile, device)[0]


def get_history(recipe: Recipe, profile: str | Profile = "quick") -> History:
    """The training history of a recipe's model (`lrnb.training.train`), trained now if need be."""
    return _get(recipe, profile, None)[1]


def train_all(
    recipes: Iterable[Recipe], profile: str | Profile = "quick", *, jobs: int | None = None
) -> list[Autoencoder]:
    """The models of many recipes, in their order; those not in the store are trained side by side.

    Args:
        recipes: which models.
        profile: name or `Profile`.
        jobs: processes at once, through joblib; by default one per core, and one alone on a GPU
            or where so little is to be trained that starting others would take longer.
            Another joblib backend (``with joblib.parallel_config(backend=…, n_jobs=…)``) can carry
            them to other machines that share the store's folder.
    """
    recipes, size = list(recipes), get_profile(profile)
    missing = [r for r in recipes if not store.holds("models", spec_of(r, size))]
    if jobs is None:
        configured = joblib.effective_n_jobs(None)
        passes = math.inf if size.n_train is None else len(missing) * size.n_train * size.epochs
        alone = torch.cuda.is_available() or passes < _WORTH_A_PROCESS
        jobs = configured if configured > 1 else 1 if alone else joblib.cpu_count()
    checks.at_least("jobs", jobs, 1)
    if jobs > 1 and len(missing) > 1:
        parallel = joblib.Parallel(n_jobs=min(jobs, len(missing)), return_as="generator_unordered")
        places = {name: os.environ.get(name) for name in _PLACES}
        work = (joblib.delayed(_train_only)(recipe, profile, places) for recipe in missing)
        with warnings.catch_warnings():  # a process that stopped, for want of memory, is replaced
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            for _ in track(parallel(work), "models trained", total=len(missing)):
                pass
    return [get_model(recipe, profile) for recipe in recipes]


def spec_of(recipe: Recipe, profile: str | Profile) -> dict[str, Any]:
    """What a model is made from, as JSON values: the address of its artefact in the store."""
    profile = get_profile(profile)
    rooms = ["data", "models", "objectives", "training"]
    made_by = asdict(recipe)
    if recipe.family == "vae_adv":
        rooms += ATTACK_CODE
    else:
        del made_by["adv_eps"], made_by["adv_form"], made_by["adv_weight"]
    del made_by["latent"]
    sizes = ["n_train", "epochs", "batch_size", "learning_rate", "width"]
    sizes += ["adv_steps"] * (recipe.family == "vae_adv")
    size = {name: getattr(profile, name) for name in sizes}
    return {
        "recipe": made_by,
        "size": size | {"latent": latent_of(recipe)},
        "data": fingerprint(recipe.dataset),
        "code": code_fingerprint(*rooms),
    }


@functools.lru_cache(maxsize=4)
def data_of(dataset: str, split: str, n: int | None) -> ImageSet:
    """`lrnb.data.load_data`, kept in memory: the same tensors each time, not to be written to."""
    return load_data(dataset, split, n)


def new_model(recipe: Recipe, profile: str | Profile) -> Autoencoder:
    """The untrained model of a recipe, its weights drawn from the recipe's seed."""
    side, channels = (64, 3) if recipe.dataset == "celeba" else (32, 1)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return Autoencoder(
            image_shape=(channels, side, side),
            latent=latent_of(recipe),
            width=get_profile(profile).width,
            stochastic=recipe.family in STOCHASTIC,
        )


def _get(
    recipe: Recipe, profile: str | Profile, device: str | torch.device | None
) -> tuple[Autoencoder, History]:
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    spec, model = spec_of(recipe, profile), new_model(recipe, profile).to(device)
    # (a checkpoint goes on only on its own kind of device, whose noise is its own)
    unfinished = spec | {"device": device.type}

    def make() -> store.Artefact:
        history = _train(recipe, get_profile(profile), model, store.partial(unfinished))
        return model.state_dict(), {"history": history}

    weights, record = store.get("models", spec, make)
    store.discard_partial(unfinished)
    model.load_state_dict(weights)
    return folded(model), record["history"]


def _train(recipe: Recipe, profile: Profile, model: Autoencoder, unfinished: Path) -> History:
    settings = TrainingSettings(
        family=recipe.family,
        beta=recipe.beta,
        epochs=profile.epochs,
        batch_size=profile.batch_size,
        learning_rate=profile.learning_rate,
        seed=recipe.seed,
        adv_eps=recipe.adv_eps,
        adv_form=recipe.adv_form,
        adv_weight=recipe.adv_weight,
        adv_steps=profile.adv_steps,
    )
    with _reproducibly():
        return train(
            model,
            data_of(recipe.dataset, "train", profile.n_train).images,
            settings,
            validation=data_of(recipe.dataset, "test", _VALIDATION_IMAGES).images,
            checkpoint=unfinished / "checkpoint.safetensors",
            label=f"training {recipe}",
        )


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


def _train_only(recipe: Recipe, profile: str | Profile, places: dict[str, str | None]) -> None:
    # a worker that is used again still has the environment it was born with
    for name, place in places.items():
        if place is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = place
    get_model(recipe, profile)
