"""How closely two runs of the same profile agree: their tables, number by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lrnb.metrics.statistics import MODEL, ROW

COLUMNS = ("table", "datasets", "seeds", "rows", "numbers", "identical", "largest_difference")
_AT = ["dataset", "seed"]
# the columns that say what a number is of; all others were computed
_NAMES = {*MODEL, *ROW, "seed", "sample", "samples", "direction", "t", "rank"}


def compare_runs(again: Path, before: Path) -> pd.DataFrame:
    """Compare the tables of a run with those of an earlier one, row by row.

    Only tables with a row for each seed are compared, and of the earlier run only the data sets and
    seeds that the new one has: a mean over seeds is another number with fewer of them. A table is
    left out that the earlier run does not have for all of them, or that is a mere copy, with the
    very same record of what made it.

    Args:
        again, before: folders of tables as `lrnb.publish.tables.save` writes them.

    Returns:
        Columns: table; datasets, seeds (those compared, as text); rows; numbers (how many that were
        computed and are defined in either run); identical (the share of them with the same digits);
        largest_difference (relative to the largest magnitude in its column; 0 if all are identical).

    Raises:
        ValueError: no table can be compared, or one has other rows or columns than before.
    """
    rows = []
    for file in sorted(again.glob("*.csv")):
        new, earlier = pd.read_csv(file), before / file.name
        if "seed" not in new or not earlier.is_file() or _record(file) == _record(earlier):
            continue
        old = pd.read_csv(earlier)
        asked = new[_AT].drop_duplicates()
        if len(asked.merge(old[_AT].drop_duplicates())) < len(asked):
            continue
        old = old.merge(asked, on=_AT)
        # a table keeps its order within a data set and seed
        old, new = (t.sort_values(_AT, kind="stable", ignore_index=True) for t in (old, new))
        names = [c for c in old if c in _NAMES]
        if list(old) != list(new) or not old[names].equals(new[names]):
            raise ValueError(f"{file.name} must have the rows and columns of {earlier}, got others")
        a, b = (t.drop(columns=names).to_numpy(float) for t in (old, new))
        same, defined = a == b, ~(np.isnan(a) & np.isnan(b))
        about = (", ".join(map(str, new[name].unique())) for name in _AT)
        share = float(same[defined].mean()) if defined.any() else 1.0
        largest = float(_apart(a, b)[defined].max(initial=0.0))
        rows.append((file.stem, *about, len(old), int(defined.sum()), share, largest))
    if not rows:
        raise ValueError(
            f"again must hold a table of another run for data sets and seeds of {before}, got {again}"
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b| over the largest finite magnitude in a column of a; infinite if only one is finite."""
    scale = np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore"):  # inf − inf
        apart = np.where(a == b, 0.0, np.abs(a - b) / np.where(scale > 0, scale, 1.0))
    return np.where(np.isnan(apart), np.inf, apart)


def _record(table: Path) -> str:
    return table.with_suffix(".json").read_text(encoding="utf-8")
