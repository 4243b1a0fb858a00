"""Result tables: CSV files with the origin of each in a JSON, costs, and two runs compared."""

import filecmp
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrnb import _provenance, _store
from lrnb.metrics.statistics import MODEL, ROW

_START = time.time()
# the columns that say what a number is of; all others were computed
_NAMES = {*MODEL, *ROW, "seed", "sample", "samples", "direction", "t", "rank"}


def folder(profile: str) -> Path:
    """Where tables go: ``LRNB_RESULTS``, or ``_build/PROFILE/results/PROFILE`` of the project."""
    given = os.environ.get("LRNB_RESULTS")
    return Path(given) if given else _root() / "_build" / profile / "results" / profile


def benchmarks() -> Path:
    """Where the tables of the benchmarks lie."""
    given = os.environ.get("LRNB_RESULTS")
    return (Path(given).parent if given else _root() / "results") / "bench"


def save(chapter: str, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> Path:
    """Write a chapter's tidy tables as CSV, and beside each a JSON of what produced it.

    The table named "" is the main one, whose JSON has the costs of all that they rest on, and whose
    path is returned. ``parameters`` are the notebook's, JSON values with "profile".
    """
    place, environment = folder(str(parameters["profile"])), _provenance.environment()
    for name, table in tables.items():
        stem = f"{chapter}-{name}" if name else chapter
        origin = {"chapter": chapter, "parameters": dict(parameters), "rows": len(table)}
        origin |= {"seconds": round(time.time() - _START, 1), "environment": environment}
        if not name:
            uses = json.dumps([{"key": key} | use for key, use in _store.used().items()])
            origin["costs"] = json.loads(uses, parse_float=lambda x: round(float(x), 2))
        # the table last: where there is one, what produced it is there as well
        _store.write_text(place / f"{stem}.json", json.dumps(origin, indent=1) + "\n")
        content = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
        _store.write_text(place / f"{stem}.csv", content)
    return place / f"{chapter}.csv"


def costs(place: Path) -> pd.DataFrame:
    """What each saved chapter was made from and what that cost, from the JSON files in a folder.

    Columns: chapter, seconds_run (of its last execution), key (of the model or table in the store;
    chapters share many), kind ("model" or "table", of one model), what (the model's family, or the
    table's name), dataset, seconds, peak_mb (of the process, in 10⁶ bytes; NaN where unknown).
    """
    rows = []
    for file in sorted(place.glob("*.json")):
        origin = json.loads(file.read_text())
        if file.stem == origin.get("chapter"):
            about = {"chapter": file.stem, "seconds_run": origin["seconds"]}
            rows += [about | cost for cost in origin.get("costs", [])]
    columns = ["chapter", "seconds_run", "key", "kind", "what", "dataset", "seconds", "peak_mb"]
    return pd.DataFrame(rows, columns=columns)


def compare_runs(again: Path, before: Path) -> pd.DataFrame:
    """Compare the tables of a run with those of an earlier one of the same profile, row by row.

    Compared are tables with a row for each seed, in the data sets and seeds of the new run (a mean
    over fewer seeds is another number). A table is left out that the earlier run does not have for
    all of them, or that is a copy, with the same record of what made it.

    Columns: table; datasets, seeds (those compared, as text); rows; numbers (how many that were
    computed and are defined in either run); identical (the share of them with the same digits);
    largest_difference (relative to the largest magnitude in its column; 0 if all are identical).

    Raises ValueError if no table can be compared, or one has other rows or columns than before.
    """
    rows, at = [], ["dataset", "seed"]
    for file in sorted(again.glob("*.csv")):
        new, earlier = pd.read_csv(file), before / file.name
        if "seed" not in new or not earlier.is_file():
            continue
        if filecmp.cmp(file.with_suffix(".json"), earlier.with_suffix(".json"), shallow=False):
            continue
        asked = new[at].drop_duplicates()
        old = pd.read_csv(earlier).merge(asked, on=at)
        if len(old[at].drop_duplicates()) < len(asked):
            continue
        # a table keeps its order within a data set and seed
        old, new = (t.sort_values(at, kind="stable", ignore_index=True) for t in (old, new))
        names = [c for c in old if c in _NAMES]
        if list(old) != list(new) or not old[names].equals(new[names]):
            raise ValueError(f"{file.name} must have the rows and columns of {earlier}, got others")
        a, b = (t.drop(columns=names).to_numpy(float) for t in (old, new))
        defined = ~(np.isnan(a) & np.isnan(b))
        about = [", ".join(map(str, new[name].unique())) for name in at]
        share = float((a == b)[defined].mean()) if defined.any() else 1.0
        largest = float(_apart(a, b)[defined].max(initial=0.0))
        rows.append((file.stem, *about, len(old), int(defined.sum()), share, largest))
    if not rows:
        needed = f"a table of another run for data sets and seeds of {before}"
        raise ValueError(f"again must hold {needed}, got {again}")
    columns = ["table", "datasets", "seeds", "rows", "numbers", "identical", "largest_difference"]
    return pd.DataFrame(rows, columns=columns)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b| over the largest finite magnitude in a column of a; inf if only one is finite."""
    scale = np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore"):  # inf − inf
        apart = np.where(a == b, 0.0, np.abs(a - b) / np.where(scale > 0, scale, 1.0))
    return np.where(np.isnan(apart), np.inf, apart)


def _root() -> Path:
    try:
        return _provenance.project_root()
    except FileNotFoundError:  # on Colab there is none
        return Path.cwd()
