"""Whether the outputs of a notebook are those of its present code, and of the package's."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from lrnb import _provenance

_STAMP = "lrnb"
_DECIDING = ("attacks", "claims", "data", "metrics", "models", "studies")


@dataclass(frozen=True)
class Freshness:
    """What has changed since a notebook's outputs were made.

    Attributes:
        notebook: name of the file.
        own, package: whether its own code, and the package's, still are what produced them.
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
        """The command that makes the outputs again."""
        options = [f"--chapters {self.notebook[:2]}"]
        for name in ("profile", "datasets", "seeds"):
            given = self.parameters.get(name)
            if given:
                values = given if isinstance(given, list) else [given]
                options.append(f"--{name} {','.join(map(str, values))}")
        return f"lrnb run {' '.join(options)} --in-place"


def stamp(notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Write into a notebook that was just executed what its outputs were made with."""
    facts = _provenance.environment()
    notebook.metadata[_STAMP] = {
        "code": _hash_of(notebook),
        "package": package_hash(notebook),
        "made_with": f"lrnb {facts['lrnb']}, commit {facts['commit']}",
        "parameters": dict(parameters),
    }


def check(notebooks: Iterable[Path]) -> list[Freshness]:
    """How fresh the outputs of notebooks are; one that was never stamped is not fresh."""
    found = []
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        made = notebook.metadata.get(_STAMP, {})
        found.append(
            Freshness(
                notebook=path.name,
                own=made.get("code") == _hash_of(notebook),
                package=made.get("package") == package_hash(notebook),
                made_with=made.get("made_with", "unknown code"),
                parameters=made.get("parameters", {}),
            )
        )
    return found


def package_hash(notebook: nbformat.NotebookNode) -> str:
    """Hash of the code that decides a notebook's numbers: what it names of the package, and so on.

    Comments and docstrings do not count, nor do figures and the book tool.
    """
    names: set[str] = set()
    for source in _sources(notebook):
        lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrnb"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Attribute):
                names.add(ast.unparse(node))
    found = (_resolve(name) for name in sorted(names) if name.startswith("lrnb."))
    return _provenance.code_hash(*(value for value in found if value is not None))


def _resolve(name: str) -> Any:
    """The object of a dotted name in a package that decides numbers, else None."""
    value: Any = importlib.import_module("lrnb")
    for part in name.split(".")[1:]:
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(f"{value.__name__}.{part}")
            except (AttributeError, ImportError):
                return None
    module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
    return value if module.startswith(tuple(f"lrnb.{p}" for p in _DECIDING)) else None


def _hash_of(notebook: nbformat.NotebookNode) -> str:
    return hashlib.sha256(json.dumps(_sources(notebook)).encode()).hexdigest()[:16]


def _sources(notebook: nbformat.NotebookNode) -> list[str]:
    return [
        cell.source.strip()
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
