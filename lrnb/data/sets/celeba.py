"""Faces of celebrities, aligned (Liu et al. 2015): the central square of each, at 64×64."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrnb.data import Dataset, ImageSet, MissingData, data_root, of_torchvision


def files() -> list[Path]:
    """The images, and the tables that go with them; raises `MissingData`."""
    folder = data_root() / "celeba"
    images = sorted(folder.glob("img_align_celeba/*.jpg"))
    tables = sorted(folder.glob("list_*.txt"))
    if not images or folder / "list_attr_celeba.txt" not in tables:
        found = f"{len(images)} images and {len(tables)} tables"
        raise _missing(f"images in img_align_celeba/ and list_attr_celeba.txt, got {found}")
    return [*images, *tables]


def load(split: str, n: int | None) -> ImageSet:
    """Faces with 40 binary attributes; the label is the attribute "Male"."""
    images, folder = [file for file in files() if file.suffix == ".jpg"], data_root() / "celeba"
    partition = folder / "list_eval_partition.txt"
    if partition.is_file():
        part = dict(line.split() for line in partition.read_text().splitlines() if line.strip())
        wanted = "0" if split == "train" else "2"
        images = [file for file in images if part.get(file.name) == wanted]
    else:  # without the official partition the last tenth is the test split
        cut = len(images) - max(1, len(images) // 10)
        images = images[:cut] if split == "train" else images[cut:]
    images = images[:n]
    if not images:
        raise _missing(f"images of the {split} split, got none")
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(_face, images)))
    faces = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)

    _, header, *rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    names, values_of = tuple(header.split()), {row.split()[0]: row.split()[1:] for row in rows}
    values = np.array([values_of[file.name] for file in images], dtype=np.float32)
    attributes = torch.from_numpy((values > 0).astype(np.float32))
    labels = attributes[:, names.index("Male")].long()
    return ImageSet("celeba", split, faces, labels, attributes, names)


def factors(images: ImageSet) -> Tensor:
    """Attributes of which each value has at least 5% of the images, the most balanced first."""
    assert images.factors is not None
    share = images.factors.mean(0)
    rarer = torch.minimum(share, 1 - share)
    order = rarer.argsort(descending=True, stable=True)
    return images.factors[:, order[rarer[order] >= 0.05]]


def _missing(problem: str) -> MissingData:
    return MissingData(
        f"celeba must have {problem}; looked for in {data_root() / 'celeba'}: get it with "
        "`lrnb fetch celeba`, or set LRNB_DATA to the folder that holds celeba/"
    )


def _face(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        side = round(image.width * 148 / 178)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR, box=box))


DATASET = Dataset(
    "celeba", "CelebA", order=4, image_shape=(3, 64, 64), latent=64, eps_max=2.0, color=4,
    load=load, files=files, download=partial(of_torchvision, "CelebA", download=True),
    factors=factors, licence="non-commercial research", citation="liu2015",
    address="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)  # fmt: skip
