"""The store of finished artefacts: addressed by what they were made from, atomic and checksummed.

An artefact is a folder ``<root>/<kind>/<key>/`` with ``record.json`` and, if it has any tensors, a
safetensors file that the record names. Its key is a hash of the specification it was made from. The
record is written last, in one step, so a reader finds the old artefact or the new one, never half
of each, and needs no lock. Work in progress lies in ``partial/``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import platformdirs
from safetensors import SafetensorError

from lrnb._cost import peak_mb, reset_peak
from lrnb._provenance import device_name
from lrnb._validation import UnknownName

if TYPE_CHECKING:  # (`lrnb models` answers without torch)
    from torch import Tensor

Fields = Mapping[str, Any]  # JSON values
Artefact = tuple[Mapping[str, "Tensor"], Fields]  # its tensors and its record
Stored = tuple[Mapping[str, "Tensor"], Fields, Fields]  # and what it was made from, and its cost
log = logging.getLogger(__name__)
_used: dict[str, dict[str, Any]] = {}  # by key, what this process got: about and cost
_here = threading.local()  # .open: what this thread is making, the innermost last
# numbers of threads are global in torch: one thread of a process makes something at a time
alone = threading.RLock()


class Entry(NamedTuple):
    """One stored artefact: its kind, key, size in bytes, what it was made from, and its cost."""

    kind: str
    key: str
    size: int
    spec: dict[str, Any]
    cost: dict[str, Any]  # about, seconds, peak_mb; empty for what is damaged or not finished

    def __str__(self) -> str:
        """In words what it is, as far as its specification can be read."""
        try:
            model = self.spec.get("model", self.spec)
            recipe, size = model["recipe"], model["size"]
            text = f"{self.spec['table']}: " if "table" in self.spec else ""
            if recipe["family"] == "classifier":
                return f"classifier of {recipe['dataset']}"
            text += recipe["family"] + (f" β={recipe['beta']:g}" if recipe["beta"] != 1 else "")
            if "adv_form" in recipe:
                text += f" ({recipe['adv_form']}, ε={recipe['adv_eps']:g})"
            scale = f"{size['n_train'] or 'all'} images × {size['epochs']} epochs"
            return f"{text} on {recipe['dataset']}, seed {recipe['seed']} ({scale})"
        except (LookupError, TypeError, ValueError, AttributeError):
            return "damaged, or of another version: remove it"


def cache_root() -> Path:
    """Folder for everything that is kept: ``LRNB_HOME``, or the user's cache."""
    return Path(os.environ.get("LRNB_HOME") or platformdirs.user_cache_dir("lrnb")).expanduser()


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

    It is made on one core, so that its numbers do not depend on how many there are; tables, on a GPU,
    in full precision. Kept with it, for `used`: ``about``, what it was made from, what it cost.
    """
    stored = find(kind, spec)
    if stored is None:
        with alone, lock(spec):  # (in this order: who waits for a thread holds no lock)
            stored = find(kind, spec) or _make(kind, spec, make, about or {})
    for uses in (_used, *(work["uses"] for work in getattr(_here, "open", ()))):
        uses |= stored[2]
    return stored[:2]


def _make(kind: str, spec: Fields, make: Callable[[], Artefact], about: Fields) -> Stored:
    """Make and store an artefact; what is made inside it counts there and not here."""
    import torch
    from threadpoolctl import threadpool_limits

    _here.open = [*getattr(_here, "open", ()), {"uses": {}, "seconds": 0.0}]
    start, threads = time.perf_counter(), torch.get_num_threads()
    reset_peak()
    try:
        torch.set_num_threads(1)  # sums over several round differently
        exact = torch.backends.cudnn.flags(deterministic=True, allow_tf32=kind == "models")
        with threadpool_limits(1), exact, torch.enable_grad():  # (whatever the caller does)
            made = make()
    finally:
        torch.set_num_threads(threads)
        peak, taken = peak_mb(), time.perf_counter() - start
        work = _here.open.pop()
        if _here.open:
            _here.open[-1]["seconds"] -= taken
        reset_peak()
    cost = {"seconds": work["seconds"] + taken, "peak_mb": peak}
    work["uses"][key(spec)] = {**about, **cost, "device": device_name()}
    save(kind, spec, *made, work["uses"])
    return *made, work["uses"]


def making() -> bool:
    """Whether this thread is making an artefact."""
    return bool(getattr(_here, "open", ()))


def used() -> dict[str, dict[str, Any]]:
    """By key, what this process got from the store and what that was made from: about, cost."""
    return dict(_used)


def save(
    kind: str, spec: Fields, tensors: Mapping[str, Tensor], record: Fields, uses: Fields
) -> None:
    """Store tensors and a JSON record under a specification, replacing what was there."""
    from safetensors import torch as safetensors

    place = _place(kind, spec)
    content: dict[str, Any] = {"spec": spec, "record": record, "uses": uses, "tensors": None}
    with lock(spec):
        if tensors:
            held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            data = safetensors.save(held)
            content["tensors"] = _named(data)
            write(place / content["tensors"], data)
        content["sha256"] = _checksum(content)
        write(place / "record.json", json.dumps(content, indent=1).encode())
        for other in place.iterdir():  # what an earlier writer left
            if other.name not in ("record.json", content["tensors"]):
                other.unlink()


def holds(kind: str, spec: Fields) -> bool:
    """Whether something is stored under a specification; it is not read."""
    return (_place(kind, spec) / "record.json").is_file()


def find(kind: str, spec: Fields) -> Stored | None:
    """The tensors, record and uses under a specification, or None; what is damaged is absent."""
    place = _place(kind, spec)
    with contextlib.suppress(ValueError, TypeError, LookupError, SafetensorError):
        for _ in range(3):  # (a file that is gone may have been replaced meanwhile)
            try:
                return _read(place, spec)
            except FileNotFoundError:
                if not (place / "record.json").exists():
                    return None
    log.warning("%s is damaged or belongs elsewhere; it is made again", place)
    return None


def _read(place: Path, spec: Fields) -> Stored:
    from safetensors import torch as safetensors

    content = json.loads((place / "record.json").read_bytes())
    name = content["tensors"]
    data = (place / name).read_bytes() if name else b""
    if content["sha256"] != _checksum(content) or name not in (None, _named(data)):
        raise ValueError("the checksum differs")
    if content["spec"] != json.loads(json.dumps(spec)):
        raise ValueError("it was made from something else")
    return safetensors.load(data) if name else {}, content["record"], content["uses"]


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
    # (a singleton, so that one thread may take it twice)
    return filelock.FileLock(folder / f"{key(spec)}.lock", is_singleton=True)


def entries() -> list[Entry]:
    """Everything that is stored, by kind and key."""
    found = []
    for kind in ("models", "tables", "partial"):
        for folder in sorted((store_root() / kind).glob("[!.]*")):
            spec, cost = None, None
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
                record = json.loads((folder / "record.json").read_text())
                spec, cost = record["spec"], record.get("uses", {}).get(folder.name)
            spec = spec if isinstance(spec, dict) else {"damaged": True}
            size = 0
            with contextlib.suppress(FileNotFoundError):  # (a run may be going on)
                size = sum(file.stat().st_size for file in folder.iterdir())
            found.append(Entry(kind, folder.name, size, spec, cost or {}))
    return found


def remove(prefix: str) -> list[Entry]:
    """Remove every artefact whose key begins with ``prefix`` ("" for all); return what was removed."""
    chosen = [entry for entry in entries() if entry.key.startswith(prefix)]
    if prefix and not chosen:
        raise UnknownName(
            f"prefix must begin a key that `lrnb models` lists, got {prefix!r}: no such key"
        )
    for entry in chosen:
        shutil.rmtree(store_root() / entry.kind / entry.key)
        (store_root() / "locks" / f"{entry.key}.lock").unlink(missing_ok=True)
    return chosen


@contextlib.contextmanager
def replacing(file: Path) -> Generator[Path, None, None]:
    """A path to write to that takes the place of ``file`` at the end: complete or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield scratch
        os.replace(scratch, file)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(error.errno, "no space is left, free some to write", str(file)) from error
    finally:
        scratch.unlink(missing_ok=True)


def write(file: Path, content: bytes) -> None:
    """Write a file, complete or not at all."""
    with replacing(file) as scratch:
        scratch.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    write(file, text.encode())


def write_checked(file: Path, content: bytes) -> None:
    """Write a file that begins with a checksum of the rest."""
    write(file, hashlib.sha256(content).digest() + content)


def read_checked(file: Path) -> bytes | None:
    """What `write_checked` wrote; None where there is no file, or a damaged one."""
    content = file.read_bytes() if file.is_file() else b""
    digest, content = content[:32], content[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def _place(kind: str, spec: Fields) -> Path:
    return store_root() / kind / key(spec)


def _named(data: bytes) -> str:
    """The name of a file of tensors: its checksum."""
    return f"{hashlib.sha256(data).hexdigest()}.safetensors"


def _checksum(content: Fields) -> str:
    """Of all that a record holds but the checksum itself, as a reader will see it."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    seen = json.dumps(json.loads(json.dumps(rest)), sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()
