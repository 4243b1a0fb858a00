"""The model zoo: recipes, and load-or-train of one model or of many side by side."""

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrnb import _store, _work
from lrnb._provenance import code_hash
from lrnb._validation import check_integer, check_name, check_number
from lrnb.attacks import BALLS
from lrnb.data import DATASETS, ImageSet, data_root, fingerprint, load_data
from lrnb.models.autoencoder import Autoencoder, fused
from lrnb.models.families import FAMILIES
from lrnb.models.profiles import Profile, get_profile
from lrnb.models.training import ADVERSARIAL_FORMS, History, TrainingSettings, train

_VALIDATION_IMAGES = 256
_ALL_IMAGES = 60_000  # about as many as a data set has
# (each file is looked at once for each folder of data)
data_fingerprint = functools.cache(lambda dataset, root: fingerprint(dataset))


@dataclass(frozen=True)
class Recipe:
    """Which model: everything about it but its size, which is the profile's.

    ``beta``, ``seed`` and, for an adversarial family, ``adv_…`` are as of
    `lrnb.models.training.TrainingSettings`; ``latent`` is d, None for the data set's own.

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
        check_integer("latent", 1 if self.latent is None else self.latent, 1)
        check_name("dataset", self.dataset, DATASETS)
        check_name("family", self.family, FAMILIES)
        check_name("adv_form", self.adv_form, ADVERSARIAL_FORMS)
        object.__setattr__(self, "seed", check_integer("seed", self.seed, 0))
        for name in ("beta", "adv_eps", "adv_weight"):  # (1 and 1.0 are one model)
            number = check_number(name, getattr(self, name), 0, above=name == "adv_eps")
            object.__setattr__(self, name, number)

    def __str__(self) -> str:
        details = f" β={self.beta:g}" if self.beta != 1 else ""
        if FAMILIES[self.family].adversarial:
            details += f" ({self.adv_form}, ε={self.adv_eps:g})"
        return f"{self.family}{details} on {self.dataset}, seed {self.seed}"


def recipes(
    datasets: Iterable[str], families: Iterable[str], seeds: Iterable[int], **fields: Any
) -> list[Recipe]:
    """A recipe for each data set, family and seed, in this order; ``fields`` are those of all."""
    of_each = itertools.product(datasets, families, seeds)
    return [Recipe(dataset, family, seed=seed, **fields) for dataset, family, seed in of_each]


def latent_size(recipe: Recipe) -> int:
    """d, the size of the code of a recipe's model."""
    return recipe.latent or DATASETS[recipe.dataset].latent


def get_model(
    recipe: Recipe, profile: str | Profile = "quick", *, device: str | torch.device | None = None
) -> Autoencoder:
    """The trained model of a recipe: loaded from the store, or trained now and stored.

    An interrupted training goes on from its last epoch. Two processes that ask for the same model
    train it once. By default the device is the GPU if there is one. The model returned is in
    evaluation mode, fused for inference, its weights frozen. Raises MissingData.
    """
    return _get(recipe, profile, device)[0]


def get_history(recipe: Recipe, profile: str | Profile = "quick") -> History:
    """The training history of a recipe's model (`lrnb.models.training.train`)."""
    return _get(recipe, profile)[1]


def train_all(
    recipes: Iterable[Recipe], profile: str | Profile = "quick", *, jobs: int | None = None
) -> list[Autoencoder]:
    """The models of many recipes, in their order; those not in the store are trained side by side.

    ``jobs`` is the number of processes; by default one per core or GPU, and one where starting
    processes would take longer than the training. With ``LRNB_ENGINE`` a cluster trains them.
    """
    recipes = list(recipes)
    jobs = None if jobs is None else check_integer("jobs", jobs, 1)
    works = [model_work(recipe, profile) for recipe in recipes]
    _work.compute(works, jobs=jobs, label="models")
    return [get_model(recipe, profile) for recipe in recipes]


