"""Statistics of tidy tables: intervals over seeds, paired differences, rank correlations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from scipy.integrate import trapezoid

from lrnb._validation import check_name
from lrnb.metrics.robustness import aaddc

# the columns that name a model in a table, beside its seed
MODEL = ["dataset", "family", "beta", "latent", "adv_form", "adv_eps", "adv_weight"]
# those that name a row of it
ROW = ["norm", "attack", "scale", "kind", "metric", "check", "setting", "eps"]
# with fewer an interval over seeds is too wide to decide anything
MIN_SEEDS = 3


def interval(
    values: Sequence[float] | np.ndarray | pd.Series, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over seeds and its interval (of 95%) by Student's t; the bounds are NaN for one value.

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
    quantile = float(special.stdtrit(array.size - 1, 0.5 + level / 2))
    half = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    return mean, mean - half, mean + half


def bounded_interval(
    values: Sequence[float] | np.ndarray | pd.Series,
    low: float,
    high: float,
    *,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """`interval` of values that lie within low and high: on the logit scale where it would leave them.

    >>> mean, low, high = bounded_interval([0.97, 0.99, 0.999], 0, 1)
    >>> low < mean < high < 1
    True
    """
    array = np.asarray(values, dtype=float)
    mean, least, most = interval(array, level=level)
    if (low <= least and most <= high) or math.isnan(least):
        return mean, least, most
    share = ((array - low) / (high - low)).clip(1e-3, 1 - 1e-3)
    bounds = interval(special.logit(share), level=level)[1:]
    least, most = (low + (high - low) * float(special.expit(x)) for x in bounds)
    return mean, min(least, mean), max(most, mean)


def correlation_interval(
    rhos: Sequence[float] | np.ndarray | pd.Series, ranked: int, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of rank correlations of several seeds, each over so many models, with an interval.

    On Fisher's scale, the wider of Student's over seeds and the normal one with the variance
    (1 + ρ²/2) / (n − 3) of each (Bonett & Wright 2000): equal correlations in all seeds are no
    certainty. A perfect order counts as half a swap less.

    >>> mean, low, high = correlation_interval([1.0, 1.0, 1.0], 6)
    >>> mean, round(low, 2), high
    (1.0, 0.87, 1.0)
    """
    array = np.asarray(rhos, dtype=float)
    mean, n = float(array.mean()), max(ranked, 4)
    most = 1 - 6 / (n * (n**2 - 1))
    z, low, high = interval(np.arctanh(array.clip(-most, most)), level=level)
    quantile = float(special.ndtri(0.5 + level / 2))
    half = quantile * math.sqrt((1 + mean**2 / 2) / (n - 3) / array.size)
    half = max(half, (high - low) / 2 if high > low else 0.0)
    return mean, min(math.tanh(z - half), mean), max(math.tanh(z + half), mean)


