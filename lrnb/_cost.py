"""What a piece of work cost: seconds and peak memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")
_open: list[Cost] = []


@dataclass
class Cost:
    """Seconds of work, and the peak memory of its process (on a GPU, of its tensors) in 10⁶ bytes.

    The memory is None on a system that does not report it; Linux does.
    """

    seconds: float = 0.0
    peak_mb: float | None = None


@contextlib.contextmanager
def measured() -> Generator[Cost, None, None]:
    """Measure the block; work measured inside it counts there, not here.

    >>> with measured() as outer:
    ...     with measured() as inner:
    ...         time.sleep(0.02)
    >>> inner.seconds >= 0.02 > outer.seconds
    True
    """
    cost = Cost()
    _open.append(cost)
    start = time.perf_counter()
    reset_peak()
    try:
        yield cost
    finally:
        cost.peak_mb = peak_mb()
        taken = time.perf_counter() - start
        cost.seconds += taken
        _open.pop()
        if _open:
            _open[-1].seconds -= taken
        reset_peak()


def peak_mb() -> float | None:
    """Peak memory since the last `measured` block began or ended, in 10⁶ bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return status_mb("VmHWM")


def status_mb(field: str) -> float | None:
    """Memory that the system reports of this process, in 10⁶ bytes; None where it does not."""
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def reset_peak() -> None:
    """Count the peak of memory from here on, where the system allows it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")
