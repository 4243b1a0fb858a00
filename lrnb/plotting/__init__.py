"""Figures: tables and images in, one matplotlib figure or HTML page out."""
# isort: skip_file

from typing import Any

from lrnb.plotting.curves import (
    code_deviations, damage_curves, distance_curves, effort_curves, family_curves, loss_curves,
    minimum_norms, path_curves, reference_curves, spectra, sweep_curves, training_curves,
)  # fmt: skip
from lrnb.plotting.images import Page, epsilon_sliders, image_grids, side_by_side
from lrnb.plotting.points import (
    costs, differences, dimension_differences, embeddings, frontier, rank_correlations,
    robustness_and_diversity, steepness_scatter, tradeoff_paths,
)  # fmt: skip
from lrnb.plotting.specification import forest, specification_curve
from lrnb.plotting.style import label, labels, use_style

__all__ = [
    "LABELS", "Page", "code_deviations", "costs", "damage_curves", "differences",
    "dimension_differences", "distance_curves", "effort_curves", "embeddings", "epsilon_sliders",
    "family_curves", "forest", "frontier", "image_grids", "label", "loss_curves", "minimum_norms",
    "path_curves", "rank_correlations", "reference_curves", "robustness_and_diversity",
    "side_by_side", "specification_curve", "spectra", "steepness_scatter", "sweep_curves", "tradeoff_paths",
    "training_curves", "use_style",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "LABELS":  # made when asked for, so that later entries of a registry count
        return labels()
    raise AttributeError(f"module 'lrnb.plotting' has no attribute {name!r}")
