"""The chapters of the book, and where it is published, from ``_toc.yml`` and ``_config.yml``."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from lrnb._validation import check_name


def chapters(root: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """The notebooks in the order of ``_toc.yml``; those whose name begins with one of ``chosen``."""
    toc = root / "_toc.yml"
    listed = toc.read_text(encoding="utf-8") if toc.is_file() else ""
    files = (root / "notebooks").glob("[0-9]*.ipynb")
    notebooks = sorted(files, key=lambda n: (listed.find(f"notebooks/{n.stem}"), n.stem))
    for name in chosen:
        if not any(n.stem.startswith(name) for n in notebooks):
            check_name("chapters", name, [n.stem for n in notebooks])
    return [n for n in notebooks if n.stem.startswith(tuple(chosen) or "")]


def repository(root: Path) -> tuple[str, str]:
    """Address and branch that the book is published from, as ``_config.yml`` has them."""
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return str(settings["url"]).rstrip("/"), str(settings["branch"])
