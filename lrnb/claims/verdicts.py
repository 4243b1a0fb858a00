"""From effects to verdicts: intervals set against a smallest effect of interest."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from lrnb._validation import check_name
from lrnb.claims.definitions import CLAIMS, Claim
from lrnb.claims.effects import Tables
from lrnb.data import DATASETS
from lrnb.metrics.statistics import MIN_SEEDS, bounded_interval, correlation_interval, interval
from lrnb.models import PROFILES

HOLDS, CONTRADICTED, NONE, UNDECIDED = "holds", "contradicted", "no effect", "undecided"
FOUND = (HOLDS, NONE, CONTRADICTED, UNDECIDED)  # on one data set, under one choice
MIXED, IN_PART = "mixed", "{} in part"
VERDICTS = (HOLDS, IN_PART.format(HOLDS), MIXED, NONE, IN_PART.format(NONE),
            CONTRADICTED, IN_PART.format(CONTRADICTED), UNDECIDED)  # fmt: skip
READINGS = ("primary", "control")
_COLUMNS = ["claim", "reading", "choices", "dataset", "effect", "low", "high", "least", "p"]
_COLUMNS += ["seeds", "found"]


def judge(claim: Claim, tables: Tables, *, decides: bool) -> pd.DataFrame:
    """The effect of a claim on each data set under every combination of choices.

    Of the tables that the claim names (ValueError if one is missing); ``decides``: whether the run
    that made them is large enough (`lrnb.Profile.decides`).

    Columns: claim, reading ("primary", "control", or "" for the other combinations), choices
    ("norm: L2; unit: raw; …"), dataset, effect (mean over seeds), low and high (95%), least (the
    smallest effect of interest), p (one-sided, of an effect of at most ``least``), seeds, found
    (one of `FOUND`, by the rule of `decision`).
    """
    for name in claim.tables:
        if name not in tables:
            raise ValueError(f"tables must hold {name} for {claim.name}, got {sorted(tables)}")
    effects = claim.effects(tables)
    names = list(claim.primary)
    readings = {
        _text(claim.primary): "primary",
        _text({**claim.primary, **claim.control}): "control",
    }
    rows = []
    for chosen, part in effects.groupby([*names, "dataset"], sort=False):
        *choice, dataset = map(str, chosen)
        text = _text(dict(zip(names, choice, strict=True)))
        row = {"claim": claim.name, "reading": readings.get(text, ""), "choices": text}
        rows.append(row | {"dataset": dataset, "least": claim.least} | _cell(claim, part, decides))
    found = pd.DataFrame(rows, columns=_COLUMNS)
    order = [*READINGS, ""]
    return found.sort_values(
        ["reading", "dataset"],
        key=lambda c: c.map((order if c.name == "reading" else list(DATASETS)).index),
        kind="stable",
        ignore_index=True,
    )


def decision(low: float, high: float, inner: tuple[float, float], least: float) -> str:
    """What an interval says of an effect, with a smallest effect of interest.

    It *holds* if the whole 95% interval lies above ``least``, is *contradicted* if it lies below
    minus ``least``; there is *no effect* if the 90% interval (``inner``) lies between the two (two
    one-sided tests, Lakens 2017); else it is *undecided*. So each of these errs in at most 5 of 100
    cases: *holds* and *contradicted* in 2.5 where the effect is no larger than ``least``.

    >>> decision(0.2, 0.4, (0.22, 0.38), 0.1), decision(-0.05, 0.2, (0.0, 0.1), 0.1)
    ('holds', 'undecided')
    """
    if not high - low > 1e-9:  # one seed, or all equal, which is no certainty
        return UNDECIDED
    if low > least:
        return HOLDS
    if high < -least:
        return CONTRADICTED
    return NONE if -least < inner[0] and inner[1] < least else UNDECIDED


def verdict(judged: pd.DataFrame, reading: str = "primary") -> str:
    """One of `VERDICTS` from the rows of `judge` for one claim.

    What was found on every data set; "… in part" where it is undecided on some; "mixed" where the
    data sets differ.

    >>> rows = pd.DataFrame({"reading": ["primary"] * 2, "found": ["holds", "undecided"]})
    >>> verdict(rows)
    'holds in part'
    """
    check_name("reading", reading, READINGS)
    found = set(judged.loc[judged["reading"] == reading, "found"])
    decided = found - {UNDECIDED}
    if len(decided) > 1:
        return MIXED
    if not decided:
        return UNDECIDED
    return decided.pop() if UNDECIDED not in found else IN_PART.format(decided.pop())


def shares(judged: pd.DataFrame) -> dict[str, float]:
    """Share of a claim's specification curve, all choices and data sets, that each finding has."""
    return {found: float((judged["found"] == found).mean()) for found in FOUND}


