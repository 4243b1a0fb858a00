"""Artefacts that the store lacks, made side by side: by local processes, on Dask or on Ray.

The unit of work is one artefact. A worker makes and stores it and returns nothing, so a worker that
is lost costs what it was making; and each is made on one core, so the numbers are those that one
process would find.
"""

import contextlib
import itertools
import json
import logging
import os
import statistics
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from joblib.externals import loky

from lrnb import _store
from lrnb._progress import track
from lrnb._provenance import cores, gpus

_SCHEMES = ("local", "dask", "ray")
_PASSED_ON = ("LRNB_HOME", "LRNB_DATA", "LRNB_PROGRESS", "TORCH_HOME")
_WORTH_PROCESSES = 20_000  # images: a process goes through about so many while another one starts
_ATTEMPTS = 3
log = logging.getLogger(__name__)


class EngineFailed(RuntimeError):
    """An engine could not be reached, or did not make what it was given; the message says why."""


class Work(NamedTuple):
    """One artefact to be made.

    ``make`` makes and stores it, and can be pickled; ``about`` is what the store keeps beside its
    cost; ``size`` is how many images pass through the model, for estimates; ``needs`` is what it
    is made from.
    """

    kind: str
    spec: dict[str, Any]
    about: dict[str, Any]
    make: Callable[[], object]
    size: int
    needs: tuple["Work", ...] = ()

    @property
    def key(self) -> str:
        """Its address in the store."""
        return _store.key(self.spec)


class Engine(NamedTuple):
    """Where works are made: its name, how many at once, and what yields as each of them is done."""

    name: str
    slots: int
    run: Callable[[Sequence[Work]], Iterator[None]]


def missing(works: Iterable[Work]) -> list[list[Work]]:
    """What the store lacks of works and their needs, once each; each list rests on those before."""
    levels: dict[str, int] = {}
    found: list[list[Work]] = []

    def level(work: Work) -> int:
        if work.key not in levels:
            levels[work.key] = -1
            if not _store.holds(work.kind, work.spec):
                at = 1 + max(map(level, work.needs), default=-1)
                found.extend([] for _ in range(at + 1 - len(found)))
                found[at].append(work)
                levels[work.key] = at
        return levels[work.key]

    for work in works:
        level(work)
    return found


def compute(
    works: Iterable[Work], *, engine: str | None = None, jobs: int | None = None, label: str = ""
) -> None:
    """Make what the store lacks of works and their needs.

    Args:
        engine: "local", "dask://ADDRESS" or "ray://ADDRESS"; by default ``LRNB_ENGINE``, or local
            processes where these are worth their start.
        jobs: local processes at once; by default one for each core, or for each GPU.

    Raises EngineFailed; and what making an artefact raises.
    """
    levels = missing(works)
    todo = [work for level in levels for work in level]
    engine = engine or os.environ.get("LRNB_ENGINE") or ""
    if not engine and jobs is None:
        small = sum(work.size for work in todo) < _WORTH_PROCESSES
        jobs = 1 if small or len(todo) == 1 else None
    if _store.making() or (not engine and jobs == 1):
        for work in track(todo, label):
            work.make()
        return
    if todo:
        with connected(engine or "local", jobs) as workers:
            steps = itertools.chain.from_iterable(map(workers.run, levels))
            for _ in track(steps, label, total=len(todo)):
                pass
    for work in todo:
        if not _store.holds(work.kind, work.spec):
            about = f"{work.about['what']} on {work.about['dataset']}"
            raise EngineFailed(
                f"{about} was made, but is not in {_store.store_root()}: workers must share this "
                "folder and have the same code, data and versions"
            )


@contextlib.contextmanager
def connected(engine: str, jobs: int | None = None) -> Generator[Engine, None, None]:
    """An engine by its address. Raises ValueError, EngineFailed."""
    scheme, _, address = engine.partition("://")
    if scheme not in _SCHEMES:
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
        if error.name not in ("distributed", "ray"):
            raise
        need = f"{error.name}: pip install 'lrnb[{scheme}]'"
        raise EngineFailed(f"engine {scheme} needs the package {need}") from error


