"""Scores: distances of images, robustness, disentanglement, density of codes, statistics."""
# isort: skip_file

import importlib
from typing import Any

from lrnb.metrics.images import (
    METRICS, ImageMetric, MissingWeights, distances, diversity, lpips, lpips_is_present, mse, ssim,
)  # fmt: skip
from lrnb.metrics.robustness import aaddc, auddc, relative_distance

__all__ = [
    "METRICS", "ImageMetric", "MissingWeights", "aaddc", "auddc", "distances", "diversity", "lpips",
    "lpips_is_present", "mse", "relative_distance", "ssim",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("density", "disentanglement", "statistics"):  # (slow to import: on first use)
        return importlib.import_module(f"lrnb.metrics.{name}")
    raise AttributeError(f"module 'lrnb.metrics' has no attribute {name!r}")
