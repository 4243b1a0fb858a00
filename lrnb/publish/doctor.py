"""What is installed and found on this machine, and what publishing the book still needs."""

import importlib.util
import platform
from collections.abc import Iterator

from lrnb import _provenance, _store

# good, subject, what was found, what to do about it, whether it concerns publishing
Finding = tuple[bool, str, str, str, bool]


def findings(*, quick: bool = False) -> Iterator[Finding]:
    """Everything that `lrnb doctor` reports, in order; ``quick``: what is known without torch."""
    yield True, "Python", platform.python_version(), "", False
    for package in ("lrnb", "torch", "torchvision", "torchmetrics", "lpips"):
        found = _provenance.version(package)
        yield found != "not installed", package, found, f"pip install {package}", False
    for module, use in (("papermill", "run"), ("jupyter_book", "build"), ("nbval", "validate")):
        there = importlib.util.find_spec(module) is not None
        remedy = f"needed by `lrnb {use}`: make setup"
        yield there, module, "installed" if there else "missing", remedy, False
    held = _store.entries()
    size = f"{len(held)} artefacts, {sum(entry.size for entry in held) / 1e6:.1f} MB"
    yield True, "store", f"{_store.store_root()}: {size}", "", False
    if not quick:
        yield from _of_machine()
        try:
            yield from _of_book()
        except FileNotFoundError:
            remedy = "change to one for `lrnb run` and `lrnb build`"
            yield False, "book", "not in a clone", remedy, True


def _of_machine() -> Iterator[Finding]:
    """The device, the data and the weights of LPIPS."""
    from lrnb import data, metrics
    from lrnb.metrics.images import LPIPS_NETS

    remedy = "no GPU; smoke and quick take minutes, standard hours, paper days"
    yield _provenance.gpus() > 0, "device", _provenance.device_name(), remedy, False
    for name, entry in data.DATASETS.items():
        place = "embedded" if entry.files is None else str(data.data_root())
        there, remedy = data.is_present(name), f"lrnb fetch {name}, or set LRNB_DATA"
        yield there, name, place if there else f"not in {place}", remedy, False
    for net in LPIPS_NETS:
        there, remedy = metrics.lpips_is_present(net), f"lrnb fetch lpips --net {net}"
        found = "weights found" if there else "no weights"
        yield there, f"LPIPS ({net})", found, f"{remedy}, or set TORCH_HOME", False


def _of_book() -> Iterator[Finding]:
    """What publishing needs: the address in every place, and outputs of the present code."""
    from lrnb.publish import contents, staleness

    root = _provenance.project_root()
    (url, branch), chapters = contents.repository(root), contents.chapters(root)
    remedy = "set repository.url in _config.yml and in the setup cell of each notebook"
    yield "your-account" not in url, "repository", url, remedy, True
    wanted = f"git+{url}@{branch}"
    for chapter in chapters:
        if wanted not in chapter.read_text(encoding="utf-8"):
            remedy = f"its setup cell must install from {wanted}, as _config.yml says"
            yield False, chapter.name, "installs lrnb from another address", remedy, True
    for made in staleness.check(chapters):
        if not (made.own and made.package):
            found = "its code has changed"
            if made.own:
                found = f"made with {made.made_with}; the package has changed"
            yield False, made.notebook, found, made.refresh, True
