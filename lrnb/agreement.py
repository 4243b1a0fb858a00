"""How closely two runs of the same profile agree: their tables, number by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("table", "datasets", "seeds", "rows", "numbers", "identical", "largest_difference")


def agreement(again: Path, before: Path) -> pd.DataFrame:
    """Compare the tables of a run with those of an earlier one, row by row.

    Only tables with a row for each seed are compared, and of the earlier run only the data sets and
    seeds that the new one has: a mean over seeds is another number with fewer of them. A table that
    is a mere copy, with the very same record of what made it, is left out.

    Args:
        again, before: folders of tables as `lrnb.results.save` writes them.

    Returns:
        Columns: table; datasets, seeds (those compared, as text); rows; numbers (how many);
        identical (the share of them with the same digits); largest_difference (relative to the
        largest magnitude in its column; 0 if all are identical).

    Raises:
        ValueError: no table is in both folders, or one has other rows or columns than before.
    """
    rows = []
    for file in sorted(again.glob("*.csv")):
        new = _read(file)
        earlier = before / file.name
        if "seed" not in new or not earlier.is_file() or _record(file) == _record(earlier):
            continue
        old = _read(earlier)
        at = ["dataset", "seed"]
        old = old.merge(new[at].drop_duplicates(), on=at)
        # a table keeps its order within a data set and seed
        old, new = (t.sort_values(at, kind="stable", ignore_index=True) for t in (old, new))
        names = [c for c in old if not pd.api.types.is_float_dtype(old[c])]
        if list(old) != list(new) or not old[names].equals(new[names]):
            raise ValueError(f"{file.name} in {again} has other rows or columns than in {before}")
        numbers = [c for c in old if c not in names]
        a, b = old[numbers].to_numpy(float), new[numbers].to_numpy(float)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        scale = np.nanmax(np.abs(a), axis=0, initial=0.0) + np.finfo(float).tiny
        apart = np.where(same, 0.0, np.abs(a - b) / scale)
        # a number on one side only is as far apart as can be
        largest = float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
        about = (", ".join(map(str, new[name].unique())) for name in at)
        rows.append((file.stem, *about, len(old), same.size, float(same.mean()), largest))
    if not rows:
        raise ValueError(f"again={again} has no table with seeds that {before} has of another run")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _record(table: Path) -> str:
    return table.with_suffix(".json").read_text(encoding="utf-8")


def _read(file: Path) -> pd.DataFrame:
    # "none" and the like stay text; whole columns of numbers alike, with gaps or without
    table = pd.read_csv(file, keep_default_na=True)
    counts = table.select_dtypes("int").columns.difference(["seed"])
    return table.astype(dict.fromkeys(counts, float))
