"""What a data set is, and how one is loaded, identified by its content, and fetched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
from torch import Tensor

from lrnb import _store
from lrnb._validation import Registry, check_integer, check_name

SPLITS = ("train", "test")


class MissingData(FileNotFoundError):
    """A data set is not where it was looked for; the message says how to get it."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one split of one data set.

    Attributes:
        name: a name in `DATASETS`; split: "train" or "test".
        images: [N, C, S, S] float32 in [0, 1].
        labels: [N] int64, the class.
        factors: [N, K] float32 or None, generative factors or a proxy; factor_names: K names.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def class_label(images: ImageSet) -> Tensor:
    """The class as the only factor, [N, 1]: a proxy, where no factors are known."""
    return images.labels[:, None].float()


@dataclass(frozen=True)
class Dataset:
    """A data set: how to load it, and all that other modules need to know about it.

    Attributes:
        name: for code; label: for people.
        order: place in figures and tables; color: index into the color-blind palette.
        image_shape: (C, S, S), S a multiple of 16.
        latent: size of the code by default; eps_max: largest ε of a damage curve.
        load: the first n images (all for None) of a split.
        files: lists the files, or raises `MissingData`; None for an embedded set.
        download: puts the files under `data_root`.
        factors: images → [N, K], what disentanglement is measured against.
        address, licence, citation: where it is from; the citation is a key of the bibliography.
    """

    name: str
    label: str = field(compare=False)
    order: int = field(compare=False)
    image_shape: tuple[int, int, int]
    latent: int
    eps_max: float = field(compare=False)
    color: int = field(compare=False)
    load: Callable[[str, int | None], ImageSet]
    files: Callable[[], list[Path]] | None = field(default=None, compare=False)
    download: Callable[[], None] | None = field(default=None, compare=False)
    factors: Callable[[ImageSet], Tensor] = class_label
    address: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    citation: str = field(default="", compare=False)


DATASETS: Registry[Dataset] = Registry("dataset")


def data_root() -> Path:
    """Folder of the data sets: ``LRNB_DATA``, or a folder in the user's cache."""
    return Path(os.environ.get("LRNB_DATA") or Path(platformdirs.user_cache_dir("lrnb")) / "data")


def load_data(name: str, split: str = "train", n: int | None = None) -> ImageSet:
    """Load the first ``n`` images of a split, or all of them.

    Args:
        name: "digits", "shapes", "mnist", "fashion_mnist", "celeba", or another in `DATASETS`.
        split: "train" or "test".
        n: how many; None for all. Fewer are returned if the split holds fewer.

    Raises:
        UnknownName: ``name`` or ``split`` is unknown.
        ValueError: ``n`` is not an integer ≥ 1, or a file is damaged.
        MissingData: the files are not under `data_root`.

    >>> load_data("digits", split="test", n=5).images.shape
    torch.Size([5, 1, 32, 32])
    """
    check_name("split", split, SPLITS)
    if n is not None:
        check_integer("n", n, 1)
    return DATASETS[check_name("name", name, DATASETS)].load(split, n)


def fingerprint(name: str) -> str:
    """Short hash of the names and bytes of a data set's files, or `MissingData`.

    "embedded" if it has none. Kept by path, size and time of change, so files are read once.
    """
    list_files = DATASETS[check_name("name", name, DATASETS)].files
    if list_files is None:
        return "embedded"
    files = list_files()
    states = [(str(file), (stat := os.stat(file)).st_size, stat.st_mtime_ns) for file in files]
    state = hashlib.sha256(repr(states).encode()).hexdigest()
    cache = _store.cache_root() / "fingerprints.json"
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if state not in known:
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
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
    """Download a data set into `data_root`; return that folder; OSError, RuntimeError if it fails."""
    download = DATASETS[check_name("name", name, DATASETS)].download
    if download is not None:
        data_root().mkdir(parents=True, exist_ok=True)
        download()
    return data_root()
