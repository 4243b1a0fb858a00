"""Memory of this process (on a GPU, of its tensors) in 10⁶ bytes; None where not reported."""

import contextlib
import sys
from pathlib import Path
from typing import Any

_PROCESS = Path("/proc/self")


def _cuda() -> Any:
    """torch's module for GPUs if there is one and torch is in use, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() else None


def peak_mb() -> float | None:
    """Peak memory since `reset_peak`."""
    if cuda := _cuda():
        return float(cuda.max_memory_allocated() / 1e6)
    return status_mb("VmHWM")


def status_mb(field: str) -> float | None:
    """Memory that Linux reports in a field of the process's status."""
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def reset_peak() -> None:
    """Count the peak of memory from here on, where the system allows it."""
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")
