"""Handwritten digits, 28×28 (LeCun et al. 1998), and how idx files as theirs are read."""

from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import functional

from lrnb.data import Dataset, ImageSet, MissingData, data_root, of_torchvision


def files(name: str, label: str) -> list[Path]:
    """The four files of a set, ``<data_root>/<label>/raw/…``; all must be there."""
    folder, kinds = data_root() / label / "raw", ("images-idx3", "labels-idx1")
    found = [folder / f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in kinds]
    if missing := [file.name for file in found if not file.is_file()]:
        raise MissingData(
            f"{name} must be in {folder}, got a folder without {', '.join(missing)}; get it with "
            f"`lrnb fetch {name}`, or set LRNB_DATA to a folder that holds {label}/raw"
        )
    return found


def load(name: str, label: str, split: str, n: int | None) -> ImageSet:
    """Images of 28×28 with two pixels of black added on each side; ValueError for damaged files."""
    folder = files(name, label)[0].parent
    try:
        raw = of_torchvision(label, train=split == "train")
        problem = f"{len(raw.data)} images and {len(raw.targets)} labels"
        damaged = len(raw.data) != len(raw.targets)
    except (AssertionError, RuntimeError, TypeError, ValueError, LookupError) as error:
        problem, damaged = f"a wrong magic number or length ({error!r})", True
    if damaged:
        raise ValueError(
            f"{name} must have as many images as labels in intact idx files, got {problem} in the "
            f"{split} split in {folder}; remove it and get it again with `lrnb fetch {name}`"
        )
    images = functional.pad(raw.data[:n].float().div(255), (2, 2, 2, 2))[:, None]
    return ImageSet(name, split, images, raw.targets[:n].long())


def download(name: str, label: str) -> None:
    """Download the files, in place of damaged ones."""
    try:
        load(name, label, "train", 1), load(name, label, "test", 1)
    except MissingData:
        pass
    except ValueError:
        for file in files(name, label):
            file.unlink()
    of_torchvision(label, download=True)


def entry(name: str, label: str, **about: Any) -> Dataset:
    """The entry of a set of idx files that torchvision calls by its label."""
    return Dataset(
        name, label, image_shape=(1, 32, 32), latent=16, eps_max=1.0,
        load=partial(load, name, label), files=partial(files, name, label),
        download=partial(download, name, label), **about,
    )  # fmt: skip


DATASET = entry(
    "mnist", "MNIST", order=2, color=2, licence="CC BY-SA 3.0", citation="lecun1998",
    address="http://yann.lecun.com/exdb/mnist/",
)  # fmt: skip
