"""The store of finished artefacts: addressed by what they were made from, atomic and checksummed.

An artefact is a folder ``<root>/<kind>/<key>/`` with ``record.json`` and, if it has any tensors,
``tensors.safetensors``. Its key is a hash of the specification it was made from. It is written
beside its place and moved there when it is whole. Work in progress lies under
``<root>/partial/<key>/``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrnb.checks import UnknownName
from lrnb.cost import Cost, measured

Spec = Mapping[str, Any]
Artefact = tuple[Mapping[str, Tensor], Mapping[str, Any]]
_TENSORS = "tensors.safetensors"
_KINDS = ("models", "tables", "partial")
log = logging.getLogger(__name__)
_used: dict[str, tuple[dict[str, Any], Cost]] = {}


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


def get(kind: str, spec: Spec, make: Callable[[], Artefact]) -> Artefact:
    """The tensors and record under a specification; made now, and stored, if there are none.

    Two processes that ask for the same make it once. What it cost to make is kept with it; of work
    that was interrupted, what its last part cost.
    """
    with lock(spec):
        found: Artefact | None = find(kind, spec)
        if found is None:
            with measured() as cost:
                found = make()
            save(kind, spec, *found, cost)
        else:
            content = json.loads((_place(kind, spec) / "record.json").read_text())
            cost = Cost(**content.get("cost", {}))
    _used[key(spec)] = (dict(spec), cost)
    return found


def used() -> dict[str, tuple[dict[str, Any], Cost]]:
    """What this process got from the store, by key: its specification and what it cost."""
    return dict(_used)


def save(
    kind: str,
    spec: Spec,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    cost: Cost | None = None,
) -> Path:
    """Store tensors and a JSON record under a specification, replacing what was there.

    Args:
        kind: "models" or "tables".
        spec: what the artefact was made from; JSON values.
        tensors: by name; may be empty.
        record: JSON values that go with it.
        cost: of making them.

    Returns:
        The artefact's folder.
    """
    place = _place(kind, spec)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        if tensors:
            write_tensors(whole / _TENSORS, tensors)
        checksum = _checksum(record, whole / _TENSORS)
        content = {"spec": dict(spec), "record": dict(record), "sha256": checksum}
        content |= {"cost": asdict(cost)} if cost else {}
        (whole / "record.json").write_text(json.dumps(content, indent=1))
        if place.exists():
            place.rename(Path(scratch) / "replaced")
        whole.rename(place)
    return place


def holds(kind: str, spec: Spec) -> bool:
    """Whether something is stored under a specification; it is not read."""
    return (_place(kind, spec) / "record.json").is_file()


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
        intact = content["sha256"] == _checksum(content["record"], place / _TENSORS)
        if intact:
            weights = place / _TENSORS
            return load_file(weights) if weights.is_file() else {}, content["record"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _corrupt(place) from error
    raise _corrupt(place)


def find(kind: str, spec: Spec) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Like `load`, but what is damaged counts as absent, with a warning: it can be made again."""
    try:
        return load(kind, spec)
    except CorruptArtefact as error:
        log.warning("%s; it is made again", error)
        return None


def partial(spec: Spec) -> Path:
    """Folder for work in progress on a specification; made if need be."""
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
    """Remove every artefact whose key begins with ``prefix``; return what was removed.

    Raises:
        UnknownName: no key begins so.
    """
    chosen = [entry for entry in entries() if entry.key.startswith(prefix)]
    if not prefix or not chosen:
        raise UnknownName(
            f"prefix={prefix!r} is not known: the store holds no such key; `lrnb models` lists them"
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
    save_file(contiguous, scratch, metadata=dict(metadata) if metadata else None)
    os.replace(scratch, file)


def _place(kind: str, spec: Spec) -> Path:
    return store_root() / kind / key(spec)


def _checksum(record: Mapping[str, Any], weights: Path) -> str:
    # through JSON and back, as a reader will see it
    seen = json.loads(json.dumps(record))
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode())
    if weights.is_file():
        with weights.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _corrupt(place: Path) -> CorruptArtefact:
    return CorruptArtefact(f"{place} is damaged; `lrnb models remove {place.name}` removes it")
