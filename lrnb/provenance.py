"""What produced a result: code, versions, machine and time."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch

_PACKAGES = ("lrnb", "torch", "torchvision", "numpy", "scikit-learn", "torchmetrics", "lpips")


@functools.cache
def code_fingerprint(*modules: str) -> str:
    """Hash of the code of some of this package's modules; comments and docstrings do not count.

    >>> len(code_fingerprint("models", "objectives"))
    16
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [n for n in body if not _is_text(n)]  # type: ignore[attr-defined]
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()[:16]


def environment() -> dict[str, str]:
    """Versions, device, commit and the present time (UTC), as short strings."""
    facts = {package: version(package) for package in _PACKAGES}
    facts["python"] = platform.python_version()
    facts["device"] = device_name()
    facts["commit"] = _commit()
    facts["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return facts


def device_name() -> str:
    """The accelerator torch would use, or the processor with its cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()} ({len(_cores())} cores)"


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def version(package: str) -> str:
    """The installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


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
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))
