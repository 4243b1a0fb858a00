"""Result tables: a chapter's CSV files, and beside each a JSON of what produced it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lrnb import _provenance, _store

_START = time.time()


def folder(profile: str) -> Path:
    """Where the tables of a profile go: ``LRNB_RESULTS``, or ``_build/<profile>/results/<profile>``.

    The latter lies in the project if the working directory is inside it, else in that directory.
    """
    given = os.environ.get("LRNB_RESULTS")
    return Path(given) if given else _root() / "_build" / profile / "results" / profile


def benchmarks() -> Path:
    """Where the tables of the benchmarks lie."""
    given = os.environ.get("LRNB_RESULTS")
    return (Path(given).parent if given else _root() / "results") / "bench"


def save(chapter: str, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> Path:
    """Write a chapter's tidy tables as CSV, and beside each a JSON of what produced it.

    Args:
        chapter: name of the notebook, such as "01_training".
        tables: by name; "" is the main one, whose JSON has the costs of all that they rest on.
        parameters: of the notebook, with "profile"; JSON values.

    Returns:
        Path of the main CSV.
    """
    place, environment = folder(str(parameters["profile"])), _provenance.environment()
    for name, table in tables.items():
        stem = f"{chapter}-{name}" if name else chapter
        origin = {"chapter": chapter, "parameters": dict(parameters), "rows": len(table)}
        seconds = round(time.time() - _START, 1)
        origin |= {"seconds": seconds, "environment": environment}
        if not name:
            origin |= {"costs": [{"key": k} | _rounded(use) for k, use in _store.used().items()]}
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


def _rounded(use: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(value, 2) if isinstance(value, float) else value for k, value in use.items()}


def _root() -> Path:
    try:
        return _provenance.project_root()
    except FileNotFoundError:  # on Colab
        return Path.cwd()
