"""Where works are made: local processes, a Dask or a Ray cluster.

A worker makes and stores one artefact at a time and returns nothing, so a worker that is lost costs
what it was making.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from joblib.externals import loky

from lrnb import _store
from lrnb._provenance import SOURCE, cores, gpus

if TYPE_CHECKING:
    from lrnb._work import Work

LAG = 60  # seconds after which a folder of a network, or a worker that starts, is there
_ATTEMPTS = 3
log = logging.getLogger(__name__)


class EngineFailed(RuntimeError):
    """An engine could not be reached, or did not make what it was given; the message says why."""


class Engine(NamedTuple):
    """Where works are made: its name, how many at once, and what yields each one's error or None."""

    name: str
    slots: int
    run: Callable[[Sequence[Work]], Iterator[BaseException | None]]


@contextlib.contextmanager
def connected(engine: str, jobs: int | None = None) -> Generator[Engine, None, None]:
    """An engine by its address. Raises ValueError, EngineFailed."""
    scheme, _, address = engine.partition("://")
    if engine != "local" and engine not in (f"dask://{address}", f"ray://{address}"):
        accepted = "local, dask://ADDRESS or ray://ADDRESS"
        raise ValueError(f"engine must be {accepted}, got {engine!r}")
    try:
        if scheme == "local":
            with _local(jobs or gpus() or cores()) as found:
                yield found
        else:
            with (_dask if scheme == "dask" else _ray)(address) as found:
                yield found
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "ray", "grpc"):
            raise
        need = f"{error.name}: pip install 'lrnb[{scheme}]'"
        raise EngineFailed(f"engine {scheme} needs the package {need}") from error


@contextlib.contextmanager
def _local(jobs: int) -> Generator[Engine, None, None]:
    """Processes of this machine, each an executor of its own: one that dies takes no other along."""
    turns, here = itertools.count(), threading.local()
    starting, ending = threading.Lock(), threading.Event()
    started: list[loky.ProcessPoolExecutor] = []
    passed = _environment("LRNB_PROGRESS")

    def run_one(work: Work) -> None:
        for _ in range(_ATTEMPTS):
            try:
                with starting:  # (a process that is being started could not be ended)
                    if ending.is_set():
                        return
                    if not hasattr(here, "turn"):
                        here.turn = next(turns)
                    if not hasattr(here, "process"):
                        one = {"OMP_NUM_THREADS": "1"}
                        here.process = loky.ProcessPoolExecutor(1, timeout=60, env=one)
                        started.append(here.process)
                    done = here.process.submit(_make, work, passed, here.turn)
                done.result()
                return
            except BrokenProcessPool as broken:
                del here.process
                cause = broken
                if not ending.is_set():
                    log.warning("a process ended while it made %s; it is made again", work.what)
        raise EngineFailed(
            f"the process that made {work.what} ended {_ATTEMPTS} times; was there too little memory?"
        ) from cause

    def run(works: Sequence[Work]) -> Iterator[BaseException | None]:
        for done in as_completed([slots.submit(run_one, work) for work in works]):
            yield done.exception()

    slots = ThreadPoolExecutor(jobs)
    try:
        yield Engine(f"{jobs} processes of this machine", jobs, run)
    finally:
        with starting:
            ending.set()
            slots.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.shutdown(wait=False, kill_workers=True)


@contextlib.contextmanager
def _dask(address: str) -> Generator[Engine, None, None]:
    """A Dask cluster, by its scheduler's address or file (….json); none for one made here."""
    import distributed

    with contextlib.ExitStack() as stack:
        try:
            if not address:
                here = dict(n_workers=gpus() or cores(), threads_per_worker=1, memory_limit=0)
                cluster = distributed.LocalCluster(**here, dashboard_address=None)
                address = stack.enter_context(cluster).scheduler_address
            elif address.endswith(".json") and not Path(address).is_file():
                raise OSError("there is no such file")
            of_file = address.endswith(".json")
            to = dict(scheduler_file=address) if of_file else dict(address=address)
            client = stack.enter_context(distributed.Client(**to, set_as_default=False))
            client.wait_for_workers(1, timeout=LAG)
        except (OSError, TimeoutError) as error:
            raise EngineFailed(
                f"no Dask scheduler with a worker answers at {address}: {error}"
            ) from error

        def run(works: Sequence[Work]) -> Iterator[BaseException | None]:
            passed = [_environment()] * len(works)
            futures = client.map(_make, works, passed, range(len(works)), pure=False)
            for done in distributed.as_completed(futures, loop=client.loop):
                error = done.exception()
                if isinstance(error, distributed.KilledWorker):
                    error = EngineFailed(f"workers of Dask ended, out of memory perhaps: {error}")
                yield error

        workers = len(client.nthreads())  # (of the threads of a process one works at a time)
        yield Engine(f"{workers} workers of Dask at {address}", workers, run)


@contextlib.contextmanager
def _ray(address: str) -> Generator[Engine, None, None]:
    """A Ray cluster by its address ("auto": the one this machine is in); none for one made here."""
    import ray

    to = address if address in ("", "auto") else f"ray://{address}"
    try:
        ray.init(address=to or "local", log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineFailed(f"no Ray cluster answers at {address}: {error}") from error
    resources = ray.cluster_resources()
    of_gpus = int(resources.get("GPU", 0))
    remote = ray.remote(num_gpus=int(of_gpus > 0), max_retries=_ATTEMPTS)(_make)

    def run(works: Sequence[Work]) -> Iterator[BaseException | None]:
        waiting = [remote.remote(work, _environment()) for work in works]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                ray.get(done)
                yield None
            except ray.exceptions.RayTaskError as error:
                yield error.cause or error
            except ray.exceptions.RayError as error:
                yield EngineFailed(f"a worker of Ray failed: {error}")

    try:
        slots = of_gpus or int(resources["CPU"])
        yield Engine(f"{slots} {'GPUs' if of_gpus else 'cores'} of Ray", slots, run)
    finally:
        ray.shutdown()


def _environment(*more: str) -> dict[str, str]:
    """What a worker must know of this process: its places, and what its code is."""
    named = [name for name in ("LRNB_DATA", "TORCH_HOME") if name in os.environ]
    places = {name: str(Path(os.environ[name]).expanduser().resolve()) for name in named}
    places |= {name: os.environ[name] for name in more if name in os.environ}
    home = str(_store.cache_root().resolve())
    return places | {"LRNB_HOME": home, "LRNB_SOURCE": SOURCE}


def _make(work: Work, environment: dict[str, str], turn: int = 0) -> None:
    """What a worker does for one work. Raises EngineFailed if it could not be the same there."""
    if environment["LRNB_SOURCE"] != SOURCE:
        raise EngineFailed("a worker has loaded other code than this process: restart the workers")
    os.environ.update(environment)
    if count := gpus():
        import torch

        torch.cuda.set_device(turn % count)
    with _store.alone:  # (a worker of Dask may have several threads)
        work.make()
    if not _store.holds(work.kind, work.spec):
        raise EngineFailed(
            f"a worker made {work.what} from something else than was asked for: it must have the same "
            "data, weights of LPIPS and versions"
        )
