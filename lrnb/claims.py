"""The claims of the paper: for each a statistic, a rule fixed beforehand, a control, a verdict.

A claim's effect is written so that it holds where the effect is larger than a threshold. Each is
read twice, as the paper states it and under a control that the paper did not make, data set by data
set, with a 95% interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lrnb import checks, results
from lrnb.experiments import PROFILES
from lrnb.intervals import LEAST_SEEDS, correlation_over_kinds, correlation_rows, interval
from lrnb.names import DATASET_NAMES

REPRODUCED, PARTLY, NOT, SMALL = "reproduced", "partly", "not reproduced", "too small to say"
VERDICTS = (REPRODUCED, PARTLY, NOT, SMALL)
READINGS = ("claim", "control")
BADGES = {REPRODUCED: "✓", PARTLY: "◐", NOT: "✗", SMALL: "○"}
_JUDGED = ["claim", "reading", "dataset"]
_JUDGED += ["effect", "low", "high", "least", "seeds", "decides", "holds"]
_ORDER = list(DATASET_NAMES)

Tables = Mapping[str, pd.DataFrame]
Values = pd.DataFrame  # dataset, seed, value; or dataset, mean, low, high, seeds


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is judged.

    Attributes:
        name: short, for code; `title`: for people.
        statement: what the paper says; `where` it is known from.
        statistic: what is computed; `least`: the effect must be larger than this.
        control: what else could explain it, and what is computed instead; `control_least`.
        chapter: the notebook whose tables decide it; `tables`: their names.
        effect, controlled: those tables → the effect by data set and seed.
    """

    name: str
    title: str
    statement: str
    where: str
    statistic: str
    least: float
    control: str
    control_least: float
    chapter: str
    tables: tuple[str, ...]
    effect: Callable[[Tables], Values]
    controlled: Callable[[Tables], Values]


def judge(claim: Claim, tables: Tables, *, decides: bool) -> pd.DataFrame:
    """The effect of a claim and of its control on each data set, with intervals.

    Args:
        claim: one of `CLAIMS`.
        tables: those that the claim names.
        decides: whether the run that made them is large enough (`lrnb.Profile.decides`).

    Columns: claim, reading ("claim" or "control"), dataset, effect, low, high, least, seeds, decides
    (whether there are enough seeds in a large enough run), holds ("yes", "no" or "open"). A data set
    holds if the whole interval lies above the threshold, and does not if it lies below; where
    nothing is decided it is open.

    Raises:
        ValueError: a table that the claim needs is not there.
    """
    for name in claim.tables:
        if name not in tables:
            raise ValueError(f"tables has {sorted(tables)}; {name} is needed for {claim.name}")
    rows = []
    readings = (claim.effect, claim.least), (claim.controlled, claim.control_least)
    for reading, (effect, least) in zip(READINGS, readings, strict=True):
        found = _by_dataset(effect(tables))
        for _, row in found.sort_values("dataset", key=lambda d: d.map(_ORDER.index)).iterrows():
            enough = decides and row["seeds"] >= LEAST_SEEDS
            holds = "open"
            if enough and row["low"] > least:
                holds = "yes"
            elif enough and row["high"] < least:
                holds = "no"
            about = (claim.name, reading, row["dataset"])
            bounds = (row["mean"], row["low"], row["high"], least)
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
    checks.one_of("reading", reading, READINGS)
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
    """What another threshold would have made of a claim: how much its verdict hangs on ours.

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


def show(name: str, tables: Tables, profile: str) -> None:
    """Display a claim's verdict at the head of its chapter, and glue it for other pages.

    Args:
        name: of the claim.
        tables: the chapter's, by the names that the claim asks for.
        profile: of the run.
    """
    claim = CLAIMS[checks.one_of("name", name, CLAIMS)]
    judged = judge(claim, tables, decides=PROFILES[profile].decides)
    results.show_markdown(f"> {sentence(claim, judged)}")
    for reading, prefix in zip(READINGS, ("", "control_"), strict=True):
        results.glue(f"{prefix}verdict_{name}", badge(verdict(judged, reading)))
        results.glue(f"{prefix}effect_{name}", _effects(judged, reading))
    results.glue(f"sensitivity_{name}", sensitivity(judged))


def badge(found: str) -> str:
    """A verdict with its mark.

    >>> badge("partly")
    '◐ partly'
    """
    return f"{BADGES[checks.one_of('found', found, VERDICTS)]} {found}"


def _effects(judged: pd.DataFrame, reading: str) -> str:
    return results.by_dataset(judged[judged["reading"] == reading], "effect")


def sentence(claim: Claim, judged: pd.DataFrame) -> str:
    """The verdict in Markdown: the claim's, and that of its control."""
    found, control = verdict(judged), verdict(judged, "control")
    controlled = {
        REPRODUCED: "Under the control it holds",
        PARTLY: "Under the control it holds in part",
        NOT: "Under the control it does not hold",
        SMALL: "Whether it holds under the control is too small to say",
    }[control]
    return (
        f"{BADGES[found]} **{claim.title}: {found}.** {_effects(judged, 'claim')} "
        f"({claim.statistic}).\n>\n> {BADGES[control]} {controlled}: "
        f"{_effects(judged, 'control')} ({claim.control})."
    )


