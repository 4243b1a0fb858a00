"""The data sets: images in [0, 1] with labels and, where known, factors; a file for each set."""

import hashlib
import importlib
import json
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from torch import Tensor

from lrnb import _store
from lrnb._validation import Registry, check_integer, check_name

SPLITS = ("train", "test")


class MissingData(FileNotFoundError):
    """A data set is not where it was looked for; the message says how to get it."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one split of one data set."""

    name: str  # in `DATASETS`
    split: str  # "train" or "test"
    images: Tensor  # [N, C, S, S] float32 in [0, 1]
    labels: Tensor  # [N] int64, the class
    factors: Tensor | None = None  # [N, K] float32, generative factors or a proxy
    factor_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def class_label(images: ImageSet) -> Tensor:
    """The class as the only factor, [N, 1]: a proxy, where no factors are known."""
    return images.labels[:, None].float()


@dataclass(frozen=True)
class Dataset:
    """A data set: how to load it, and all that other modules need to know about it."""

    name: str
    label: str = field(compare=False)  # the name for people
    order: int = field(compare=False)  # place in figures and tables
    image_shape: tuple[int, int, int]  # (C, S, S), S a multiple of 16
    latent: int  # size of the code by default
    eps_max: float = field(compare=False)  # largest ε of a damage curve
    color: int = field(compare=False)  # index into the color-blind palette
    load: Callable[[str, int | None], ImageSet]  # the first n images (all for None) of a split
    # lists the files, or raises `MissingData`; None for an embedded set
    files: Callable[[], list[Path]] | None = field(default=None, compare=False)
    download: Callable[[], Any] | None = field(default=None, compare=False)  # into `data_root`
    factors: Callable[[ImageSet], Tensor] = class_label  # [N, K], for disentanglement
    address: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    citation: str = field(default="", compare=False)  # its key in the bibliography


DATASETS: Registry[Dataset] = Registry("dataset")


def data_root() -> Path:
    """Folder of the data sets: ``LRNB_DATA``, or a folder in the user's cache."""
    given = os.environ.get("LRNB_DATA")
    return Path(given or Path(platformdirs.user_cache_dir("lrnb")) / "data").expanduser()


def load_data(name: str, split: str = "train", n: int | None = None) -> ImageSet:
    """The first ``n`` images (None: all) of a split, "train" or "test", of a set in `DATASETS`.

    Raises `MissingData`; ValueError for an unknown name or split, an n < 1 and a damaged file.

    >>> load_data("digits", split="test", n=5).images.shape
    torch.Size([5, 1, 32, 32])
    """
    check_name("split", split, SPLITS)
    if n is not None:
        check_integer("n", n, 1)
    return DATASETS[check_name("name", name, DATASETS)].load(split, n)


def fingerprint(name: str) -> str:
    """Short hash of the names and bytes of a data set's files, or "embedded"; or `MissingData`."""
    list_files = DATASETS[check_name("name", name, DATASETS)].files
    if list_files is None:
        return "embedded"
    files = list_files()
    states = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    state = hashlib.sha256(repr(states).encode()).hexdigest()
    cache = _store.cache_root() / "fingerprints.json"  # so that files are read once
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if state not in known:
        digest = hashlib.sha256()
        for file in files:
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)}\n".encode() + content)
        known[state] = digest.hexdigest()[:16]
        _store.write_text(cache, json.dumps(known, indent=1))
    return str(known[state])


def is_present(name: str) -> bool:
    """Whether a data set can be loaded without a download."""
    list_files = DATASETS[check_name("name", name, DATASETS)].files
    try:
        return list_files is None or bool(list_files())
    except MissingData:
        return False


def fetch(name: str) -> Path:
    """Download a data set into `data_root`, which is returned; OSError, RuntimeError on failure."""
    if download := DATASETS[check_name("name", name, DATASETS)].download:
        data_root().mkdir(parents=True, exist_ok=True)
        download()
    return data_root()


def of_torchvision(dataset: str, **options: bool) -> Any:
    """One of torchvision's data sets, in `data_root`."""
    datasets = importlib.import_module("torchvision.datasets")  # (takes seconds)
    return getattr(datasets, dataset)(str(data_root()), **options)


_sets = importlib.import_module("lrnb.data.sets")  # (its modules import this one)
_names = [f"{_sets.__name__}.{module.name}" for module in pkgutil.iter_modules(_sets.__path__)]
_entries = [importlib.import_module(name).DATASET for name in _names]
for _entry in sorted(_entries, key=lambda entry: entry.order):
    DATASETS.add(_entry.name, _entry)
