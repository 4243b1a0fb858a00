"""Articles of clothing, 28×28 (Xiao et al. 2017)."""

from functools import partial

from lrnb.data import idx
from lrnb.data.registry import Dataset

DATASET = Dataset(
    "fashion_mnist", "FashionMNIST", order=3, image_shape=(1, 32, 32), latent=16, eps_max=1.0, color=3,
    load=partial(idx.load, "fashion_mnist", "FashionMNIST"), files=partial(idx.files, "fashion_mnist", "FashionMNIST"),
    download=partial(idx.download, "FashionMNIST"), licence="MIT", citation="xiao2017",
    address="https://github.com/zalandoresearch/fashion-mnist",
)  # fmt: skip
