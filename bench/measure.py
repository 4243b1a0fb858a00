"""Seconds and peak memory of a call, taken in a fresh process of its own."""

from __future__ import annotations

import functools
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from lrnb import _cost

# called in the fresh process; returns a small call that warms up, and the call to be measured
Prepare = Callable[..., tuple[Callable[[], Any], Callable[[], Any]]]

REPEAT_BELOW = 5.0  # seconds; a shorter call is made twice and the better time taken
_PATIENCE = 900.0  # seconds that processes wait for one another
_MATMULS = 4
_barrier: Barrier | None = None


@dataclass(frozen=True)
class Measured:
    """One measured call.

    Attributes:
        result: what the call returned, pickled on its way here: plain numbers and arrays.
        seconds: of the call, the better of two where one takes less than `REPEAT_BELOW`.
        peak_memory_mb: by how much memory grew at its highest during the first call, in 10⁶ bytes: the
            process's resident memory, or the allocated memory of the GPU where there is one.
    """

    result: Any
    seconds: float
    peak_memory_mb: float


def measure(prepare: Prepare, *args: Any, threads: int) -> Measured:
    """Measure a call in a fresh process, after a small one that keeps start-up out of the time.

    Args:
        prepare: function of a module, called with ``args`` in the process; what it does itself is
            not measured.
        threads: of torch.
    """
    (measured,) = measure_together(prepare, *args, processes=1, threads=threads)
    return measured


def measure_together(prepare: Prepare, *args: Any, processes: int, threads: int) -> list[Measured]:
    """Measure the same call in several fresh processes that start it at the same moment.

    With more than one process each makes its call once, so that they run side by side throughout.
    """
    # forked from a server that has imported and not computed: as clean as a new interpreter, and
    # its peak memory does not begin with that of this process
    context: Any = multiprocessing.get_context(_start_method())
    barrier = context.Barrier(processes)
    repeats = 2 if processes == 1 else 1
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(barrier, threads)
    ) as pool:
        waiting = [pool.submit(_run, prepare, args, repeats) for _ in range(processes)]
        return [future.result() for future in waiting]


@functools.cache
def matmul_gflops(*, size: int = 2048, threads: int) -> float:
    """Measured rate of float32 matrix multiplication in torch, size × size, in GFLOP/s."""
    measured = measure(_prepare_matmul, size, threads=threads)
    return _MATMULS * 2 * size**3 / measured.seconds / 1e9


def import_beforehand(modules: Iterable[str]) -> None:
    """Let fresh processes have these modules imported; call it before anything is measured."""
    multiprocessing.set_forkserver_preload(["lrnb", *modules])


def device() -> torch.device:
    """Where the benchmark runs: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _start_method() -> str:
    known = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in known else "spawn"


def _begin(barrier: Barrier, threads: int) -> None:
    global _barrier
    warnings.simplefilter("ignore")  # of the libraries, about one another
    _barrier = barrier
    torch.set_num_threads(threads)


def _run(prepare: Prepare, args: tuple[Any, ...], repeats: int) -> Measured:
    warm_up, call = prepare(*args)
    warm_up()
    assert _barrier is not None
    _barrier.wait(_PATIENCE)
    before = _memory_now()
    seconds, result = _timed(call)
    memory = (_cost.peak_mb() or _max_rss()) - before
    if repeats > 1 and seconds < REPEAT_BELOW:
        seconds = min(seconds, _timed(call)[0])
    return Measured(result, seconds, max(0.0, memory))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    _synchronise()
    start = time.perf_counter()
    result = call()
    _synchronise()
    return time.perf_counter() - start, result


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _memory_now() -> float:
    """Memory in use, in 10⁶ bytes; peaks are counted from here on where the system allows it."""
    _cost.reset_peak()
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 1e6
    return _cost.status_mb("VmRSS") or _max_rss()


def _max_rss() -> float:
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _prepare_matmul(size: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    a, b = (torch.randn(size, size, device=device()) for _ in range(2))

    def call() -> None:
        for _ in range(_MATMULS):
            a @ b

    return call, call