def model_work(recipe: Recipe, profile: str | Profile) -> _work.Work:
    """The training of a recipe's model, to be done by whoever has a core."""
    profile = get_profile(profile)
    n = profile.n_train or _ALL_IMAGES
    images = n * profile.epochs_of(n)
    about = {"kind": "model", "what": recipe.family, "dataset": recipe.dataset, "size": images}
    spec, make = model_spec(recipe, profile), functools.partial(_get, recipe, profile)
    return _work.Work("models", spec, about, make, images)


def model_spec(recipe: Recipe, profile: str | Profile) -> dict[str, Any]:
    """What a model is made from, as JSON values: its address in the store."""
    profile, family = get_profile(profile), FAMILIES[recipe.family]
    names = ["dataset", "family", "beta", "seed"]
    sizes = ["n_train", "epochs", "min_steps", "batch_size", "learning_rate", "width"]
    entries = [family, DATASETS[recipe.dataset]]
    if family.adversarial:
        names += ["adv_eps", "adv_form", "adv_weight"]
        sizes += ["adv_steps"]
        entries += [BALLS["l2"]]
    size = {name: getattr(profile, name) for name in sizes}
    return {
        "recipe": {name: getattr(recipe, name) for name in names},
        "size": size | {"latent": latent_size(recipe)},
        "data": data_fingerprint(recipe.dataset, data_root()),
        "code": [code_hash(part) for part in (_train, new_model, *entries)],
    }


@functools.lru_cache(maxsize=8)
def load_images(dataset: str, split: str, n: int | None) -> ImageSet:
    """`lrnb.load_data`, kept in memory: the same tensors each time, not to be written to."""
    return load_data(dataset, split, n)


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def new_model(recipe: Recipe, profile: str | Profile) -> Autoencoder:
    """The untrained model of a recipe: torch's usual initial weights, from the recipe's seed.

    Those of the decoder, which are drawn first, are the same for all families.
    """
    with torch.random.fork_rng():
        model = Autoencoder(
            image_shape=DATASETS[recipe.dataset].image_shape,
            latent=latent_size(recipe),
            width=get_profile(profile).width,
            stochastic=FAMILIES[recipe.family].stochastic,
        )
    # (from a generator of its own: torch's global one is shared by the threads of a process)
    generator = torch.Generator().manual_seed(recipe.seed)
    for layer in (*model.decoder, *model.encoder):
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            weight = torch.empty(layer.weight.shape)
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            layer.weight.data.copy_(weight)
            if layer.bias is not None:
                bound = 1 / math.sqrt(weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return model


def _get(
    recipe: Recipe, profile: str | Profile, device: str | torch.device | None = None
) -> tuple[Autoencoder, History]:
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe must be a Recipe, got {type(recipe).__name__}")
    device = torch.device(device) if device else default_device()
    work, model = model_work(recipe, profile), new_model(recipe, profile).to(device)
    # (a checkpoint goes on only on its own kind of device, whose random numbers are its own)
    unfinished = work.spec | {"device": device.type}

    def make() -> _store.Artefact:
        history = _train(recipe, get_profile(profile), model, _store.partial(unfinished))
        return model.state_dict(), {"history": history}

    weights, record = _store.get("models", work.spec, make, work.about)
    _store.discard_partial(unfinished)
    model.load_state_dict(weights)
    return fused(model), record["history"]


def _train(recipe: Recipe, profile: Profile, model: Autoencoder, unfinished: Path) -> History:
    """Train with the same numbers again on the same GPU, and on any CPU (see `_store.get`)."""
    both = asdict(profile) | asdict(recipe)
    settings = TrainingSettings(**{f.name: both[f.name] for f in fields(TrainingSettings)})
    images = load_images(recipe.dataset, "train", profile.n_train).images
    settings = replace(settings, epochs=profile.epochs_of(len(images)))
    validation = load_images(recipe.dataset, "test", _VALIDATION_IMAGES).images
    return train(
        model,
        images,
        settings,
        validation=validation,
        checkpoint=unfinished / "checkpoint.pt",
        label=f"training {recipe}",
    )
