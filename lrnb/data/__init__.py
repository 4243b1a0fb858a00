"""The data sets: images in [0, 1] with labels and, where known, factors; a file for each set."""

import importlib
import pkgutil

from lrnb.data import sets
from lrnb.data.registry import (
    DATASETS,
    SPLITS,
    Dataset,
    ImageSet,
    MissingData,
    data_root,
    fetch,
    fingerprint,
    is_present,
    load_data,
)

__all__ = [
    "DATASETS", "SPLITS", "Dataset", "ImageSet", "MissingData", "data_root", "fetch", "fingerprint",
    "is_present", "load_data",
]  # fmt: skip

_modules = (f"{sets.__name__}.{found.name}" for found in pkgutil.iter_modules(sets.__path__))
_entries = [importlib.import_module(module).DATASET for module in _modules]
for _entry in sorted(_entries, key=lambda entry: entry.order):
    DATASETS.add(_entry.name, _entry)
