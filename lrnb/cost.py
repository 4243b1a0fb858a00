"""What a piece of work cost: seconds and peak memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


@dataclass
class Cost:
    """Seconds of work, and the most memory that its process held meanwhile, in MB.

    On a GPU the memory is the GPU's, that of tensors. It is None where the system does not tell,
    which Linux does.
    """

    seconds: float = 0.0
    peak_mb: float | None = None


_open: list[Cost] = []


@contextlib.contextmanager
def measured() -> Generator[Cost, None, None]:
    """Measure what runs inside; work measured within it counts there, not here.

    The cost is known when the block has ended.

    >>> with measured() as outer:
    ...     with measured() as inner:
    ...         time.sleep(0.02)
    >>> inner.seconds >= 0.02 > outer.seconds
    True
    """
    cost = Cost()
    _open.append(cost)
    start = time.perf_counter()
    _forget_peak()
    try:
        yield cost
    finally:
        cost.peak_mb = _peak_mb()
        taken = time.perf_counter() - start
        cost.seconds += taken
        _open.pop()
        if _open:
            _open[-1].seconds -= taken
        _forget_peak()


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")


def _peak_mb() -> float | None:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None
