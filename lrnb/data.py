"""The data sets: each one a tensor of images in [0, 1] with labels and, where known, factors."""

# scikit-learn and torchvision take seconds to import, so only the sets that need them do

from __future__ import annotations

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lrnb import checks

DATASETS = ("digits", "shapes", "mnist", "fashion_mnist", "celeba")
EMBEDDED = ("digits", "shapes")
SPLITS = ("train", "test")

SHAPE_FACTORS = {"shape": 3, "size": 6, "angle": 8, "x": 16, "y": 16}
SHAPES_HELD_OUT = 4096


class MissingData(FileNotFoundError):
    """A data set is not where it was looked for; the message says how to get it."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one split of one data set.

    Attributes:
        name: one of `DATASETS`.
        split: "train" or "test".
        images: [N, C, S, S] float32 in [0, 1]; S is 32, and 64 for celeba.
        labels: [N] int64; the class, for shapes the shape, for celeba the attribute "Male".
        factors: [N, K] float32 or None; the true generative factors of shapes, and the 40 binary
            attributes of celeba, which are only a proxy for factors.
        factor_names: K names.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def data_root() -> Path:
    """Folder of the data sets: ``LRNB_DATA``, or a folder in the user's cache."""
    return Path(os.environ.get("LRNB_DATA") or Path(platformdirs.user_cache_dir("lrnb")) / "data")


def load_data(name: str, split: str = "train", n: int | None = None) -> ImageSet:
    """Load the first ``n`` images of a split, all of them where ``n`` is None.

    Args:
        name: "digits" (scikit-learn's 8×8 digits, enlarged to 32×32), "shapes" (drawn on the spot,
            with true factors), "mnist", "fashion_mnist" (28×28, padded with black to 32×32) or
            "celeba" (aligned faces, the central square of 148/178 of the width, at 64×64).
        split: "train" or "test".
        n: how many; fewer come back where the split holds fewer.

    Raises:
        UnknownName: no such data set or split.
        ValueError: ``n`` is not a whole number ≥ 1.
        MissingData: the files are not under `data_root`.

    >>> test = load_data("digits", split="test", n=5)
    >>> test.images.shape, test.labels.shape
    (torch.Size([5, 1, 32, 32]), torch.Size([5]))
    """
    checks.one_of("name", name, DATASETS)
    checks.one_of("split", split, SPLITS)
    if n is not None:
        checks.at_least("n", n, 1)
    if name == "digits":
        return _digits(split, n)
    if name == "shapes":
        return _shapes(split, n)
    if name == "celeba":
        return _celeba(split, n)
    return _mnist_like(name, split, n)


def fingerprint(name: str) -> str:
    """Short hash of which files a data set consists of, so that other data gives other models.

    Raises:
        MissingData: the files are not under `data_root`.
    """
    checks.one_of("name", name, DATASETS)
    if name in EMBEDDED:
        return "embedded"
    folder = _folder(name)
    changed = max(place.stat().st_mtime_ns for place in (folder, folder.parent))
    return _listing(name, folder, changed)


@functools.lru_cache(maxsize=8)
def _listing(name: str, folder: Path, changed: int) -> str:
    files = [f for f in folder.iterdir() if f.suffix == ".jpg" or f.name.endswith("-ubyte")]
    if not files:
        raise MissingData(f"{name}: {folder} is empty. Fetch it with `lrnb fetch {name}`.")
    if name == "celeba":
        files += [f for f in folder.parent.glob("list_*.txt")]
    listing = "\n".join(sorted(f"{f.name} {f.stat().st_size}" for f in files))
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def is_present(name: str) -> bool:
    """Whether the data set can be loaded without a download."""
    try:
        return bool(fingerprint(name))
    except MissingData:
        return False


def fetch(name: str) -> Path:
    """Download a data set with torchvision into `data_root`; return that folder.

    Raises:
        UnknownName: no such data set.
        OSError, RuntimeError: the download failed (no network, or a quota used up).
    """
    checks.one_of("name", name, DATASETS)
    root = data_root()
    if name not in EMBEDDED:
        root.mkdir(parents=True, exist_ok=True)
        _torchvision_class(name)(str(root), download=True)
    return root


def _keep(n: int | None) -> slice:
    return slice(None) if n is None else slice(n)


