"""Statistics of tidy tables: intervals over seeds, paired differences, rank correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

# the columns that name a model in a table, beside its seed
MODEL = ["dataset", "family", "beta", "latent", "adv_form", "adv_eps", "adv_weight"]
# those that name a row of it
_ROW = ["norm", "scale", "kind", "metric", "check", "setting", "eps"]
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
        raise ValueError("values is empty; at least one number is accepted")
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan, math.nan
    half = float(special.stdtrit(array.size - 1, 0.975) * array.std(ddof=1) / math.sqrt(array.size))
    return mean, mean - half, mean + half


def over_seeds(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Collapse seeds: the mean of a column with its 95% interval, by the columns that name a row.

    Columns: those of the model but the seed, norm, scale, kind, metric, check, setting and eps, as
    far as the table has them; mean, low, high, seeds.

    Raises:
        ValueError: the table has two rows for one seed, which are no independent observations.
    """
    by = [name for name in [*MODEL, *_ROW] if name in table]
    if table.duplicated([*by, "seed"]).any():
        raise ValueError(f"table has several rows for one of {by} and seed; one is accepted")
    rows = []
    for group, part in table.groupby(by, sort=False, dropna=False):
        mean, low, high = interval(part[value].to_numpy())
        bounds = {"mean": mean, "low": low, "high": high, "seeds": len(part)}
        rows.append(dict(zip(by, group, strict=True)) | bounds)
    return pd.DataFrame(rows)


def paired(table: pd.DataFrame, value: str, *, baseline: str) -> pd.DataFrame:
    """Each model's value minus that of a baseline with the same data set, seed and row.

    Args:
        table: tidy, one row a model and seed (and norm, scale, kind, metric, eps where it has them).
        value: the column to compare.
        baseline: the family to compare with; its rows are left out of the result.

    Returns:
        The other families' rows with the column "difference"; `over_seeds` gives its interval.

    Raises:
        ValueError: the baseline is not in the table, or there twice for one row.

    >>> rows = [("digits", "vae", 0, 0.5), ("digits", "ae", 0, 0.75)]
    >>> table = pd.DataFrame(rows, columns=["dataset", "family", "seed", "score"])
    >>> paired(table, "score", baseline="vae")["difference"].tolist()
    [0.25]
    """
    by = [name for name in ["dataset", "seed", *_ROW] if name in table]
    ours = table["family"] == baseline
    if not ours.any():
        known = ", ".join(sorted(set(table["family"])))
        raise ValueError(f"baseline={baseline!r} is not in the table, which holds {known}")
    reference = table[ours].set_index(by)[value]
    if reference.index.has_duplicates:
        raise ValueError(f"table has several rows of {baseline} for one of {by}; one is accepted")
    others = table[~ours]
    joined = others.merge(reference.rename("_baseline").reset_index(), on=by, how="left")
    return joined.assign(difference=joined[value] - joined["_baseline"]).drop(columns="_baseline")


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of first − second over training seeds and samples, with a 95% bootstrap interval.

    Seeds and samples are drawn anew with replacement (percentiles of 2000 draws), the same for
    both. With three seeds the percentiles of any bootstrap are too narrow (nominal 95% cover some
    80%); read it beside `interval`, which knows about few seeds and nothing about samples.

    Args:
        first, second: [S, N] each, a score by seed and sample; paired in both.
        seed: of the draws.

    >>> a = np.array([[1.0, 1.0], [1.0, 1.0]])
    >>> bootstrap_difference(a, a - 0.5)
    (0.5, 0.5, 0.5)
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if difference.ndim != 2 or difference.size == 0:
        raise ValueError(f"first has shape {np.shape(first)}; [seeds, samples] is accepted")
    rng = np.random.default_rng(seed)
    s, n = difference.shape
    drawn_seeds = rng.multinomial(s, np.full(s, 1 / s), size=_DRAWS) / s  # [draws, S]
    drawn_samples = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS) / n
    means = np.einsum("ds,sn,dn->d", drawn_seeds, difference, drawn_samples)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def rank_correlation(
    x: Sequence[float] | np.ndarray | pd.Series,
    y: Sequence[float] | np.ndarray | pd.Series,
    *,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Spearman's ρ of two columns with a 95% bootstrap interval over their rows.

    NaN for fewer than 4 rows, or if a column is constant.

    >>> rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])
    (1.0, 1.0, 1.0)
    """
    pairs = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)], axis=1)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if len(pairs) < 4 or (np.ptp(pairs, axis=0) == 0).any():
        return math.nan, math.nan, math.nan
    rng = np.random.default_rng(seed)
    drawn = pairs[rng.integers(len(pairs), size=(_DRAWS, len(pairs)))]  # [draws, rows, 2]
    drawn = drawn[(np.ptp(drawn, axis=1) > 0).all(1)]
    low, high = np.percentile(_spearman(drawn), [2.5, 97.5])
    return float(_spearman(pairs[None])[0]), float(low), float(high)


def correlation_rows(table: pd.DataFrame, x: str, y: str, *, by: Sequence[str]) -> pd.DataFrame:
    """`rank_correlation` of two columns within each group of ``by``: rho, low, high, models."""
    rows: list[dict[str, Any]] = []
    for group, part in table.groupby(list(by), sort=False):
        rho, low, high = rank_correlation(part[x], part[y])
        bounds = {"rho": rho, "low": low, "high": high, "models": len(part)}
        rows.append(dict(zip(by, group, strict=True)) | bounds)
    return pd.DataFrame(rows)


def _spearman(pairs: np.ndarray) -> np.ndarray:
    """ρ of the two columns of each table, [B, rows, 2] → [B]."""
    from scipy.stats import rankdata  # takes a second to import, and few chapters need it

    ranks = rankdata(pairs, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    products = (ranks[..., 0] * ranks[..., 1]).sum(1)
    rho: np.ndarray = products / np.sqrt((ranks**2).sum(1).prod(1))
    return rho.round(12)