def show_ledger(judged: pd.DataFrame) -> None:
    """Display every claim with its verdict, the rule behind it and the control.

    Args:
        judged: `ledger`.
    """
    for name, claim in CLAIMS.items():
        rows = judged[judged["claim"] == name]
        if rows.empty:
            line = f"{BADGES[SMALL]} **{claim.title}.** Not computed yet: run chapter `{claim.chapter}`."
            hinges = ["", ""]
        else:
            line = sentence(claim, rows)
            hinges = [f" ({sensitivity(rows, reading)})" for reading in READINGS]
        results.show_markdown(
            f"> {line}\n\n"
            f"- *The paper* ({claim.where}): {claim.statement}\n"
            f"- *Statistic*: {claim.statistic}; must exceed {claim.least:g}{hinges[0]}.\n"
            f"- *Control*: {claim.control}; must exceed {claim.control_least:g}{hinges[1]}.\n"
            f"- *Chapter*: [{claim.chapter}]({claim.chapter}.ipynb)"
        )


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


def _values(table: pd.DataFrame, value: pd.Series) -> Values:
    return table[["dataset", "seed"]].assign(value=value)


def _middle(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at the ε nearest to half of each data set's largest."""
    half = table.groupby("dataset")["eps"].transform("max") / 2
    off = (table["eps"] - half).abs()
    return table[off == off.groupby(table["dataset"]).transform("min")]


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["eps"] == table.groupby("dataset")["eps"].transform("max")]


def _damage(tables: Tables) -> Values:
    at = _untargeted(tables, "raw")
    return _values(at, at["attack"])


def _over_noise(tables: Tables) -> Values:
    at = _untargeted(tables, "spread")
    return _values(at, at["attack"] / at["noise"])


def _untargeted(tables: Tables, scale: str) -> pd.DataFrame:
    table = tables["02_untargeted_attack"]
    chosen = table[(table["scale"] == scale) & (table["metric"] == "ssim")]
    at = _middle(chosen).pivot(index=["dataset", "seed"], columns="kind", values="damage")
    return at.reset_index()


def _covered(tables: Tables) -> Values:
    at = _targeted(tables)
    return _values(at, 1 - at["relative"])


def _covered_beyond_straight(tables: Tables) -> Values:
    by = ["dataset", "seed"]
    straight = _largest(tables["03_targeted_attack-straight"]).set_index(by)["relative"]
    return (straight - _targeted(tables).set_index(by)["relative"]).rename("value").reset_index()


def _targeted(tables: Tables) -> pd.DataFrame:
    table = tables["03_targeted_attack"]
    return _largest(table[table["metric"] == "mse"])


