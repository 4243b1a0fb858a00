"""Tables and images in, pictures out. Every function returns one matplotlib figure."""

from lrnb.figures.attacks import (
    damage_curves,
    dimension_differences,
    distance_curves,
    effort_curves,
    embeddings,
    minimal_norms,
    reference_curves,
)
from lrnb.figures.comparison import (
    defence_curves,
    differences,
    family_curves,
    robustness_and_diversity,
)
from lrnb.figures.geometry import path_curves, spectra, steepness_scatter
from lrnb.figures.ledger import costs, forest
from lrnb.figures.style import use_style
from lrnb.figures.sweep import rank_correlations, sweep_curves, tradeoff_paths
from lrnb.figures.training import code_deviations, image_grids, loss_curves
from lrnb.names import DATASET_NAMES, FAMILY_NAMES, NAMES, SWEEP_NAMES

__all__ = [
    "DATASET_NAMES",
    "FAMILY_NAMES",
    "NAMES",
    "SWEEP_NAMES",
    "code_deviations",
    "costs",
    "damage_curves",
    "defence_curves",
    "differences",
    "dimension_differences",
    "distance_curves",
    "effort_curves",
    "embeddings",
    "family_curves",
    "forest",
    "image_grids",
    "loss_curves",
    "minimal_norms",
    "path_curves",
    "rank_correlations",
    "reference_curves",
    "robustness_and_diversity",
    "spectra",
    "steepness_scatter",
    "sweep_curves",
    "tradeoff_paths",
    "use_style",
]
