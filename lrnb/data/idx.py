"""The idx files of MNIST and of the sets made in its image, read and fetched by torchvision."""

from pathlib import Path
from typing import Any

from torch.nn import functional

from lrnb.data.registry import ImageSet, MissingData, data_root

_FILES = [
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def files(name: str, torchvision_class: str) -> list[Path]:
    """The four files of a set, ``<data_root>/<class>/raw/…``; all must be there."""
    folder = data_root() / torchvision_class / "raw"
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if missing:
        raise MissingData(
            f"{name} must be in {folder}, got a folder without {', '.join(missing)}; get it with "
            f"`lrnb fetch {name}`, or set LRNB_DATA to a folder that holds {torchvision_class}/raw"
        )
    return [folder / file for file in _FILES]


def load(name: str, torchvision_class: str, split: str, n: int | None) -> ImageSet:
    """Images of 28×28, with two pixels of black added on each side.

    Raises:
        ValueError: a file is damaged.
    """
    folder = files(name, torchvision_class)[0].parent
    try:
        raw = _class(torchvision_class)(str(data_root()), train=split == "train", download=False)
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


def download(torchvision_class: str) -> None:
    """Download a set into `data_root`."""
    _class(torchvision_class)(str(data_root()), download=True)


def _class(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)
