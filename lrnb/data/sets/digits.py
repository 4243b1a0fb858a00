"""The 8×8 digits that come with scikit-learn, enlarged to 32×32."""

import numpy as np
import torch
from torch.nn import functional

from lrnb.data import Dataset, ImageSet


def load(split: str, n: int | None) -> ImageSet:
    """1500 training images and 297 test images, in one random order."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.default_rng(0).permutation(len(raw.images))
    chosen = (order[:1500] if split == "train" else order[1500:])[:n]
    small = torch.from_numpy(raw.images[chosen]).float().div(16)[:, None]
    images = functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return ImageSet("digits", split, images, torch.from_numpy(raw.target[chosen]).long())


DATASET = Dataset(
    "digits", "Digits", order=0, image_shape=(1, 32, 32), latent=16, eps_max=1.0, color=0,
    load=load, licence="CC BY 4.0",
    address="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
)  # fmt: skip