def over_seeds(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Columns: those of `MODEL` and `ROW` that are there; mean over seeds, low, high, seeds.

    ValueError for two rows of one seed, which are not independent observations.
    """
    by = [name for name in [*MODEL, *ROW] if name in table]
    if table.duplicated([*by, "seed"]).any():
        raise ValueError(f"table must have one row for each of {by} and seed, got several")

    def summary(part: pd.DataFrame) -> dict[str, float]:
        mean, low, high = interval(part[value])
        return {"mean": mean, "low": low, "high": high, "seeds": len(part)}

    return _each_group(table, by, summary)


def paired(table: pd.DataFrame, value: str, *, baseline: str) -> pd.DataFrame:
    """The column "difference": a value minus the baseline family's of equal data set, seed and row.

    The rows of the table (one a model and seed, and whatever columns of `ROW` it has) but those of
    the baseline; `over_seeds` gives the interval. ValueError for a baseline not there, or twice.
    """
    by = [name for name in ["dataset", "seed", *ROW] if name in table]
    check_name("baseline", baseline, sorted(set(table["family"])))
    ours = table["family"] == baseline
    reference = table[ours].set_index(by)[value]
    if reference.index.has_duplicates:
        raise ValueError(f"table must have one row of {baseline} for each of {by}, got several")
    joined = table[~ours].merge(reference.rename("_baseline").reset_index(), on=by, how="left")
    return joined.assign(difference=joined[value] - joined["_baseline"]).drop(columns="_baseline")


def correlation_over_seeds(table: pd.DataFrame, x: str, y: str, *, by: list[str]) -> pd.DataFrame:
    """Spearman's ρ of two columns over the models of a seed, by group, averaged over seeds.

    The interval is Student's, for other seeds of the same kinds of model, as suits a sweep. Rows
    with NaN in x or y are left out, and seeds with fewer than 4 models or a constant column.
    Columns: those of ``by``; rho, low and high (cut at ±1), seeds, models (of a seed, at most).
    """

    def summary(part: pd.DataFrame) -> dict[str, float]:
        seeds = part.dropna(subset=[x, y]).groupby("seed")
        each = [rho for _, models in seeds if not math.isnan(rho := spearman(models[[x, y]]))]
        rho, low, high = interval(each) if each else (math.nan,) * 3
        bounds = {"rho": rho, "low": max(low, -1.0), "high": min(high, 1.0)}
        return bounds | {"seeds": len(each), "models": part.groupby("seed").size().max()}

    return _each_group(table, by, summary)


def correlation_over_kinds(
    table: pd.DataFrame, x: str, y: str, *, by: list[str], fixed: str | None = None
) -> pd.DataFrame:
    """Spearman's ρ of two columns over kinds of model, by group, with an interval for other kinds.

    A kind (the columns of `MODEL`) counts once, with the means of its seeds, as these are not
    independent models. The interval is Fisher's, with the variance (1 + ρ²/2) / (n − 3) for n kinds
    (Bonett & Wright 2000); a perfect order counts as half a swap less, or it would have no width.
    With a column held ``fixed`` it is the partial correlation, which costs a degree of freedom.
    Columns as of `correlation_over_seeds`, but models are kinds.
    """

    def summary(part: pd.DataFrame) -> dict[str, float]:
        known = part.dropna(subset=[x, y])
        columns = [x, y, *([fixed] if fixed else [])]
        kinds = known.groupby([c for c in MODEL if c in table], dropna=False)[columns].mean()
        n, rho, low, high = len(kinds), spearman(kinds[[x, y]]), math.nan, math.nan
        if fixed:
            rho = partial_spearman(kinds[x], kinds[y], fixed=kinds[fixed])
        left = n - 3 - bool(fixed)
        if not math.isnan(rho) and left > 0:
            most = 1 - 6 / (n * (n**2 - 1))  # half way to the largest ρ below 1
            z = math.atanh(min(max(rho, -most), most))
            half = float(special.ndtri(0.975)) * math.sqrt((1 + rho**2 / 2) / left)
            low, high = min(math.tanh(z - half), rho), max(math.tanh(z + half), rho)
        seeds = known["seed"].nunique()
        return {"rho": rho, "low": low, "high": high, "seeds": seeds, "models": n}

    return _each_group(table, by, summary)


def curve_summary(damages: pd.DataFrame) -> pd.DataFrame:
    """Each damage curve of `lrnb.studies.untargeted.table` in a few numbers.

    Columns: those of the table without eps, radius, damage and deviation; mean (over ε from 0), half
    and end (at half and at the end of the range), aaddc (`lrnb.metrics.aaddc`, larger is more
    robust).
    """
    by = [*MODEL, "seed", "norm", "attack", "scale", "kind", "metric"]
    by = [name for name in by if name in damages]
    rows = []
    for names, curve in damages.groupby(by, sort=False):
        curve = curve.sort_values("eps")
        x, y = (np.array([0.0, *curve[name]]) for name in ("eps", "damage"))
        score = math.nan if np.isnan(y).any() else aaddc(torch.tensor(x), torch.tensor(y))
        row = dict(zip(by, names, strict=True)) | {"mean": float(trapezoid(y, x) / x[-1])}
        row |= {"half": float(np.interp(x[-1] / 2, x, y)), "end": y[-1]}
        kept = ("samples", "own_length", "own", "between", "clean")
        row |= {"aaddc": score} | {k: curve[k].iloc[0] for k in kept if k in curve}
        rows.append(row)
    return pd.DataFrame(rows)


def _each_group(
    table: pd.DataFrame, by: list[str], summary: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    groups = table.groupby(by, sort=False, dropna=False)
    return pd.DataFrame([dict(zip(by, name, strict=True)) | summary(part) for name, part in groups])


def spearman(pairs: pd.DataFrame) -> float:
    """Spearman's ρ of the two columns; NaN for fewer than 4 rows or a constant column."""
    if len(pairs) < 4 or pairs.nunique().min() < 2:
        return math.nan
    return float(pairs.iloc[:, 0].corr(pairs.iloc[:, 1], "spearman"))


def partial_spearman(x: pd.Series, y: pd.Series, *, fixed: pd.Series) -> float:
    """Spearman's ρ of x and y with a third column held fixed, from the pairwise ones."""
    xy, xz, yz = (a.corr(b, "spearman") for a, b in ((x, y), (x, fixed), (y, fixed)))
    left = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / math.sqrt(left)) if left > 0 else math.nan
