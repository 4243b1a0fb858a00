"""The store of finished artefacts: addressed by what they were made from, atomic and checksummed.

An artefact is a folder ``<root>/<kind>/<key>/`` with ``record.json`` and, if it has any tensors,
``tensors.safetensors``. Its key is a hash of the specification it was made from. It is written
beside its place and moved there when it is complete. Work in progress lies in ``partial/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import platformdirs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrnb._cost import measured
from lrnb._validation import UnknownName

Spec = Mapping[str, Any]
Artefact = tuple[Mapping[str, Tensor], Mapping[str, Any]]
_TENSORS = "tensors.safetensors"
_KINDS = ("models", "tables", "partial")
log = logging.getLogger(__name__)
# artefacts by key: what each is, what it cost; those of this process, and of each one being made
_used: dict[str, dict[str, Any]] = {}
_making: list[dict[str, dict[str, Any]]] = [_used]


class Entry(NamedTuple):
    """One stored artefact: its kind, key, size in bytes, and what it was made from."""

    kind: str
    key: str
    size: int
    spec: dict[str, Any]


def cache_root() -> Path:
    """Folder for everything that is kept: ``LRNB_HOME``, or the user's cache."""
    return Path(os.environ.get("LRNB_HOME") or platformdirs.user_cache_dir("lrnb"))


def store_root() -> Path:
    """Folder of the store."""
    return cache_root() / "store"


def key(spec: Spec) -> str:
    """Hash of a specification; the order of its entries does not matter.

    >>> key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def get(
    kind: str, spec: Spec, make: Callable[[], Artefact], about: Mapping[str, Any] | None = None
) -> Artefact:
    """The tensors and record under a specification; made now, and stored, if there are none.

    Two processes that ask for the same make it once. Kept with it is what it cost (the last part,
    if its making was interrupted), what it was made from, and ``about``, for `used`.
    """
    with lock(spec):
        stored = _read(kind, spec)
        if stored is None:
            _making.append({})
            try:
                with measured() as cost:
                    found = make()
            finally:
                uses = _making.pop()
            uses[key(spec)] = dict(about or {}) | asdict(cost)
            save(kind, spec, *found, uses)
        else:
            found, uses = (stored[0], stored[1]["record"]), stored[1].get("uses", {})
    for open_record in _making:
        open_record |= uses
    return found


def used() -> dict[str, dict[str, Any]]:
    """By key, what this process got from the store and what that was made from: about, cost."""
    return dict(_used)


def save(
    kind: str,
    spec: Spec,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    uses: Mapping[str, Any],
) -> None:
    """Store tensors and a JSON record under a specification, replacing what was there."""
    place = _place(kind, spec)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as scratch:
        complete = Path(scratch) / "complete"
        complete.mkdir()
        if tensors:
            write_tensors(complete / _TENSORS, tensors)
        checksum = _checksum(record, complete / _TENSORS)
        content = {"spec": dict(spec), "record": dict(record), "sha256": checksum, "uses": uses}
        (complete / "record.json").write_text(json.dumps(content, indent=1))
        if place.exists():
            place.rename(Path(scratch) / "replaced")
        complete.rename(place)


def holds(kind: str, spec: Spec) -> bool:
    """Whether something is stored under a specification; it is not read."""
    return (_place(kind, spec) / "record.json").is_file()


def find(kind: str, spec: Spec) -> Artefact | None:
    """The tensors and record under a specification; None if there is nothing.

    What is damaged counts as absent, with a warning: it is made again.
    """
    stored = _read(kind, spec)
    return None if stored is None else (stored[0], stored[1]["record"])


def _read(kind: str, spec: Spec) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and all of record.json, or None as `find`."""
    place = _place(kind, spec)
    if not place.exists():
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, SafetensorError):
        content = json.loads((place / "record.json").read_text())
        if content["sha256"] == _checksum(content["record"], place / _TENSORS):
            weights = place / _TENSORS
            return load_file(weights) if weights.is_file() else {}, content
    log.warning("%s is damaged; it is made again", place)
    return None


def partial(spec: Spec) -> Path:
    """Folder for work in progress on a specification; created if need be."""
    folder = _place("partial", spec)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps({"spec": dict(spec)}))
    return folder


def discard_partial(spec: Spec) -> None:
    """Remove the work in progress on a specification."""
    shutil.rmtree(_place("partial", spec), ignore_errors=True)


def lock(spec: Spec) -> filelock.BaseFileLock:
    """A lock between processes on one specification, for use in a ``with`` block."""
    folder = store_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / f"{key(spec)}.lock")


def entries() -> list[Entry]:
    """Everything that is stored, by kind and key."""
    found = []
    for kind in _KINDS:
        for folder in sorted((store_root() / kind).glob("[!.]*")):
            try:
                spec = json.loads((folder / "record.json").read_text())["spec"]
            except (OSError, ValueError, KeyError):
                spec = {"damaged": True}
            size = sum(f.stat().st_size for f in folder.iterdir())
            found.append(Entry(kind, folder.name, size, spec))
    return found


def remove(prefix: str) -> list[Entry]:
    """Remove every artefact whose key begins with ``prefix``; return what was removed."""
    chosen = [entry for entry in entries() if entry.key.startswith(prefix)]
    if not prefix or not chosen:
        raise UnknownName(
            f"prefix must begin a key that `lrnb models` lists, got {prefix!r}: no such key"
        )
    for entry in chosen:
        shutil.rmtree(store_root() / entry.kind / entry.key)
    return chosen


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically: it appears complete or not at all."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, scratch, metadata=dict(metadata) if metadata else None)
    os.replace(scratch, file)


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, with the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, file)


def _place(kind: str, spec: Spec) -> Path:
    return store_root() / kind / key(spec)


def _checksum(record: Mapping[str, Any], weights: Path) -> str:
    seen = json.loads(json.dumps(record))  # as a reader will see it
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode())
    if weights.is_file():
        with weights.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
