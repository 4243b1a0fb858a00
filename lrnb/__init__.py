"""Adversarial robustness of autoencoders in the latent space: models, attack, scores, verdicts."""

import importlib
from types import ModuleType

from lrnb import experiments, metrics
from lrnb.attacks import Attack, attack
from lrnb.data import ImageSet, load_data
from lrnb.experiments import Profile, Recipe, get_model, train_all
from lrnb.minimal import MinimalNorm, minimal_norm

__version__ = "0.1.0"
__all__ = [
    "Attack",
    "ImageSet",
    "MinimalNorm",
    "Profile",
    "Recipe",
    "attack",
    "disentanglement",
    "experiments",
    "get_model",
    "load_data",
    "metrics",
    "minimal_norm",
    "train_all",
]


def __getattr__(name: str) -> ModuleType:
    # rooms that take seconds to import are opened on first use
    if name in (
        "claims",
        "comparison",
        "defence",
        "disentanglement",
        "figures",
        "geometry",
        "results",
        "robustness",
        "shift",
        "strength",
        "sweep",
    ):
        return importlib.import_module(f"lrnb.{name}")
    raise AttributeError(f"module 'lrnb' has no attribute {name!r}")
