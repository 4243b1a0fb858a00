"""The store of finished artefacts: addressed by what they were made from, atomic and checksummed.

An artefact is a folder ``<root>/<kind>/<key>/`` with ``record.json`` and, if it has any tensors,
``tensors.safetensors``. Its key is a hash of the specification it was made from. It is written
beside its place and moved there when it is complete. Work in progress lies in ``partial/``.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import platformdirs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrnb._cost import peak_mb, reset_peak
from lrnb._validation import UnknownName

Fields = Mapping[str, Any]  # JSON values
Artefact = tuple[Mapping[str, Tensor], Fields]
_TENSORS = "tensors.safetensors"
log = logging.getLogger(__name__)
# what this process is making, the innermost last, after the process itself: what each used, by key
# (about, cost), and its seconds, without those of what was made inside it
_open: list[dict[str, Any]] = [{"uses": {}, "seconds": 0.0}]


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


def key(spec: Fields) -> str:
    """Hash of a specification; the order of its entries does not matter.

    >>> key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def get(
    kind: str, spec: Fields, make: Callable[[], Artefact], about: Fields | None = None
) -> Artefact:
    """The tensors and record under a specification; made now, once, if there are none.

    Kept with it, for `used`: ``about``, what it was made from, and what (the last part of) it cost.
    """
    with lock(spec):
        stored = find(kind, spec)
        if stored is None:
            _open.append({"uses": {}, "seconds": 0.0})
            start = time.perf_counter()
            reset_peak()
            try:
                made = make()
            finally:
                peak, taken = peak_mb(), time.perf_counter() - start
                work = _open.pop()
                _open[-1]["seconds"] -= taken
                reset_peak()
            cost = {"seconds": work["seconds"] + taken, "peak_mb": peak}
            work["uses"][key(spec)] = {**(about or {}), **cost}
            save(kind, spec, *made, work["uses"])
            stored = *made, work["uses"]
    for work in _open:
        work["uses"] |= stored[2]
    return stored[:2]


def used() -> dict[str, dict[str, Any]]:
    """By key, what this process got from the store and what that was made from: about, cost."""
    return dict(_open[0]["uses"])


def save(
    kind: str, spec: Fields, tensors: Mapping[str, Tensor], record: Fields, uses: Fields
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


def holds(kind: str, spec: Fields) -> bool:
    """Whether something is stored under a specification; it is not read."""
    return (_place(kind, spec) / "record.json").is_file()


def find(kind: str, spec: Fields) -> tuple[Mapping[str, Tensor], Fields, Fields] | None:
    """The tensors, record and uses under a specification, or None; what is damaged is absent."""
    place = _place(kind, spec)
    if not place.exists():
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, SafetensorError):
        content, weights = json.loads((place / "record.json").read_text()), place / _TENSORS
        if content["sha256"] == _checksum(content["record"], weights):
            tensors = load_file(weights) if weights.is_file() else {}
            return tensors, content["record"], content.get("uses", {})
    log.warning("%s is damaged; it is made again", place)
    return None


def partial(spec: Fields) -> Path:
    """Folder for work in progress on a specification; created if need be."""
    folder = _place("partial", spec)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps({"spec": dict(spec)}))
    return folder


def discard_partial(spec: Fields) -> None:
    """Remove the work in progress on a specification."""
    shutil.rmtree(_place("partial", spec), ignore_errors=True)


def lock(spec: Fields) -> filelock.BaseFileLock:
    """A lock between processes on one specification, for use in a ``with`` block."""
    folder = store_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / f"{key(spec)}.lock")


def entries() -> list[Entry]:
    """Everything that is stored, by kind and key."""
    found = []
    for kind in ("models", "tables", "partial"):
        for folder in sorted((store_root() / kind).glob("[!.]*")):
            try:
                spec = json.loads((folder / "record.json").read_text())["spec"]
            except (OSError, ValueError, KeyError):
                spec = {"damaged": True}
            size = sum(file.stat().st_size for file in folder.iterdir())
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


@contextlib.contextmanager
def replacing(file: Path) -> Generator[Path, None, None]:
    """A path to write to that takes the place of ``file`` at the end: complete or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    yield scratch
    os.replace(scratch, file)


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, complete or not at all."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(file) as scratch:
        save_file(contiguous, scratch, metadata)


def write_text(file: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with replacing(file) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _place(kind: str, spec: Fields) -> Path:
    return store_root() / kind / key(spec)


def _checksum(record: Fields, weights: Path) -> str:
    seen = json.loads(json.dumps(record))  # as a reader will see it
    stored = weights.read_bytes() if weights.is_file() else b""
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode() + stored).hexdigest()
