"""The store of finished artefacts: addressed by what they were made from, atomic and checksummed.

An artefact is a folder ``<root>/<kind>/<key>/`` with ``tensors.safetensors`` and ``record.json``.
Its key is a hash of the specification it was made from. It is written beside its place and moved
there when it is whole. Work in progress lies under ``<root>/partial/<key>/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs
from safetensors.torch import load_file, save_file
from torch import Tensor

Spec = Mapping[str, Any]
_KINDS = ("models", "tables")


class CorruptArtefact(ValueError):
    """A stored artefact is not what was written; the message says how to remove it."""


@dataclass(frozen=True)
class Entry:
    """One stored artefact: its kind, key, size in bytes, and what it was made from."""

    kind: str
    key: str
    size: int
    spec: dict[str, Any]


def store_root() -> Path:
    """Folder of the store: ``LRNB_HOME``, or the user's cache."""
    return Path(os.environ.get("LRNB_HOME") or platformdirs.user_cache_dir("lrnb")) / "store"


def key(spec: Spec) -> str:
    """Hash of a specification; the order of its entries does not matter.

    >>> key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def save(kind: str, spec: Spec, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    """Store tensors and a JSON record under a specification, replacing what was there.

    Args:
        kind: "models" or "tables".
        spec: what the artefact was made from; JSON values.
        tensors: by name; may be empty.
        record: JSON values that go with it.

    Returns:
        The artefact's folder.
    """
    place = _place(kind, spec)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        weights = whole / "tensors.safetensors"
        write_tensors(weights, tensors)
        content = {"spec": dict(spec), "record": dict(record), "sha256": _sha256(weights)}
        (whole / "record.json").write_text(json.dumps(content, indent=1))
        if place.exists():
            place.rename(Path(scratch) / "replaced")
        whole.rename(place)
    return place


def load(kind: str, spec: Spec) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What is stored under a specification: its tensors and record; None if there is nothing.

    Raises:
        CorruptArtefact: its files are damaged.
    """
    place = _place(kind, spec)
    if not place.exists():
        return None
    try:
        content = json.loads((place / "record.json").read_text())
        weights = place / "tensors.safetensors"
        intact = content["sha256"] == _sha256(weights)
        if intact:
            return load_file(weights), content["record"]
    except (OSError, ValueError, KeyError) as error:
        raise _corrupt(kind, place) from error
    raise _corrupt(kind, place)


def load_record(kind: str, spec: Spec) -> dict[str, Any] | None:
    """The record stored under a specification, without its tensors; None if there is none."""
    try:
        content = json.loads((_place(kind, spec) / "record.json").read_text())
        record: dict[str, Any] = content["record"]
        return record
    except (OSError, ValueError, KeyError):
        return None


def partial(spec: Spec) -> Path:
    """Folder for work in progress on a specification; made if need be."""
    folder = store_root() / "partial" / key(spec)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def discard_partial(spec: Spec) -> None:
    """Remove the work in progress on a specification."""
    shutil.rmtree(store_root() / "partial" / key(spec), ignore_errors=True)


def lock(spec: Spec) -> filelock.BaseFileLock:
    """A lock between processes on one specification, for use in a ``with`` block."""
    folder = store_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / f"{key(spec)}.lock")


def entries() -> list[Entry]:
    """Everything that is stored, by kind and key."""
    found = []
    for kind in _KINDS:
        for record in sorted((store_root() / kind).glob("[!.]*/record.json")):
            try:
                spec = json.loads(record.read_text())["spec"]
            except (ValueError, KeyError):
                spec = {"damaged": True}
            size = sum(f.stat().st_size for f in record.parent.iterdir())
            found.append(Entry(kind, record.parent.name, size, spec))
    return found


def remove(prefix: str) -> list[Entry]:
    """Remove every artefact whose key begins with ``prefix``; return what was removed.

    Raises:
        LookupError: no key begins so.
    """
    chosen = [entry for entry in entries() if entry.key.startswith(prefix)]
    if not prefix or not chosen:
        raise LookupError(
            f"prefix={prefix!r}: the store holds no such key; `lrnb models` lists them"
        )
    for entry in chosen:
        shutil.rmtree(store_root() / entry.kind / entry.key)
    return chosen


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically: it appears whole or not at all."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, scratch, metadata=dict(metadata or {}))
    os.replace(scratch, file)


def _place(kind: str, spec: Spec) -> Path:
    return store_root() / kind / key(spec)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _corrupt(kind: str, place: Path) -> CorruptArtefact:
    return CorruptArtefact(
        f"{place} is damaged; remove it with `lrnb models remove {place.name}` and run again"
    )
