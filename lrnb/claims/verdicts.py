"""From tables to verdicts: effects with intervals, set against thresholds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from lrnb._validation import check_name
from lrnb.claims.definitions import CLAIMS, Claim, Tables, Values
from lrnb.data import DATASETS
from lrnb.metrics.statistics import MIN_SEEDS, interval
from lrnb.models import PROFILES

REPRODUCED, PARTLY, NOT, SMALL = "reproduced", "partly", "not reproduced", "too small to say"
VERDICTS = (REPRODUCED, PARTLY, NOT, SMALL)
READINGS = ("claim", "control")
_JUDGED = ["claim", "reading", "dataset", "effect", "low", "high", "least", "seeds", "decides"]
_JUDGED += ["holds"]


def judge(claim: Claim, tables: Tables, *, decides: bool) -> pd.DataFrame:
    """The effect of a claim and of its control on each data set, with intervals.

    Args:
        claim: one of `CLAIMS`.
        tables: those that the claim names.
        decides: whether the run that made them is large enough (`lrnb.Profile.decides`).

    Columns: claim, reading ("claim" or "control"), dataset, effect, low, high, least (the threshold),
    seeds, decides (whether there are enough seeds in a large enough run), holds ("yes", "no" or
    "open"). A data set holds if the whole interval lies above the threshold, and does not if it
    lies below; where nothing is decided it is open.

    Raises:
        ValueError: a table that the claim needs is not there.
    """
    for name in claim.tables:
        if name not in tables:
            raise ValueError(f"tables must hold {name} for {claim.name}, got {sorted(tables)}")
    rows = []
    readings = ((claim.effect, claim.threshold), (claim.controlled, claim.control_threshold))
    for reading, (effect, threshold) in zip(READINGS, readings, strict=True):
        found = _by_dataset(effect(tables))
        for _, row in found.sort_values(
            "dataset", key=lambda d: d.map(list(DATASETS).index)
        ).iterrows():
            enough = decides and row["seeds"] >= MIN_SEEDS
            holds = "open"
            if enough and row["low"] > threshold:
                holds = "yes"
            elif enough and row["high"] < threshold:
                holds = "no"
            about = (claim.name, reading, row["dataset"])
            bounds = (row["mean"], row["low"], row["high"], threshold)
            rows.append((*about, *bounds, row["seeds"], enough, holds))
    return pd.DataFrame(rows, columns=_JUDGED)


def verdict(judged: pd.DataFrame, reading: str = "claim") -> str:
    """One of `VERDICTS` from the rows of `judge` for one claim.

    Reproduced if it holds on every data set; partly if on some; not reproduced if on none, and on
    one at least it clearly does not; else too small to say.

    >>> rows = pd.DataFrame({"reading": ["claim"] * 2, "holds": ["yes", "open"]})
    >>> verdict(rows)
    'partly'
    """
    check_name("reading", reading, READINGS)
    holds = set(judged.loc[judged["reading"] == reading, "holds"])
    if holds == {"yes"}:
        return REPRODUCED
    if "yes" in holds:
        return PARTLY
    return NOT if "no" in holds else SMALL


def tally(judged: pd.DataFrame, reading: str = "claim") -> str:
    """How many claims got each verdict, of those that were judged.

    >>> rows = pd.DataFrame({"claim": ["a", "b"], "reading": ["claim"] * 2, "holds": ["yes", "no"]})
    >>> tally(rows)
    '1 reproduced, 1 not reproduced'
    """
    found = [verdict(rows, reading) for _, rows in judged.groupby("claim")]
    return ", ".join(f"{found.count(v)} {v}" for v in VERDICTS if v in found) or "none judged"


def sensitivity(judged: pd.DataFrame, reading: str = "claim") -> str:
    """What another threshold would have made of a claim: how much its verdict depends on ours.

    >>> rows = pd.DataFrame({"reading": ["claim"] * 2, "low": [0.1, 0.3], "decides": [True] * 2})
    >>> sensitivity(rows)
    'reproduced with any threshold below 0.10, partly from there to 0.30'
    """
    rows = judged[judged["reading"] == reading]
    if not rows["decides"].all() or rows["low"].isna().any():
        return "too small a run to say"
    weakest, strongest = (f"{bound:.2f}" for bound in (rows["low"].min(), rows["low"].max()))
    to = f", partly from there to {strongest}" if strongest != weakest else ""
    return f"reproduced with any threshold below {weakest}{to}"


def ledger(folder: Path) -> pd.DataFrame:
    """Every claim judged from the tables in a folder of results; those without tables are absent.

    Columns: as of `judge`, all claims one below the other.
    """
    judged = []
    for claim in CLAIMS.values():
        files = [folder / f"{name}.csv" for name in claim.tables]
        if all(file.is_file() for file in files):
            origin = json.loads(files[0].with_suffix(".json").read_text())
            profile = PROFILES[origin["parameters"]["profile"]]
            tables = {file.stem: pd.read_csv(file, keep_default_na=True) for file in files}
            judged.append(judge(claim, tables, decides=profile.decides))
    return pd.concat(judged, ignore_index=True) if judged else pd.DataFrame(columns=_JUDGED)


def _by_dataset(values: Values) -> pd.DataFrame:
    """Mean and 95% interval over seeds; rows that have their interval already are passed through."""
    if "low" in values:
        return values
    rows: list[dict[str, Any]] = []
    for dataset, part in values.groupby("dataset", sort=False):
        defined = part["value"].dropna()
        mean, low, high = interval(defined) if len(defined) else (math.nan,) * 3
        rows.append(
            {"dataset": dataset, "mean": mean, "low": low, "high": high, "seeds": len(defined)}
        )
    return pd.DataFrame(rows)


def geometry_verdict(explained: pd.DataFrame, *, decides: bool) -> str:
    """Which explanation the intervals over seeds support, in a sentence.

    Steepness stands if the 95% interval of steepness_alone lies above 0; holes if those of
    extra_fall, kernel_extra_fall, density_alone and kernel_alone all do.

    Args:
        explained: rows of `lrnb.studies.geometry.explanations`, the seeds of one kind of model.
        decides: whether the run that made them is large enough (`lrnb.Profile.decides`).

    >>> geometry_verdict(pd.DataFrame({"steepness_alone": [0.9]}), decides=True)
    'Too small a run to say.'
    """
    if not decides or len(explained) < MIN_SEEDS:
        return "Too small a run to say."

    def above(name: str) -> bool:
        return interval(explained[name])[1] > 0

    of_holes = ("extra_fall", "kernel_extra_fall", "density_alone", "kernel_alone")
    return {
        (True, True): "Damage follows steepness, and also holes.",
        (True, False): "Damage follows steepness; of holes there is no clear sign.",
        (False, True): "Damage follows holes; of steepness there is no clear sign.",
        (False, False): "These intervals support neither explanation.",
    }[above("steepness_alone"), all(above(name) for name in of_holes)]
