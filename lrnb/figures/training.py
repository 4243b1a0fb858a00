"""Figures of trained models: losses, images, how codes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lrnb.figures.style import (
    FAMILY_COLOURS,
    GREY,
    direct_labels,
    panels,
)
from lrnb.names import (
    DATASET_NAMES,
    FAMILY_NAMES,
)


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Reconstruction error over epochs, a panel a data set, a line a family: training and test.

    Args:
        histories: data set → family → `lrnb.training.History`.
    """
    fig, axes = panels(1, len(histories), height=3.2)
    for ax, (dataset, of_family) in zip(axes[0], histories.items(), strict=True):
        ends = {}
        for family, history in of_family.items():
            table = pd.DataFrame(history)
            colour = FAMILY_COLOURS[family]
            ax.plot(table["epoch"], table["reconstruction"], color=colour, lw=1, ls=":")
            ax.plot(table["epoch"], table["validation"], color=colour, lw=1.6)
            ends[FAMILY_NAMES[family]] = (table["validation"].iloc[-1], colour)
        ax.set(title=DATASET_NAMES[dataset], xlabel="epoch", yscale="log")
        direct_labels(ax, ends, x=float(table["epoch"].iloc[-1]))
    axes[0, 0].set_ylabel("squared error per image")
    axes[0, 0].plot([], [], color=GREY, ls=":", lw=1, label="training (with code noise)")
    axes[0, 0].plot([], [], color=GREY, lw=1.6, label="test images")
    axes[0, 0].legend(loc="upper right", fontsize=8)
    fig.tight_layout()
    return fig


def image_grids(grids: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Rows of images, a block a data set; the row's name stands at its left.

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
        fig.text(left / width, 1 - 0.2 / height, DATASET_NAMES[dataset], fontsize=10)
        for row, (name, images) in enumerate(grid.items()):
            bottom = height - title - (row + 1) * image
            middle = (bottom + image / 2) / height
            fig.text((left - 0.06) / width, middle, name, fontsize=8.5, ha="right", va="center")
            for column, picture in enumerate(images[:columns]):
                ax = fig.add_axes(
                    (
                        (left + column * image) / width,
                        bottom / height,
                        (image - gap) / width,
                        (image - gap) / height,
                    )
                )
                _show(ax, picture)
    return fig


def code_deviations(deviations: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Standard deviation of the code in each dimension, sorted: a panel a data set, a line a family.

    Args:
        deviations: data set → family → [d], `lrnb.robustness.CodeStatistics.deviations`.
    """
    fig, axes = panels(1, len(deviations), height=3)
    for ax, (dataset, of_family) in zip(axes[0], deviations.items(), strict=True):
        ends = {}
        for family, values in of_family.items():
            ordered = np.sort(values.cpu().numpy())[::-1]
            rank = np.arange(1, len(ordered) + 1)
            ax.plot(rank, ordered, color=FAMILY_COLOURS[family], marker="o", ms=2.5, lw=1.4)
            ends[FAMILY_NAMES[family]] = (float(ordered[-1]), FAMILY_COLOURS[family])
        ax.axhline(0.1, color=GREY, lw=0.8, ls="--")
        ax.text(1, 0.1, "active above", fontsize=7, color=GREY, va="bottom")
        ax.set(title=DATASET_NAMES[dataset], xlabel="dimension, by rank", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        direct_labels(ax, ends, x=float(rank[-1]))
    axes[0, 0].set_ylabel("standard deviation of μ")
    fig.tight_layout()
    return fig


def _show(ax: Axes, image: Tensor) -> None:
    pixels = image.detach().cpu().permute(1, 2, 0).numpy().clip(0, 1)
    ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, vmin=0, vmax=1)
    ax.axis("off")
