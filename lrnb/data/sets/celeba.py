"""Faces of celebrities, aligned (Liu et al. 2015): the central square of each, at 64×64."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrnb.data.registry import Dataset, ImageSet, MissingData, data_root

# an attribute counts as a factor if each of its two values has this share of the images
_MIN_SHARE = 0.05


def load(split: str, n: int | None) -> ImageSet:
    """Faces with 40 binary attributes; the label is the attribute "Male"."""
    images, tables = _images_and_tables()
    if partition := tables.get("list_eval_partition.txt"):
        part = dict(line.split() for line in partition.read_text().splitlines() if line.strip())
        wanted = "0" if split == "train" else "2"
        images = [file for file in images if part.get(file.name) == wanted]
    else:  # without the official partition the last tenth is the test split
        cut = len(images) - max(1, len(images) // 10)
        images = images[:cut] if split == "train" else images[cut:]
    images = images[:n]
    if not images:
        raise MissingData(
            f"celeba must have images of the {split} split, got none; {_how_to_get()}"
        )
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(_face, images)))
    faces = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)

    _, header, *rows = tables["list_attr_celeba.txt"].read_text().splitlines()
    names, values_of = tuple(header.split()), {row.split()[0]: row.split()[1:] for row in rows}
    values = np.array([values_of[file.name] for file in images], dtype=np.float32)
    attributes = torch.from_numpy((values > 0).astype(np.float32))
    labels = attributes[:, names.index("Male")].long()
    return ImageSet("celeba", split, faces, labels, attributes, names)


def files() -> list[Path]:
    """The images and the tables that go with them; raises `MissingData`."""
    images, tables = _images_and_tables()
    return [*images, *tables.values()]


def download() -> None:
    """Download the set into `data_root`."""
    from torchvision import datasets

    datasets.CelebA(str(data_root()), download=True)


def factors(images: ImageSet) -> Tensor:
    """Attributes of which each value has at least 5% of the images, the most balanced first."""
    assert images.factors is not None
    share = images.factors.mean(0)
    rarer = torch.minimum(share, 1 - share)
    order = rarer.argsort(descending=True, stable=True)
    return images.factors[:, order[rarer[order] >= _MIN_SHARE]]


def _images_and_tables() -> tuple[list[Path], dict[str, Path]]:
    folder = data_root() / "celeba"
    inside = folder / "img_align_celeba"
    names = sorted(os.listdir(inside)) if inside.is_dir() else []
    images = [inside / name for name in names if name.endswith(".jpg")]
    tables = {file.name: file for file in sorted(folder.glob("list_*.txt"))}
    if not images or "list_attr_celeba.txt" not in tables:
        found = f"{len(images)} images and {len(tables)} tables"
        raise MissingData(
            f"celeba must have images in img_align_celeba/ and list_attr_celeba.txt, got {found}; "
            + _how_to_get()
        )
    return images, tables


def _how_to_get() -> str:
    return (
        f"looked for in {data_root() / 'celeba'}: get it with `lrnb fetch celeba`, "
        "or set LRNB_DATA to the folder that holds celeba/"
    )


def _face(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        side = round(image.width * 148 / 178)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        face = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR, box=box)
        return np.asarray(face)


DATASET = Dataset(
    "celeba", "CelebA", order=4, image_shape=(3, 64, 64), latent=64, eps_max=2.0, color=4,
    load=load, files=files, download=download, factors=factors, citation="liu2015",
    licence="non-commercial research", address="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)  # fmt: skip
