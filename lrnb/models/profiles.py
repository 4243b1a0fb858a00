"""Profiles: how big a run is."""

import math
from dataclasses import dataclass, replace

from lrnb._validation import Registry, check_integer, check_name, check_number
from lrnb.data import DATASETS


@dataclass(frozen=True)
class Profile:
    """How big a run is."""

    name: str
    datasets: tuple[str, ...]  # what a chapter runs on by default, with these seeds
    seeds: tuple[int, ...]
    n_train: int | None  # training images; None for all
    n_test: int  # test images for the clean scores
    epochs: int  # at least; more where a set is so small that they make fewer than min_steps
    batch_size: int
    learning_rate: float
    width: int  # channels of the first layer
    n_attack: int  # test codes that are attacked
    eps_count: int  # ε on the grid
    steps: int  # of the attack, as the restarts
    restarts: int
    min_steps: int = 0
    adv_steps: int = 5  # of the attack within adversarial training
    decides: bool = True  # whether it is large enough for verdicts

    def __post_init__(self) -> None:
        for dataset in self.datasets:
            check_name("datasets", dataset, DATASETS)
        for seed in self.seeds:
            check_integer("seeds", seed, 0)
        check_number("learning_rate", self.learning_rate, 0, above=True)
        counts = ("n_test", "epochs", "width", "n_attack", "eps_count", "steps", "restarts")
        for name in (*counts, "adv_steps"):
            check_integer(name, getattr(self, name), 1)
        check_integer("min_steps", self.min_steps, 0)
        check_integer("batch_size", self.batch_size, 3)
        check_integer("n_train", 3 if self.n_train is None else self.n_train, 3)

    def epochs_of(self, images: int) -> int:
        """How often so many training images are seen."""
        of_epoch = max(1, images // self.batch_size)
        return max(self.epochs, math.ceil(self.min_steps / of_epoch))


_QUICK = Profile(
    "quick", ("digits", "shapes"), (0,), n_train=512, n_test=256, epochs=8, batch_size=16,
    learning_rate=3e-3, width=12, n_attack=16, eps_count=4, steps=10, restarts=4,
    adv_steps=2, decides=False,
)  # fmt: skip
_REAL = ("mnist", "fashion_mnist", "celeba")
# (a registry, so that no address depends on a profile that is not its own)
PROFILES = Registry("profile", {
    "smoke": replace(
        _QUICK, name="smoke", n_train=256, n_test=64, epochs=2, width=8, n_attack=8,
        eps_count=4, steps=4, restarts=2,
    ),
    "quick": _QUICK,
    "standard": Profile(
        "standard", _REAL, (0, 1, 2), n_train=5000, n_test=1000, epochs=10, batch_size=32,
        learning_rate=2e-3, width=16, n_attack=64, eps_count=8, steps=12, restarts=8, adv_steps=2,
    ),
    "full": Profile(
        "full", _REAL, (0, 1, 2, 3, 4), n_train=None, n_test=1000, epochs=10, min_steps=3000,
        batch_size=128, learning_rate=2e-3, width=16, n_attack=128, eps_count=8, steps=12,
        restarts=8,
    ),
    "paper": Profile(
        "paper", _REAL, (0, 1, 2), n_train=None, n_test=10_000, epochs=50, batch_size=128,
        learning_rate=1e-3, width=32, n_attack=320, eps_count=16, steps=40, restarts=20,
    ),
})  # fmt: skip


def get_profile(profile: str | Profile) -> Profile:
    """The profile of a name; a `Profile` is passed through."""
    if isinstance(profile, Profile):
        return profile
    return PROFILES[check_name("profile", profile, PROFILES)]


def eps_grid(dataset: str, profile: str | Profile) -> list[float]:
    """The ε of a damage curve, evenly spaced up to the data set's largest, without 0.

    >>> eps_grid("mnist", "smoke")
    [0.25, 0.5, 0.75, 1.0]
    """
    count = get_profile(profile).eps_count
    return [DATASETS[dataset].eps_max * (i + 1) / count for i in range(count)]