def _digits(split: str, n: int | None) -> ImageSet:
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.default_rng(0).permutation(len(raw.images))
    chosen = (order[:1500] if split == "train" else order[1500:])[_keep(n)]
    small = torch.from_numpy(raw.images[chosen]).float().div(16)[:, None]
    images = functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return ImageSet("digits", split, images, torch.from_numpy(raw.target[chosen]).long())


def _shapes(split: str, n: int | None) -> ImageSet:
    counts = list(SHAPE_FACTORS.values())
    order = np.random.default_rng(0).permutation(int(np.prod(counts)))
    chosen = (order[SHAPES_HELD_OUT:] if split == "train" else order[:SHAPES_HELD_OUT])[_keep(n)]
    levels = np.stack(np.unravel_index(chosen, counts), axis=1)
    factors = torch.from_numpy(levels).float()
    return ImageSet(
        "shapes", split, draw_shapes(factors), factors[:, 0].long(), factors, tuple(SHAPE_FACTORS)
    )


def draw_shapes(factors: Tensor) -> Tensor:
    """Draw white shapes on black from factor levels.

    Args:
        factors: [N, 5] levels of shape (square, ellipse, triangle), size (6), angle (8 within a
            quarter turn, in which no shape repeats itself), x and y (16 each).

    Returns:
        [N, 1, 32, 32] in [0, 1], edges smoothed over one pixel.
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


def _torchvision_class(name: str) -> Any:
    from torchvision import datasets

    return {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "celeba": datasets.CelebA,
    }[name]


def _folder(name: str) -> Path:
    inside = {
        "mnist": "MNIST/raw",
        "fashion_mnist": "FashionMNIST/raw",
        "celeba": "celeba/img_align_celeba",
    }[name]
    folder = data_root() / inside
    if not folder.is_dir():
        raise MissingData(
            f"{name} was looked for in {folder} and is not there. Fetch it with `lrnb fetch {name}`,"
            f" or set LRNB_DATA to a folder that holds {inside}."
        )
    return folder


def _mnist_like(name: str, split: str, n: int | None) -> ImageSet:
    folder = _folder(name)
    try:
        raw = _torchvision_class(name)(str(data_root()), train=split == "train", download=False)
    except RuntimeError as error:
        raise MissingData(
            f"{name} in {folder} is incomplete ({error}). Fetch it again with `lrnb fetch {name}`."
        ) from error
    images = functional.pad(raw.data[_keep(n)].float().div(255), (2, 2, 2, 2))[:, None]
    return ImageSet(name, split, images, raw.targets[_keep(n)].long())


def _celeba(split: str, n: int | None) -> ImageSet:
    folder = _folder("celeba")
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise MissingData(f"celeba: no .jpg in {folder}. Fetch it again with `lrnb fetch celeba`.")
    partition = folder.parent / "list_eval_partition.txt"
    if partition.is_file():
        part = dict(line.split() for line in partition.read_text().splitlines() if line.strip())
        wanted = "0" if split == "train" else "2"
        files = [f for f in files if part.get(f.name) == wanted]
    else:  # a folder of images without the official partition: the last tenth is the test split
        cut = len(files) - max(1, len(files) // 10)
        files = files[:cut] if split == "train" else files[cut:]
    files = files[_keep(n)]
    if not files:
        raise MissingData(
            f"celeba: {folder} holds no image of the {split} split. Fetch it with `lrnb fetch celeba`."
        )
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(_face, files)))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
    names, attributes = _celeba_attributes(folder.parent / "list_attr_celeba.txt", files)
    labels = attributes[:, names.index("Male")].long()
    return ImageSet("celeba", split, images, labels, attributes, names)


def _face(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        side = round(image.width * 148 / 178)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        face = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR, box=box)
        return np.asarray(face)


def _celeba_attributes(table: Path, files: list[Path]) -> tuple[tuple[str, ...], Tensor]:
    if not table.is_file():
        raise MissingData(f"celeba: {table} is not there. Fetch it with `lrnb fetch celeba`.")
    _, header, *rows = table.read_text().splitlines()
    of_file = {row.split(maxsplit=1)[0]: row.split()[1:] for row in rows}
    values = np.array([of_file[f.name] for f in files], dtype=np.float32)
    return tuple(header.split()), torch.from_numpy((values > 0).astype(np.float32))
