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

_PACKAGES = "attacks claims data disentanglement metrics models plotting publish studies"
_RENAMED = {"minimal_norm": "minimum_norm", "MinimalNorm": "MinimumNorm"}


def __getattr__(name: str) -> Any:
    """What is public is imported on first use, so that `lrnb --help` does not wait for torch."""
    if name in _PACKAGES.split():
        return importlib.import_module(f"lrnb.{name}")
    if new := _RENAMED.get(name):
        warnings.warn(f"lrnb.{name} is now lrnb.attacks.{new}", DeprecationWarning, stacklevel=2)
    for home in ("attacks", "data", "models") if new or name in __all__ else ():
        module = importlib.import_module(f"lrnb.{home}")
        if hasattr(module, new or name):
            return getattr(module, new or name)
    raise AttributeError(f"module 'lrnb' has no attribute {name!r}")