def rates(results: Path | None = None) -> Callable[[Work], float]:
    """Seconds that a work takes on one process, from those seen in the store and under a folder.

    The median over works of the same kind on the same data set, else on any, in proportion to
    their size; NaN if none was seen.
    """
    seen: dict[tuple[str, ...], list[float]] = {}
    costs = [entry.cost for entry in _store.entries()]
    for file in sorted(results.glob("*/*.json")) if results else ():
        costs += json.loads(file.read_text()).get("costs", [])
    for cost in costs:
        if cost.get("size"):
            for at in ((cost["what"],), (cost["what"], cost["dataset"])):
                seen.setdefault(at, []).append(cost["seconds"] / cost["size"])
    medians = {at: statistics.median(found) for at, found in seen.items()}

    def seconds(work: Work) -> float:
        what, dataset = work.about["what"], work.about["dataset"]
        rate = medians.get((what, dataset), medians.get((what,), float("nan")))
        return rate * work.size

    return seconds


@contextlib.contextmanager
def _local(jobs: int) -> Generator[Engine, None, None]:
    """Processes of this machine, each an executor of its own: one that dies takes no other along."""
    turns, here = itertools.count(), threading.local()
    starting, ending = threading.Lock(), threading.Event()
    started: list[loky.ProcessPoolExecutor] = []

    def run_one(work: Work) -> None:
        for _ in range(_ATTEMPTS):
            try:
                with starting:  # (a process that is being started could not be ended)
                    if ending.is_set():
                        return
                    if not hasattr(here, "process"):
                        here.process, here.turn = _process(), next(turns)
                        started.append(here.process)
                    done = here.process.submit(_make, work.make, _environment(), here.turn)
                done.result()
                return
            except BrokenProcessPool:
                del here.process
                if not ending.is_set():
                    log.warning("a process ended while it made %s; it is made again", work.about)
        raise EngineFailed(
            f"the process that made {work.about['what']} on {work.about['dataset']} ended "
            f"{_ATTEMPTS} times; was there too little memory?"
        )

    def run(works: Sequence[Work]) -> Iterator[None]:
        for done in as_completed([slots.submit(run_one, work) for work in works]):
            done.result()
            yield

    slots = ThreadPoolExecutor(jobs)
    try:
        yield Engine(f"{jobs} processes of this machine", jobs, run)
    finally:
        with starting:
            ending.set()
            slots.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.shutdown(wait=False, kill_workers=True)


def _process() -> loky.ProcessPoolExecutor:
    return loky.ProcessPoolExecutor(1, timeout=300, env={"OMP_NUM_THREADS": "1"})


@contextlib.contextmanager
def _dask(address: str) -> Generator[Engine, None, None]:
    """A Dask cluster, by its scheduler's address or file (….json); none for one made here."""
    import distributed

    of_file = address.endswith(".json")
    to = dict(scheduler_file=address) if of_file else dict(address=address or None)
    try:
        client = distributed.Client(**to, set_as_default=False)
    except OSError as error:
        raise EngineFailed(f"no Dask scheduler answers at {address}: {error}") from error

    def run(works: Sequence[Work]) -> Iterator[None]:
        makes = [work.make for work in works]
        futures = client.map(_make, makes, environment=_environment(), pure=False)
        for done in distributed.as_completed(futures, loop=client.loop):
            done.result()
            yield

    with client:
        workers = len(client.nthreads())  # (of the threads of a process one works at a time)
        yield Engine(f"{workers} workers of Dask at {address or 'this machine'}", workers, run)


@contextlib.contextmanager
def _ray(address: str) -> Generator[Engine, None, None]:
    """A Ray cluster by its address ("auto": the one this machine is in); none for one made here."""
    import ray

    to = address if address in ("", "auto") else f"ray://{address}"
    try:
        ray.init(address=to or "local", log_to_driver=False, include_dashboard=None)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineFailed(f"no Ray cluster answers at {address}: {error}") from error
    resources = ray.cluster_resources()
    of_gpus = int(resources.get("GPU", 0))
    remote = ray.remote(num_gpus=int(of_gpus > 0), max_retries=_ATTEMPTS)(_make)

    def run(works: Sequence[Work]) -> Iterator[None]:
        waiting = [remote.remote(work.make, _environment()) for work in works]
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
            yield

    try:
        slots = of_gpus or int(resources["CPU"])
        yield Engine(f"{slots} {'GPUs' if of_gpus else 'cores'} of Ray", slots, run)
    finally:
        ray.shutdown()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _make(make: Callable[[], object], environment: dict[str, str], turn: int = 0) -> None:
    """What a worker does for one work."""
    os.environ.update(environment)
    if count := gpus():
        import torch

        torch.cuda.set_device(turn % count)
    with _store.alone:  # (a worker of Dask may have several threads)
        make()
