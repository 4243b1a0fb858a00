"""Whether the outputs of a notebook are those of its present code, and of the package's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from lrnb import provenance

# the modules whose code decides what a table, a verdict or a number of the book is
COMPUTING = (
    "attacks", "balls", "claims", "comparison", "cost", "data", "defence", "disentanglement",
    "experiments", "folding", "geometry", "intervals", "jacobian", "metrics", "minimal", "models",
    "objectives", "pictures", "results", "robustness", "shift", "steering", "steprules", "strength",
    "sweep", "training",
)  # fmt: skip
_STAMP = "lrnb"


@dataclass(frozen=True)
class Freshness:
    """What has changed since a notebook's outputs were made.

    Attributes:
        notebook: name of the file.
        own: whether the notebook's own code is still what produced them.
        package: whether the package's code is.
        made_with: version and commit of the package that produced them.
        parameters: they were produced with.
    """

    notebook: str
    own: bool
    package: bool
    made_with: str
    parameters: Mapping[str, Any]

    @property
    def refresh(self) -> str:
        """The command that makes the outputs anew."""
        options = [f"--chapters {self.notebook[:2]}"]
        for name in ("profile", "datasets", "seeds"):
            given = self.parameters.get(name)
            if given:
                values = given if isinstance(given, list) else [given]
                options.append(f"--{name} {','.join(map(str, values))}")
        return f"lrnb run {' '.join(options)} --in-place"


def stamp(notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Write into a notebook that was just executed what its outputs were made with."""
    facts = provenance.environment()
    notebook.metadata[_STAMP] = {
        "code": _code_of(notebook),
        "package": provenance.code_fingerprint(*COMPUTING),
        "made_with": f"lrnb {facts['lrnb']}, commit {facts['commit']}",
        "parameters": dict(parameters),
    }


def check(notebooks: Iterable[Path]) -> list[Freshness]:
    """How fresh the outputs of notebooks are; one that was never stamped is not fresh.

    Comments and docstrings of the package do not count, nor does the notebooks' text.
    """
    found = []
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        made = notebook.metadata.get(_STAMP, {})
        found.append(
            Freshness(
                notebook=path.name,
                own=made.get("code") == _code_of(notebook),
                package=made.get("package") == provenance.code_fingerprint(*COMPUTING),
                made_with=made.get("made_with", "unknown code"),
                parameters=made.get("parameters", {}),
            )
        )
    return found


def _code_of(notebook: nbformat.NotebookNode) -> str:
    sources = [
        cell.source.strip()
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]