def _deterministic(scale: str) -> Callable[[Tables], Values]:
    def gain(tables: Tables) -> Values:
        table = tables["04_dae_comparison-aaddc"]
        table = table[
            (table["scale"] == scale)
            & (table["norm"] == "l2")
            & (table["metric"] == "ssim")
            & (table["kind"] == "attack")
        ]
        wide = table.pivot(index=["dataset", "seed"], columns="family", values="aaddc")
        deterministic = wide[[c for c in wide if str(c).startswith("dae_")]].mean(axis=1)
        return (deterministic - wide["vae"]).rename("value").reset_index()

    return gain


def _beta(score: str) -> Callable[[Tables], Values]:
    def fall(tables: Tables) -> Values:
        table = tables["05_beta_tradeoff"]
        return _minus(
            correlation_rows(table[table["family"] == "tcvae"], "beta", score, by=["dataset"])
        )

    return fall


def _minus(found: pd.DataFrame) -> Values:
    bounds = {"mean": -found["rho"], "low": -found["high"], "high": -found["low"]}
    return found[["dataset", "seeds"]].assign(**bounds)


def _defended(score: str, *, uncollapsed: bool) -> Callable[[Tables], Values]:
    def gain(tables: Tables) -> Values:
        table = tables["06_adversarial_training"]
        trained = table[table["family"] == "vae_adv"]
        middle = trained[
            trained["adv_eps"] == trained.groupby("dataset")["adv_eps"].transform("median")
        ]
        plain = table[table["family"] == "vae"]
        if uncollapsed:
            forms = middle.groupby(["dataset", "adv_form"])["active"].transform("min")
            middle = middle.assign(**{score: middle[score].where(forms > 0)})
            plain = plain.assign(**{score: plain[score].where(plain["active"] > 0)})
        at = ["dataset", "seed"]
        return (
            (middle.groupby(at)[score].mean() - plain.set_index(at)[score])
            .rename("value")
            .reset_index()
        )

    return gain


def _shift(column: str, *, beyond_noise: bool) -> Callable[[Tables], Values]:
    def moved(tables: Tables) -> Values:
        at = _largest(tables["02_untargeted_attack-shift"])
        wide = at.pivot(index=["dataset", "seed"], columns="kind", values=column).reset_index()
        return _values(wide, wide["attack"] - wide["noise"] if beyond_noise else wide["attack"])

    return moved


def _homogeneous(score: str, source: str, *, uncollapsed: bool) -> Callable[[Tables], Values]:
    def fall(tables: Tables) -> Values:
        table = tables["06_adversarial_training"]
        perceptual = f"diversity_{source}_lpips"
        measure = f"diversity_{source}_mse" if table[perceptual].isna().any() else perceptual
        if uncollapsed:
            table = table.assign(**{score: table[score].where(table["active"] > 0)})
        return _minus(correlation_over_kinds(table, score, measure, by=["dataset"]))

    return fall


