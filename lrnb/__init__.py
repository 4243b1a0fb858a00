"""Adversarial robustness of autoencoders in the latent space: models, attack, scores, verdicts."""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrnb import metrics
    from lrnb.attacks import Attack, MinimumNorm, attack, minimum_norm
    from lrnb.data import ImageSet, load_data
    from lrnb.models import Profile, Recipe, get_model, train_all

__version__ = "0.2.0"
__all__ = [
    "Attack", "ImageSet", "MinimumNorm", "Profile", "Recipe", "attack", "get_model", "load_data",
    "metrics", "minimum_norm", "train_all",
]  # fmt: skip

# imported on first use, so that `lrnb --help` does not wait for torch
_HOMES = {
    "attacks": ("Attack", "MinimumNorm", "attack", "minimum_norm"),
    "data": ("ImageSet", "load_data"),
    "models": ("Profile", "Recipe", "get_model", "train_all"),
}
_RENAMED = {"minimal_norm": "attacks.minimum_norm", "MinimalNorm": "attacks.MinimumNorm"}
_PACKAGES = ("attacks", "claims", "data", "metrics", "models", "plotting", "publish", "studies")


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"lrnb.{home}"), name)
    if name in (*_PACKAGES, "disentanglement"):  # the latter is an old path, which says so
        return importlib.import_module(f"lrnb.{name}")
    if name in _RENAMED:
        home, _, new = _RENAMED[name].rpartition(".")
        warnings.warn(f"lrnb.{name} is now lrnb.{home}.{new}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(f"lrnb.{home}"), new)
    raise AttributeError(f"module 'lrnb' has no attribute {name!r}")
