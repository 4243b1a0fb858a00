"""What produced a result: a hash of the code that decides it, versions, machine, time."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import io
import os
import platform
import subprocess
import textwrap
import tokenize
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lrnb._validation import Registry

_PACKAGES = ("lrnb", "torch", "torchvision", "numpy", "scikit-learn", "torchmetrics", "lpips")


@functools.cache
def code_hash(*objects: Hashable) -> str:
    """Hash of the source of functions, classes, modules and registry entries, and of all they use.

    What they use is found by following names: every function, class and constant of this package
    that the code refers to, except those of private modules (``lrnb._*``), which decide no number,
    and the contents of registries, of which only the entries given count. Comments, docstrings and
    layout do not count.

    >>> len(code_hash(code_hash))
    16
    """
    found: dict[str, str] = {}
    for given in objects:
        _collect(given, found)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]


def _collect(value: Any, found: dict[str, str], name: str = "") -> None:
    """Add the source of ``value`` and of what it refers to; ``name`` says where it was found."""
    value = inspect.unwrap(getattr(value, "func", value)) if callable(value) else value
    if isinstance(value, (FunctionType, type, ModuleType)):
        module = value.__name__ if isinstance(value, ModuleType) else value.__module__
        key = f"{module}:{getattr(value, '__qualname__', '')}"
        local = module.startswith("lrnb.") and not module.startswith("lrnb._")
        if key in found or not local:
            return
        found[key] = _source_of(value)
        if isinstance(value, FunctionType):
            _collect_names(value.__code__, value.__globals__, found)
        members = vars(value).values() if not isinstance(value, FunctionType) else ()
        for member in members:
            for part in (member, *(getattr(member, a, None) for a in ("fget", "__func__"))):
                if isinstance(part, (FunctionType, type)) and part.__module__ == module:
                    _collect(part, found)
        for base in value.__bases__ if isinstance(value, type) else ():
            _collect(base, found)
    elif isinstance(value, (Registry, ModuleType)):
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _collect(item, found, f"{name}.{key}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        for i, item in enumerate(value):
            _collect(item, found, f"{name}.{i}")
    elif hasattr(type(value), "__dataclass_fields__") or type(value).__module__.startswith("lrnb."):
        _collect(type(value), found)
        shown = [
            f.name for f in getattr(value, "__dataclass_fields__", {}).values() if not f.compare
        ]
        for field, item in sorted(getattr(value, "__dict__", {}).items()):
            if field not in shown:  # (a label, a color: excluded from comparison)
                _collect(item, found, f"{name}.{getattr(value, 'name', '')}.{field}")
    elif name and isinstance(value, (bool, int, float, str, type(None))):
        found[name] = repr(value)


def _collect_names(code: CodeType, scope: Mapping[str, Any], found: dict[str, str]) -> None:
    for name in code.co_names:
        value = scope.get(name)
        if name.startswith("lrnb"):  # imported inside the function
            value = importlib.import_module(name)
        if isinstance(value, ModuleType) and value.__name__.startswith("lrnb"):
            for attribute in code.co_names:
                if hasattr(value, attribute):
                    _collect(getattr(value, attribute), found, f"{value.__name__}.{attribute}")
        elif not isinstance(value, ModuleType):
            _collect(value, found, f"{scope['__name__']}.{name}" if name in scope else "")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect_names(constant, scope, found)


@functools.cache
def _source_of(value: Any) -> str:
    """The source without comments, docstrings and whitespace: the same under every Python."""
    if isinstance(value, ModuleType):
        return ""
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        return ""  # (made by a decorator, as a dataclass's methods are)
    lines = text.splitlines(keepends=True)
    cut: list[tuple[tuple[int, int], tuple[int, int]]] = [
        (token.start, token.end)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(text)):
        for statement in getattr(node, "body", None) or () if isinstance(node, ast.stmt) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                end = statement.end_lineno or statement.lineno
                cut.append(((statement.lineno, 0), (end, len(lines[end - 1]))))
    for (row, column), (end_row, end_column) in sorted(cut, reverse=True):
        lines[row - 1 : end_row] = [lines[row - 1][:column] + lines[end_row - 1][end_column:]]
    return "".join("".join(lines).split())


def environment() -> dict[str, str]:
    """Versions, device, commit and the present time (UTC), as short strings."""
    facts = {package: version(package) for package in _PACKAGES}
    facts |= {"python": platform.python_version(), "device": device_name(), "commit": _commit()}
    return facts | {"time": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def device_name() -> str:
    """The accelerator torch would use, or the processor with its cores."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def project_root() -> Path:
    """The folder of the book: the working directory or the nearest one above with ``_toc.yml``.

    Raises:
        FileNotFoundError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"the book was looked for in {here} and the folders above it, none of which has _toc.yml "
        "and notebooks/; change to a clone of the repository"
    )


def _commit() -> str:
    """The commit of the package's code, with a mark if the code differs from it."""
    source = Path(__file__).resolve().parent
    if not (source.parent / ".git").exists():
        return "not a checkout"
    try:
        commit = _git(source, "rev-parse", "--short=10", "HEAD")
        return f"{commit} with changes" if _git(source, "status", "--porcelain", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines: Iterable[str] = info.read_text().splitlines() if info.is_file() else ()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({cores()} cores)"