def tally(judged: pd.DataFrame, reading: str = "primary") -> str:
    """How many claims got each verdict, of those that were judged.

    >>> rows = pd.DataFrame({"claim": ["a", "b"], "reading": "primary", "found": ["holds", "no effect"]})
    >>> tally(rows)
    '1 holds, 1 no effect'
    """
    found = [verdict(rows, reading) for _, rows in judged.groupby("claim")]
    return ", ".join(f"{found.count(v)} {v}" for v in VERDICTS if v in found) or "none judged"


def what_would_change(judged: pd.DataFrame) -> str:
    """What another smallest effect of interest would have made of a claim's primary reading.

    >>> rows = pd.DataFrame({"reading": ["primary"] * 2, "low": [0.1, 0.3], "high": [0.2, 0.4],
    ...                      "found": ["holds"] * 2})
    >>> what_would_change(rows)
    'with any smallest effect below 0.100 it holds on every data set, below 0.300 on one at least'
    """
    rows = judged[judged["reading"] == "primary"]
    if rows.empty or rows["low"].isna().any():
        return "too few seeds to say"
    every, one = rows["low"].min(), rows["low"].max()
    if one <= 0:
        return "with no smallest effect it holds on any data set"
    if every <= 0:
        return f"with any smallest effect below {one:.3f} it holds on one data set at least, never on all"
    text = f"with any smallest effect below {every:.3f} it holds on every data set"
    return text + f", below {one:.3f} on one at least" * bool(one != every)


def survives(judged: pd.DataFrame, level: float = 0.025) -> dict[str, bool]:
    """By claim, whether it holds on every data set after Holm's correction over all claims.

    The p-value of a claim is the largest of its data sets in the primary reading.

    >>> rows = pd.DataFrame({"claim": ["a", "b"], "reading": "primary", "p": [0.001, 0.02]})
    >>> survives(rows)
    {'a': True, 'b': True}
    """
    primary = judged[judged["reading"] == "primary"]
    largest = primary.groupby("claim", sort=False)["p"].agg(lambda p: p.max(skipna=False))
    rejected, out = True, {}
    for rank, (name, p) in enumerate(largest.sort_values().items()):
        rejected = rejected and bool(p <= level / (len(largest) - rank))
        out[str(name)] = rejected
    return {name: out[name] for name in largest.index}


def ledger(folder: Path) -> pd.DataFrame:
    """Rows of `judge` for every claim whose tables a folder of results holds."""
    judged = [pd.DataFrame(columns=_COLUMNS)]
    for claim in CLAIMS.values():
        files = [folder / f"{name}.csv" for name in claim.tables]
        if all(file.is_file() for file in files):
            origin = json.loads(files[0].with_suffix(".json").read_text())
            decides = PROFILES[origin["parameters"]["profile"]].decides
            tables = {file.stem: pd.read_csv(file) for file in files}
            judged.append(judge(claim, tables, decides=decides))
    return pd.concat(judged[1:] or judged, ignore_index=True)


def _text(choice: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in choice.items())


def _cell(claim: Claim, part: pd.DataFrame, decides: bool) -> dict[str, object]:
    """Effect, interval, p and what was found, of one data set under one combination of choices."""
    if "value" not in part or "ranked" in part:  # correlations
        if "value" in part:
            values, n, seeds = part["value"], int(part["ranked"].min()), len(part)
            effect, low, high = correlation_interval(values, n)
        else:  # over kinds of model, with their interval
            effect, low, high = (float(part[name].iloc[0]) for name in ("mean", "low", "high"))
            seeds = int(part["seeds"].iloc[0])
        # (on Fisher's scale the interval is symmetric, but for the cut at ±1)
        ends = np.arctanh(np.clip([low, effect, high], -0.999, 0.999))
        error = float(max(ends[1] - ends[0], ends[2] - ends[1]) / special.ndtri(0.975))
        inner = tuple(np.tanh(ends[1] + error * special.ndtri([0.05, 0.95])))
        p = float(special.ndtr((math.atanh(claim.least) - ends[1]) / error))
    else:
        values, seeds = part["value"], len(part)
        effect, low, high = bounded_interval(values, *claim.bounds)
        inner = bounded_interval(values, *claim.bounds, level=0.9)[1:]
        error = float(values.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else math.nan
        p = float(special.stdtr(seeds - 1, (claim.least - effect) / error)) if error else math.nan
    enough = decides and seeds >= MIN_SEEDS
    found = decision(low, high, inner, claim.least) if enough else UNDECIDED
    cell = {"effect": effect, "low": low, "high": high, "p": p, "seeds": seeds}
    return cell | {"found": found}


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
