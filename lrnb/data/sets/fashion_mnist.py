"""Articles of clothing, 28×28 (Xiao et al. 2017)."""

from lrnb.data.sets import mnist

DATASET = mnist.entry(
    "fashion_mnist", "FashionMNIST", order=3, color=3, licence="MIT", citation="xiao2017",
    address="https://github.com/zalandoresearch/fashion-mnist",
)  # fmt: skip
