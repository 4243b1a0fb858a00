"""What is installed and found on this machine, and what publishing the book still needs."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator

import torch

from lrnb import _provenance, _store, data, metrics
from lrnb.metrics.images import LPIPS_NETS
from lrnb.publish import run, staleness

# good, subject, what was found, what to do about it, whether it concerns publishing
Finding = tuple[bool, str, str, str, bool]


def findings() -> Iterator[Finding]:
    """Everything that `lrnb doctor` reports, in order."""
    facts = _provenance.environment()
    recent = sys.version_info >= (3, 10)
    yield recent, "Python", platform.python_version(), "use Python 3.10 to 3.13", False
    for package in ("lrnb", "torch", "torchvision", "torchmetrics", "lpips"):
        there = facts[package] != "not installed"
        yield there, package, facts[package], f"pip install {package}", False
    for module, use in (("papermill", "run"), ("jupyter_book", "build"), ("nbval", "validate")):
        there = importlib.util.find_spec(module) is not None
        found = "installed" if there else "missing"
        yield there, module, found, f"needed by `lrnb {use}`: make setup", False
    remedy = "no GPU; smoke and quick take minutes, standard hours, paper days"
    yield torch.cuda.is_available(), "device", facts["device"], remedy, False
    for name, entry in data.DATASETS.items():
        place = "embedded" if entry.files is None else str(data.data_root())
        there, remedy = data.is_present(name), f"lrnb fetch {name}, or set LRNB_DATA"
        yield there, name, place if there else f"not in {place}", remedy, False
    for net in LPIPS_NETS:
        there = metrics.lpips_is_present(net)
        remedy = f"lrnb fetch lpips --net {net}, or set TORCH_HOME"
        found = "weights found" if there else "no weights"
        yield there, f"LPIPS ({net})", found, remedy, False
    held = _store.entries()
    size = sum(entry.size for entry in held) / 1e6
    found = f"{_store.store_root()}: {len(held)} artefacts, {size:.1f} MB"
    yield True, "store", found, "", False
    yield from _of_book()


def _of_book() -> Iterator[Finding]:
    """What publishing needs: the address in every place, and outputs of the present code."""
    try:
        root = _provenance.project_root()
    except FileNotFoundError:
        remedy = "change to one for `lrnb run` and `lrnb build`"
        yield False, "book", "not in a clone", remedy, True
        return
    url, branch = run.repository(root)
    remedy = "set repository.url in _config.yml and in the setup cell of each notebook"
    yield "your-account" not in url, "repository", url, remedy, True
    wanted = f"git+{url}@{branch}"
    for chapter in run.chapters(root):
        if wanted not in chapter.read_text(encoding="utf-8"):
            remedy = f"its setup cell must install from {wanted}, as _config.yml says"
            yield False, chapter.name, "installs lrnb from another address", remedy, True
    for made in staleness.check(run.chapters(root)):
        if not made.own:
            yield False, made.notebook, "its code has changed", made.refresh, True
        elif not made.package:
            found = f"made with {made.made_with}; the package has changed"
            yield False, made.notebook, found, made.refresh, True
