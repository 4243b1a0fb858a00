"""Scores: distances of images, robustness, disentanglement, density of codes, statistics."""

import importlib
from typing import TYPE_CHECKING, Any

from lrnb.metrics.images import (
    BACKBONES,
    LPIPS_NETS,
    METRICS,
    ImageMetric,
    MissingWeights,
    distances,
    diversity,
    fetch_lpips,
    lpips,
    lpips_is_present,
    lpips_weights,
    mse,
    ssim,
)
from lrnb.metrics.robustness import aaddc, auddc, relative_distance

if TYPE_CHECKING:
    from lrnb.metrics import density, disentanglement, statistics

__all__ = [
    "BACKBONES", "LPIPS_NETS", "METRICS", "ImageMetric", "MissingWeights", "aaddc", "auddc",
    "density", "disentanglement", "distances", "diversity", "fetch_lpips", "lpips", "lpips_is_present", "lpips_weights", "mse",
    "relative_distance", "ssim", "statistics",
]  # fmt: skip

# (imported on first use: scikit-learn, scipy and pandas take seconds)
_MODULES = ("density", "disentanglement", "statistics")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"lrnb.metrics.{name}")
    raise AttributeError(f"module 'lrnb.metrics' has no attribute {name!r}")
