"""From tables to verdicts: effects with intervals, set against thresholds."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from lrnb._validation import check_name
from lrnb.claims.definitions import CLAIMS, Claim, Tables, Values
from lrnb.data import DATASETS
from lrnb.metrics.statistics import MIN_SEEDS, interval
from lrnb.models import PROFILES

REPRODUCED, PARTLY, NOT, UNDECIDED = "reproduced", "partly", "not reproduced", "undecided"
VERDICTS = (REPRODUCED, PARTLY, NOT, UNDECIDED)
READINGS = ("claim", "control")
_JUDGED = ["claim", "reading", "dataset", "effect", "low", "high", "least"]
_JUDGED += ["seeds", "decides", "holds"]


def judge(claim: Claim, tables: Tables, *, decides: bool) -> pd.DataFrame:
    """The effect of a claim and of its control on each data set, with intervals.

    Of the tables that the claim names (ValueError if one is missing); ``decides``: whether the run
    that made them is large enough (`lrnb.Profile.decides`).

    Columns: claim, reading ("claim" or "control"), dataset, effect, low, high, least (the
    threshold), seeds, decides (enough seeds in a large enough run), holds ("yes" if the whole
    interval lies above the threshold, "no" if below; else, or if nothing is decided, "open").
    """
    for name in claim.tables:
        if name not in tables:
            raise ValueError(f"tables must hold {name} for {claim.name}, got {sorted(tables)}")
    judged = []
    for reading, least in zip(READINGS, (claim.threshold, claim.control_threshold), strict=True):
        effect = claim.effect(tables, control=reading == "control")
        found = _by_dataset(effect).set_index("dataset")
        found = found.loc[DATASETS.ordered(found.index)].reset_index()
        enough = (found["seeds"] >= MIN_SEEDS) & decides
        sides = [enough & (found["low"] > least), enough & (found["high"] < least)]
        found = found.rename(columns={"mean": "effect"}).assign(
            claim=claim.name, reading=reading, least=least, decides=enough,
            holds=np.select(sides, ["yes", "no"], "open"),
        )  # fmt: skip
        judged.append(found[_JUDGED])
    return pd.concat(judged, ignore_index=True)


def _by_dataset(values: Values) -> pd.DataFrame:
    """Mean and 95% interval over seeds; rows that have their interval are passed through."""
    if "low" in values:
        return values
    rows = []
    for dataset, part in values.groupby("dataset", sort=False):
        defined = part["value"].dropna()
        bounds = interval(defined) if len(defined) else (math.nan,) * 3
        rows.append((dataset, *bounds, len(defined)))
    return pd.DataFrame(rows, columns=["dataset", "mean", "low", "high", "seeds"])


def verdict(judged: pd.DataFrame, reading: str = "claim") -> str:
    """One of `VERDICTS` from the rows of `judge` for one claim.

    Reproduced if it holds on every data set; partly if on some; not reproduced if on none, and on
    one at least it clearly does not; else undecided.

    >>> rows = pd.DataFrame({"reading": ["claim"] * 2, "holds": ["yes", "open"]})
    >>> verdict(rows)
    'partly'
    """
    check_name("reading", reading, READINGS)
    holds = set(judged.loc[judged["reading"] == reading, "holds"])
    if "yes" in holds:
        return REPRODUCED if holds == {"yes"} else PARTLY
    return NOT if "no" in holds else UNDECIDED


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
    """Rows of `judge` for every claim whose tables a folder of results holds."""
    judged = [pd.DataFrame(columns=_JUDGED)]
    for claim in CLAIMS.values():
        files = [folder / f"{name}.csv" for name in claim.tables]
        if all(file.is_file() for file in files):
            origin = json.loads(files[0].with_suffix(".json").read_text())
            decides = PROFILES[origin["parameters"]["profile"]].decides
            tables = {file.stem: pd.read_csv(file) for file in files}
            judged.append(judge(claim, tables, decides=decides))
    return pd.concat(judged[1:] or judged, ignore_index=True)


def geometry_verdict(explained: pd.DataFrame, *, decides: bool) -> str:
    """Which explanation the intervals over seeds support, in a sentence.

    Steepness stands if the 95% interval of steepness_alone lies above 0; holes if those of
    extra_fall, kernel_extra_fall, density_alone and kernel_alone all do. The rows are those of
    `lrnb.studies.geometry.explanations`, the seeds of one kind of model; ``decides`` as in `judge`.

    >>> geometry_verdict(pd.DataFrame({"steepness_alone": [0.9]}), decides=True)
    'Too small a run to say.'
    """
    if not decides or len(explained) < MIN_SEEDS:
        return "Too small a run to say."
    of_holes = ("extra_fall", "kernel_extra_fall", "density_alone", "kernel_alone")
    steep, *holes = (interval(explained[x])[1] > 0 for x in ("steepness_alone", *of_holes))
    return {
        (True, True): "Damage follows steepness, and also holes.",
        (True, False): "Damage follows steepness; of holes there is no clear sign.",
        (False, True): "Damage follows holes; of steepness there is no clear sign.",
        (False, False): "These intervals support neither explanation.",
    }[steep, all(holes)]
