"""What produced a result: a hash of the code that decides it, versions, machine, time."""

import ast
import functools
import hashlib
import importlib
import inspect
import io
import os
import platform
import re
import subprocess
import textwrap
import threading
import tokenize
from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lrnb._validation import Registry

# of the code that this process has loaded (a file may be another one later)
SOURCE = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()[:16]
_parsing = threading.Lock()  # (Python 3.11 may fail to parse in two threads at once)
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
    with _parsing:
        for given in objects:
            _collect(given, found)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]


def _collect(value: Any, found: dict[str, str], name: str = "") -> None:
    """Add the source of ``value`` and of what it refers to; ``name`` says where it was found."""
    value = inspect.unwrap(getattr(value, "func", value)) if callable(value) else value
    if isinstance(value, (FunctionType, type, ModuleType)):
        module = value.__name__ if isinstance(value, ModuleType) else value.__module__
        key = f"{module}:{getattr(value, '__qualname__', '')}"
        if key in found or not module.startswith("lrnb.") or module.startswith("lrnb._"):
            return
        found[key] = "" if isinstance(value, ModuleType) else _source_of(value)
        if isinstance(value, FunctionType):
            _collect_names(value.__code__, value.__globals__, found)
        for member in vars(value).values():
            for part in (member, *(getattr(member, a, None) for a in ("fget", "__func__"))):
                if isinstance(part, (FunctionType, type)) and part.__module__ == module:
                    _collect(part, found)
        for base in value.__bases__ if isinstance(value, type) else ():
            _collect(base, found)
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for part, item in () if isinstance(value, Registry) else items:
            _collect(item, found, f"{name}.{part}")
    elif is_dataclass(value) or type(value).__module__.startswith("lrnb."):
        _collect(type(value), found)
        fields = getattr(value, "__dataclass_fields__", {})
        for field, item in sorted(getattr(value, "__dict__", {}).items()):
            if field not in fields or fields[field].compare:  # (a label, a color is not compared)
                _collect(item, found, f"{name}.{getattr(value, 'name', '')}.{field}")
    elif name and isinstance(value, (bool, int, float, str, type(None))):
        found[name] = repr(value)


def _collect_names(code: CodeType, scope: Mapping[str, Any], found: dict[str, str]) -> None:
    for name in code.co_names:
        imported = name.startswith("lrnb")  # inside the function
        value = importlib.import_module(name) if imported else scope.get(name)
        if not isinstance(value, ModuleType):
            _collect(value, found, f"{scope['__name__']}.{name}" if name in scope else "")
        elif value.__name__.startswith("lrnb"):
            for attribute in code.co_names:
                if hasattr(value, attribute):
                    _collect(getattr(value, attribute), found, f"{value.__name__}.{attribute}")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect_names(constant, scope, found)


@functools.cache
def _source_of(value: Any) -> str:
    """The source without comments, docstrings and whitespace: the same under every Python."""
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        return ""  # (made by a decorator, as a dataclass's methods are)
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        for child in getattr(node, "body", ()) if isinstance(node, ast.stmt) else ():
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                for row in range(child.lineno - 1, child.end_lineno or child.lineno):
                    lines[row] = ""
    return "".join("".join(lines).split())


def environment() -> dict[str, str]:
    """Versions, device, commit and the present time (UTC), as short strings."""
    facts = {package: version(package) for package in _PACKAGES}
    facts |= {"python": platform.python_version(), "device": device_name(), "commit": _commit()}
    return facts | {"time": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def device_name() -> str:
    """The accelerator torch would use, or the processor with its cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    found = info.is_file() and re.search(r"^model name.*?:(.*)", info.read_text(), re.MULTILINE)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name} ({cores()} cores)"


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """How many GPUs torch would use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@functools.cache
def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def project_root() -> Path:
    """The folder of the book: the working directory or the nearest one above with ``_toc.yml``."""
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
    asked = ("rev-parse --short=10 HEAD", "status --porcelain .")
    try:
        commit, changes = (
            subprocess.check_output(
                ["git", *arguments.split()], cwd=source, text=True, stderr=subprocess.DEVNULL
            )
            for arguments in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit.strip()} with changes" if changes else commit.strip()
