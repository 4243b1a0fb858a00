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
        parts = {name: rest for name, *rest in _lines(partition)}
        wanted = ["0"] if split == "train" else ["2"]
        images = [file for file in images if parts.get(file.name) == wanted]
    else:  # without the official partition the last tenth is the test split
        cut = len(images) - max(1, len(images) // 10)
        images = images[:cut] if split == "train" else images[cut:]
    images = images[:n]
    if not images:
        raise _missing(f"images of the {split} split, got none")
    attributes = folder / "list_attr_celeba.txt"
    lines = _lines(attributes)
    names, rows = lines[1] if len(lines) > 1 else [], lines[2:]
    values_of = {name: values for name, *values in rows}
    for name in (file.name for file in images):
        values = values_of.get(name, [])
        if "Male" not in names or len(values) != len(names) or not {*values} <= {"1", "-1"}:
            raise ValueError(
                f"{attributes} must have a column Male and for each image a line with 1 or -1 in each "
                f"of its {len(names)} columns, got {' '.join(values) or 'no line'} for {name}"
            )
    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(_face, images)))
    faces = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
    factors = torch.tensor([[v == "1" for v in values_of[file.name]] for file in images]).float()
    labels = factors[:, names.index("Male")].long()
    return ImageSet("celeba", split, faces, labels, factors, tuple(names))


def _lines(table: Path) -> list[list[str]]:
    """The words of each line that has any; a byte-order mark is no part of the first."""
    words = (line.split() for line in table.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in words if line]


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
    try:
        with Image.open(file) as image:
            side = round(image.width * 148 / 178)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box = (left, top, left + side, top + side)
            face = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR, box=box)
            return np.asarray(face)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{file} must be an intact JPEG image, got {error}") from error


DATASET = Dataset(
    "celeba", "CelebA", order=4, image_shape=(3, 64, 64), latent=64, eps_max=2.0, color=4,
    load=load, files=files, download=partial(of_torchvision, "CelebA", download=True),
    factors=factors, licence="non-commercial research", citation="liu2015",
    address="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)  # fmt: skip
