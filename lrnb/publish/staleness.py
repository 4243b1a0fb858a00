"""Whether the outputs of a notebook are those of its present code, and of the package's."""

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import nbformat

from lrnb import _provenance

_DECIDING = r"lrnb\.(attacks|claims|data|metrics|models|studies)"


class Freshness(NamedTuple):
    """Whether a notebook's own code, and the package's, still are what made its outputs."""

    notebook: str
    own: bool
    package: bool
    made_with: str
    parameters: Mapping[str, Any]

    @property
    def refresh(self) -> str:
        """The command that makes the outputs again."""
        options = f"--chapters {self.notebook[:2]} "
        for name in ("profile", "datasets", "seeds"):
            if given := self.parameters.get(name):
                values = given if isinstance(given, list) else [given]
                options += f"--{name} {','.join(map(str, values))} "
        return f"lrnb run {options}--in-place"


def stamp(notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Write into a notebook that was just executed what its outputs were made with."""
    facts = _provenance.environment()
    made_with = f"lrnb {facts['lrnb']}, commit {facts['commit']}"
    about = {"made_with": made_with, "parameters": dict(parameters)}
    notebook.metadata["lrnb"] = _hashes(notebook) | about


def inputs(notebook: Path, given: Any, files: Iterable[Path]) -> str:
    """Hash of all that an execution of a notebook depends on.

    Of its cells without their outputs, all code of the package, Python and all installed versions,
    the device, what is ``given`` (JSON values), and the content of files.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    shown = [[c.metadata.get(name) for name in ("tags", "alt")] for c in cells]
    captions = [c.metadata.get("mystnb", {}).get("figure") for c in cells]
    book = [[c.cell_type, c.source] for c in cells], shown, captions, _provenance.device_name()
    both = json.dumps([book, given], sort_keys=True) + of_files(files)
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def of_files(files: Iterable[Path]) -> str:
    """Hash of the content of files, of all code of the package, and of all installed versions."""
    digest = hashlib.sha256(repr((sys.version, _installed(), _provenance.SOURCE)).encode())
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.parent.name}/{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


@functools.cache
def _installed() -> list[tuple[str, str]]:
    return sorted((found.name, found.version) for found in metadata.distributions())


def check(notebooks: Iterable[Path]) -> list[Freshness]:
    """How fresh the outputs of notebooks are; one that was never stamped is not fresh."""
    found = []
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        made = {"made_with": "unknown code", "parameters": {}} | notebook.metadata.get("lrnb", {})
        own, package = (made.get(name) == value for name, value in _hashes(notebook).items())
        found.append(Freshness(path.name, own, package, made["made_with"], made["parameters"]))
    return found


def _hashes(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Hashes of the notebook's code, and of what it names of the package and all that uses.

    Comments and docstrings of the package do not count, nor do figures and the book tool.
    """
    cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    sources = [cell.source.strip() for cell in cells if cell.cell_type == "code"]
    names: set[str] = set()
    for source in sources:
        lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Attribute):
                names.add(ast.unparse(node))
    named = [_resolve(name) for name in sorted(names) if name.startswith("lrnb.")]
    code = hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]
    package = _provenance.code_hash(*(value for value in named if value is not None))
    return {"code": code, "package": package}


def _resolve(name: str) -> Any:
    """The object of a dotted name in a package that decides numbers, else None."""
    value: Any = importlib.import_module("lrnb")
    for part in name.split(".")[1:]:
        if isinstance(value, ModuleType) and not hasattr(value, part):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{value.__name__}.{part}")
        value = getattr(value, part, None)
    module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
    return value if re.match(_DECIDING, module) else None
