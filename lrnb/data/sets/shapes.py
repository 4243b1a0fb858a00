"""White shapes on black, drawn by this module from factors that are known exactly."""

import numpy as np
import torch
from torch import Tensor

from lrnb.data import Dataset, ImageSet

SHAPE_FACTORS = {"shape": 3, "size": 6, "angle": 8, "x": 16, "y": 16}


def load(split: str, n: int | None) -> ImageSet:
    """Every combination of factor levels occurs once, in random order; 4096 are the test split."""
    counts = list(SHAPE_FACTORS.values())
    order = np.random.default_rng(0).permutation(int(np.prod(counts)))
    chosen = (order[4096:] if split == "train" else order[:4096])[:n]
    factors = torch.from_numpy(np.stack(np.unravel_index(chosen, counts), axis=1)).float()
    labels, names = factors[:, 0].long(), tuple(SHAPE_FACTORS)
    return ImageSet("shapes", split, draw_shapes(factors), labels, factors, names)


def draw_shapes(factors: Tensor) -> Tensor:
    """Images [N, 1, 32, 32] in [0, 1] of factor levels [N, 5], edges smoothed over one pixel.

    Shapes are square, ellipse and triangle; angles lie in a quarter turn, where none repeats.
    """
    shape, size, angle, x, y = factors.float().T[..., None, None]
    grid = (torch.arange(32) + 0.5) / 32 * 2 - 1
    radius = 0.22 + 0.16 * size / 5
    theta = angle / 8 * torch.pi / 2
    dx = grid[None, None, :] - (x / 15 - 0.5)
    dy = grid[None, :, None] - (y / 15 - 0.5)
    u = (torch.cos(theta) * dx + torch.sin(theta) * dy) / radius
    v = (-torch.sin(theta) * dx + torch.cos(theta) * dy) / radius
    square = torch.maximum(u.abs(), v.abs()) / 0.8
    ellipse = torch.sqrt(u**2 + (v / 0.5) ** 2)
    half = 3**0.5 / 2
    triangle = torch.stack([v, half * u - v / 2, -half * u - v / 2]).amax(0) / 0.5
    distance = torch.where(shape == 0, square, torch.where(shape == 1, ellipse, triangle))
    return torch.clamp((1 - distance) * radius * 16 + 0.5, 0, 1)[:, None]


def factors(images: ImageSet) -> Tensor:
    """The true factors: shape and angle as classes, size, x and y as numbers in [0, 1]."""
    assert images.factors is not None
    ordered = torch.tensor([name in ("size", "x", "y") for name in images.factor_names])
    return torch.where(ordered, images.factors / images.factors.amax(0), images.factors)


DATASET = Dataset(
    "shapes", "Shapes", order=1, image_shape=(1, 32, 32), latent=10, eps_max=1.0, color=1,
    load=load, factors=factors, licence="MIT, as this package",
)  # fmt: skip
