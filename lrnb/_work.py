"""The works of a run: one artefact each, what they need, those that are missing, what they cost.

Each artefact is made on one core, so the numbers are those that one process would find.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lrnb import _store
from lrnb._engine import LAG, EngineFailed, connected
from lrnb._progress import bar, track

_WORTH_PROCESSES = 20_000  # images: a process goes through about so many while another one starts


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
    needs: tuple[Work, ...] = ()

    @property
    def key(self) -> str:
        """Its address in the store."""
        return _store.key(self.spec)

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.about['what']} on {self.about['dataset']}"


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

    Raises EngineFailed; and what making an artefact raises, once those that do not need it are made.
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
    elif todo:
        with connected(engine or "local", jobs) as workers, bar(label, total=len(todo)) as advance:
            for level in levels:
                errors = []
                for error in workers.run(level):
                    errors += [error] if error else []
                    advance()
                if errors:
                    raise errors[0]
                _check_stored(level)


def _check_stored(works: Iterable[Work]) -> None:
    """Raise EngineFailed unless all are in this process's store (a network's folder may lag)."""
    deadline = time.monotonic() + LAG
    for work in works:
        while not _store.holds(work.kind, work.spec):
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"{work.what} was made, but is not in {_store.store_root()}: workers must share "
                    "this folder"
                )
            time.sleep(0.5)


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
