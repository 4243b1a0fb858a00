"""Handwritten digits, 28×28 (LeCun et al. 1998)."""

from functools import partial

from lrnb.data import idx
from lrnb.data.registry import Dataset

DATASET = Dataset(
    "mnist", "MNIST", order=2, image_shape=(1, 32, 32), latent=16, eps_max=1.0, color=2,
    load=partial(idx.load, "mnist", "MNIST"), files=partial(idx.files, "mnist", "MNIST"),
    download=partial(idx.download, "MNIST"), licence="CC BY-SA 3.0", citation="lecun1998",
    address="http://yann.lecun.com/exdb/mnist/",
)  # fmt: skip
