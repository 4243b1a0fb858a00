"""Statistics of tidy tables: intervals over seeds, paired differences, rank correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from lrnb._validation import check_name

# the columns that name a model in a table, beside its seed
MODEL = ["dataset", "family", "beta", "latent", "adv_form", "adv_eps", "adv_weight"]
# those that name a row of it
ROW = ["norm", "scale", "kind", "metric", "check", "setting", "eps"]
# with fewer an interval over seeds is too wide to decide anything
MIN_SEEDS = 3
_MIN_MODELS = 4
_DRAWS = 2000


def interval(values: Sequence[float] | np.ndarray | pd.Series) -> tuple[float, float, float]:
    """Mean over seeds and its 95% interval by Student's t; the bounds are NaN for one value.

    >>> interval([1.0])
    (1.0, nan, nan)
    >>> mean, low, high = interval([1.0, 3.0])      # t = 12.706 with one degree of freedom
    >>> mean, round(high - mean, 3)
    (2.0, 12.706)
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise ValueError("values must hold at least one number, got none")
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan, math.nan
    half = float(special.stdtrit(array.size - 1, 0.975) * array.std(ddof=1) / math.sqrt(array.size))
    return mean, mean - half, mean + half


def over_seeds(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Average over seeds: the mean of a column with its 95% interval, by the columns that name a row.

    Columns: those of `MODEL` and `ROW` that the table has; mean, low, high, seeds.

    Raises:
        ValueError: the table has two rows for one seed, which are not independent observations.
    """
    by = [name for name in [*MODEL, *ROW] if name in table]
    if table.duplicated([*by, "seed"]).any():
        raise ValueError(f"table must have one row for each of {by} and seed, got several")
    rows = []
    for group, part in table.groupby(by, sort=False, dropna=False):
        mean, low, high = interval(part[value].to_numpy())
        bounds = {"mean": mean, "low": low, "high": high, "seeds": len(part)}
        rows.append(dict(zip(by, group, strict=True)) | bounds)
    return pd.DataFrame(rows)


def paired(table: pd.DataFrame, value: str, *, baseline: str) -> pd.DataFrame:
    """Each model's value minus that of a baseline with the same data set, seed and row.

    Args:
        table: tidy, one row a model and seed (and whatever columns of `ROW` it has).
        value: the column to compare.
        baseline: the family to compare with; its rows are left out of the result.

    Returns:
        The other families' rows with the column "difference"; `over_seeds` gives its interval.

    Raises:
        ValueError: the baseline is not in the table, or twice for one row.
    """
    by = [name for name in ["dataset", "seed", *ROW] if name in table]
    check_name("baseline", baseline, sorted(set(table["family"])))
    ours = table["family"] == baseline
    reference = table[ours].set_index(by)[value]
    if reference.index.has_duplicates:
        raise ValueError(f"table must have one row of {baseline} for each of {by}, got several")
    joined = table[~ours].merge(reference.rename("_baseline").reset_index(), on=by, how="left")
    return joined.assign(difference=joined[value] - joined["_baseline"]).drop(columns="_baseline")


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of first − second over training seeds and samples, with a 95% bootstrap interval.

    Percentiles of 2000 draws with replacement of seeds and of samples, the same for both. With
    three seeds they are too narrow (a nominal 95% covers about 80%): read them beside `interval`,
    which accounts for few seeds but not for samples.

    Args:
        first, second: [S, N] each, a score by seed and sample, paired in both.
        seed: of the draws.

    >>> bootstrap_difference(np.ones((2, 2)), np.full((2, 2), 0.5))
    (0.5, 0.5, 0.5)
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if difference.ndim != 2 or difference.size == 0:
        raise ValueError(f"first must have shape [seeds, samples], got {difference.shape}")
    rng = np.random.default_rng(seed)
    s, n = difference.shape
    drawn_seeds = rng.multinomial(s, np.full(s, 1 / s), size=_DRAWS) / s  # [draws, S]
    drawn_samples = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS) / n
    means = np.einsum("ds,sn,dn->d", drawn_seeds, difference, drawn_samples)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def correlation_over_seeds(
    table: pd.DataFrame, x: str, y: str, *, by: Sequence[str]
) -> pd.DataFrame:
    """Spearman's ρ of two columns over models, group by group, with its interval over seeds.

    ρ is computed over the models of each seed, and averaged over seeds. The interval is for other
    seeds of the same kinds of model, as suits a sweep; `correlation_over_kinds` generalizes to
    other kinds.

    Args:
        table: one row a model and seed.
        x, y: columns; models where one is NaN are left out.
        by: columns that name a group.

    Returns:
        Columns: those of ``by``; rho (mean over seeds; those with fewer than 4 models or a constant
        column are left out), low and high (its 95% interval by Student's t, cut at ±1; NaN for one
        seed), seeds, models (of a seed, at most).
    """
    rows: list[dict[str, Any]] = []
    for group, part in table.groupby(list(by), sort=False):
        known = part.dropna(subset=[x, y])
        varied = [
            seed for _, seed in known.groupby("seed")
            if len(seed) >= _MIN_MODELS and seed[[x, y]].nunique().min() > 1
        ]  # fmt: skip
        rho, low, high = math.nan, math.nan, math.nan
        if varied:
            rho, low, high = interval([seed[x].corr(seed[y], "spearman") for seed in varied])
        rows.append(
            dict(zip(by, group, strict=True))
            | {"rho": rho, "low": max(low, -1.0), "high": min(high, 1.0)}
            | {"seeds": len(varied), "models": part.groupby("seed").size().max()}
        )
    return pd.DataFrame(rows)


def correlation_over_kinds(
    table: pd.DataFrame, x: str, y: str, *, by: Sequence[str]
) -> pd.DataFrame:
    """Spearman's ρ of two columns over kinds of model, with its interval over other kinds.

    Seeds of one kind are not independent models: a kind counts once, with the means of its seeds.
    The interval is Fisher's, with the variance (1 + ρ²/2) / (n − 3) for n kinds (Bonett & Wright
    2000); a perfect order counts as half a swap less, or its interval would have no width.

    Args:
        table, x, y, by: as for `correlation_over_seeds`; the columns of `MODEL` name a kind.

    Returns:
        Columns: those of ``by``; rho, low and high (NaN for fewer than 4 kinds or a constant
        column), seeds, models (kinds).
    """
    kind = [name for name in MODEL if name in table]
    rows: list[dict[str, Any]] = []
    for group, part in table.groupby(list(by), sort=False):
        known = part.dropna(subset=[x, y])
        means = known.groupby(kind, dropna=False)[[x, y]].mean()
        n = len(means)
        rho, low, high = math.nan, math.nan, math.nan
        if n >= _MIN_MODELS and means.nunique().min() > 1:
            rho = float(means[x].corr(means[y], "spearman"))
            most = 1 - 6 / (n * (n**2 - 1))  # half way to the largest ρ below 1
            z = math.atanh(min(max(rho, -most), most))
            half = float(special.ndtri(0.975)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
            low, high = min(math.tanh(z - half), rho), max(math.tanh(z + half), rho)
        rows.append(
            dict(zip(by, group, strict=True))
            | {"rho": rho, "low": low, "high": high}
            | {"seeds": known["seed"].nunique(), "models": n}
        )
    return pd.DataFrame(rows)
