"""Grids of images."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from lrnb.data import DATASETS


def image_grids(grids: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Draw rows of images, a block a data set; the row's name stands at its left.

    Args:
        grids: data set → row name → images [N, C, H, W], of which as many are shown as fit.
    """
    rows, columns = max(map(len, grids.values())), {1: 10, 2: 6}.get(len(grids), 4)
    image, gap, names, title = 0.62, 0.02, 0.85, 0.28  # inches
    block = names + columns * image
    width, height = block * len(grids), title + rows * image
    fig = plt.figure(figsize=(width, height))
    for b, (dataset, grid) in enumerate(grids.items()):
        left = b * block + names
        fig.text(left / width, 1 - 0.2 / height, DATASETS[dataset].label, fontsize=10)
        for row, (name, images) in enumerate(grid.items()):
            bottom = height - title - (row + 1) * image
            middle = (bottom + image / 2) / height
            fig.text((left - 0.06) / width, middle, name, fontsize=8.5, ha="right", va="center")
            for column, shown in enumerate(images[:columns]):
                x, side = left + column * image, image - gap
                ax = fig.add_axes((x / width, bottom / height, side / width, side / height))
                pixels = shown.detach().cpu().permute(1, 2, 0).numpy().clip(0, 1)
                ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, vmin=0, vmax=1)
                ax.axis("off")
    return fig