_KNOWN_FROM = "abstract and summary"
CLAIMS = {
    claim.name: claim
    for claim in (
        Claim(
            name="vulnerable",
            title="VAEs are vulnerable in the latent space",
            statement="A small δ found by PGD damages a VAE's reconstruction sharply.",
            where=_KNOWN_FROM,
            statistic="1 − SSIM between clean and attacked decoding at half of the paper's largest ε",
            least=0.2,
            control="at half of the largest ε in units of the code's spread, damage over that of "
            "noise of the same length",
            control_least=2.0,
            chapter="02_untargeted_attack",
            tables=("02_untargeted_attack",),
            effect=_damage,
            controlled=_over_noise,
        ),
        Claim(
            name="steered",
            title="Targeted attacks steer the reconstruction",
            statement="Targeted attacks steer the reconstruction towards a chosen image.",
            where=_KNOWN_FROM,
            statistic="share of the way to the target's own reconstruction that is covered at the "
            "largest ε, in squared error, median over pairs",
            least=0.5,
            control="that share minus the one that a straight step of the same length towards the "
            "target's own code covers: no mere replacement of the code",
            control_least=0.0,
            chapter="03_targeted_attack",
            tables=("03_targeted_attack", "03_targeted_attack-straight"),
            effect=_covered,
            controlled=_covered_beyond_straight,
        ),
        Claim(
            name="deterministic",
            title="Deterministic autoencoders are more robust than VAEs",
            statement="Deterministic autoencoders regularised by KL, MMD or SWT are more robust.",
            where=_KNOWN_FROM,
            statistic="AADDC of 1 − SSIM under L2 attack over raw ε, mean of DAE-KL, DAE-MMD and "
            "DAE-SWT minus VAE, paired over seeds",
            least=0.0,
            control="the same over ε in units of each code's own spread",
            control_least=0.0,
            chapter="04_dae_comparison",
            tables=("04_dae_comparison-aaddc",),
            effect=_deterministic("raw"),
            controlled=_deterministic("spread"),
        ),
        Claim(
            name="disentangled",
            title="A higher β means less robustness",
            statement="The higher β in β-TCVAE, the less robust is its latent space.",
            where=_KNOWN_FROM,
            statistic="minus Spearman's ρ of β and AADDC over raw ε, over the β-TCVAEs of a seed",
            least=0.0,
            control="the same over ε in units of each code's own spread",
            control_least=0.0,
            chapter="05_beta_tradeoff",
            tables=("05_beta_tradeoff",),
            effect=_beta("aaddc_raw"),
            controlled=_beta("aaddc_spread"),
        ),
        Claim(
            name="defended",
            title="Latent adversarial training helps",
            statement="Adversarial training in the latent space improves a VAE's robustness.",
            where=_KNOWN_FROM,
            statistic="AADDC over raw ε of the adversarially trained VAEs, mean of both forms at the "
            "middle training ε, minus the VAE's, paired over seeds",
            least=0.0,
            control="the same over ε in units of each code's own spread, without a form of which a "
            "model has no active dimension left: its code has no spread worth a unit, and its "
            "decoder hardly reads it",
            control_least=0.0,
            chapter="06_adversarial_training",
            tables=("06_adversarial_training",),
            effect=_defended("aaddc_raw", uncollapsed=False),
            controlled=_defended("aaddc_spread", uncollapsed=True),
        ),
        Claim(
            name="apart",
            title="Adversarial codes differ from clean ones",
            statement="Adversarial codes differ from clean ones in t-SNE.",
            where=_KNOWN_FROM,
            statistic="share of held-out codes that a classifier tells rightly as clean or "
            "adversarial at the largest ε; ½ if it guesses",
            least=0.6,
            control="that share minus the one under noise of the same length",
            control_least=0.05,
            chapter="02_untargeted_attack",
            tables=("02_untargeted_attack-shift",),
            effect=_shift("told_apart", beyond_noise=False),
            controlled=_shift("told_apart", beyond_noise=True),
        ),
        Claim(
            name="concentrated",
            title="Attacks concentrate on few latent dimensions",
            statement="Adversarial changes concentrate on specific latent dimensions.",
            where=_KNOWN_FROM,
            statistic="part of ‖δ‖² that a quarter of the active dimensions carries at the largest "
            "ε, over all codes together; an even attack has little more than ¼",
            least=0.5,
            control="that part minus the one of noise of the same length",
            control_least=0.1,
            chapter="02_untargeted_attack",
            tables=("02_untargeted_attack-shift",),
            effect=_shift("top_share", beyond_noise=False),
            controlled=_shift("top_share", beyond_noise=True),
        ),
        Claim(
            name="homogeneous",
            title="Robust models generate more homogeneous samples",
            statement="Latent-robust models generate more homogeneous samples (a hint).",
            where=_KNOWN_FROM,
            statistic="minus Spearman's ρ of AADDC over raw ε and the mean LPIPS, or squared error where "
            "that is not at hand, between pairs of samples from the prior; over all families and "
            "adversarial ones, each the mean of its seeds, with an interval over kinds of model",
            least=0.0,
            control="the same with ε in units of the spread, samples from a Gaussian fitted to each "
            "model's own codes, and without models that have no active dimension",
            control_least=0.0,
            chapter="06_adversarial_training",
            tables=("06_adversarial_training",),
            effect=_homogeneous("aaddc_raw", "prior", uncollapsed=False),
            controlled=_homogeneous("aaddc_spread", "fitted", uncollapsed=True),
        ),
    )
}
