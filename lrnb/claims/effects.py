"""The effect of each claim under every defensible choice, from the tables of its chapter.

Each function returns one row for each data set, seed and combination of choices: dataset, seed,
value, and a column for each choice, whose entries are worded for the reader. An effect is written
so that the claim holds where it is larger than 0. A rank correlation says how many models it ranked;
one over kinds of model has mean, low, high and seeds in place of seed and value.
"""

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import pandas as pd

from lrnb.attacks import BALLS
from lrnb.data import DATASETS
from lrnb.metrics.density import UNITS
from lrnb.metrics.images import DAMAGES
from lrnb.metrics.statistics import correlation_over_kinds, spearman
from lrnb.models.training import ADVERSARIAL_FORMS

Tables = Mapping[str, pd.DataFrame]
Effects = pd.DataFrame

RUN = ["dataset", "seed"]
MEAN, HALF, END = "mean over ε", "half of the range", "end of the range"
ATTACKS = {"ours": "ours", "ssim": "ours, on SSIM", "pgd": "customary PGD, one start"}
NOISE, OWN, NOTHING = "noise of its length", "the posterior's noise", "nothing"
VAE, MATCHED = "the VAE", "a β-VAE of equal clean error"
PER_ERROR = ", per clean error"
PER_CLASS = ", per distance of classes"  # damage between reconstructions of different labels
_POINTS = {"mean": MEAN, "half": HALF, "end": END}


def vulnerable(tables: Tables) -> Effects:
    """Damage by the attack, beyond noise of its length, the posterior's own noise, or nothing."""
    table = tables["02_untargeted_attack"].copy()
    squared = table["metric"] == "mse"  # has no scale of its own: 1 is as far as another class
    for column in (*_POINTS, "own"):
        relative = (table[column] / table["between"]).clip(upper=1)
        table[column] = table[column].where(~squared, relative)
    long = _along(table, [*RUN, "norm", "attack", "scale", "metric", "kind", "own"])
    by = [name for name in long if name not in ("kind", "damage")]
    wide = long.pivot(index=by, columns="kind", values="damage").reset_index("own")
    attack = wide["attack"]
    parts = {NOISE: attack - wide["noise"], OWN: attack - wide["own"], NOTHING: attack}
    found = _worded(_stacked(parts, "beyond"))
    of_mse = found["damage"] == DAMAGES["mse"]
    return found.assign(damage=found["damage"].where(~of_mse, found["damage"] + PER_CLASS))


def shifted(columns: Mapping[str, str], beyond: Mapping[str, str]) -> Callable[[Tables], Effects]:
    """Columns of the table of latent shifts, by the name of a detector, beyond that of noise, or
    beyond other columns, by a name.
    """

    def effects(tables: Tables) -> Effects:
        table = tables["02_untargeted_attack-shift"].assign(guess=0.5)
        found = []
        for (detector, column), (share, at) in product(columns.items(), ((0.5, HALF), (1, END))):
            here = _at(table, share)
            attack, noise = (here[here["kind"] == k].set_index(RUN) for k in ("attack", "noise"))
            parts = {NOISE: attack[column] - noise[column]}
            parts |= {name: attack[column] - attack[other] for name, other in beyond.items()}
            choice = {"ε": at} | ({"detector": detector} if detector else {})
            found.append(_stacked(parts, "beyond").assign(**choice))
        return pd.concat(found)

    return effects


def steered(tables: Tables) -> Effects:
    """Share of the way to the target covered, beyond what does not know the target or decoder.

    And the share of decodings that get the target's label, beyond that of the clean ones.
    """
    attacked, straight = (tables[f"03_targeted_attack{s}"] for s in ("", "-straight"))
    attacked = attacked[attacked["metric"] == "mse"]
    found = []
    for share, at in ((0.5, HALF), (1.0, END)):
        here, other = (_at(table, share).set_index(RUN) for table in (attacked, straight))
        parts = {
            "images that were not the target": here["steered"],
            "the mean training image": other["mean_image"] - here["relative"],
            "a straight step": other["relative"] - here["relative"],
            NOTHING: 1 - here["relative"],
        }
        found.append(_stacked(parts, "beyond").assign(measure="squared error", **{"ε": at}))
        parts = {"the clean decoding": here["labelled"] - here["labelled_clean"]}
        found.append(_stacked(parts, "beyond").assign(measure="labels", **{"ε": at}))
    return pd.concat(found)


def more_robust(readings: Mapping[str, str]) -> Callable[[Tables], Effects]:
    """How many times the VAE's damage is that of a family, as a natural logarithm, by seed.

    ``readings``: the families, by what is said of each where there are several.
    """

    def effects(tables: Tables) -> Effects:
        parts = []
        for reading, family in readings.items():
            choice = {"regularizer": reading} if reading else {}
            for part in (_against_vae(tables, family), _at_equal_error(tables, family)):
                parts.append(part.assign(**choice))
        return pd.concat(parts)

    return effects


def disentangled(tables: Tables) -> Effects:
    """Minus Spearman's ρ of β and robustness, over the models of a sweep, by seed."""
    table = tables["05_beta_tradeoff"].copy()
    for scale in UNITS:
        table[f"damage_{scale}"] = -table[f"damage_{scale}"]
    damages = {"aaddc": "1 − SSIM, mean over ε", "damage": "squared error, end"}
    rows = []
    for family, sweep in (("tcvae", "β-TCVAE"), ("vae", "β-VAE")):
        swept = table[table["family"] == family]
        # (a β at which the model of one seed has collapsed is left out for all)
        least = swept.groupby(["dataset", "beta"])["active"].transform("min")
        for models, kept in (("all", swept), ("not collapsed", swept[least > 0])):
            for (scale, unit), (column, damage) in product(UNITS.items(), damages.items()):
                choice = {"sweep": sweep, "models": models, "unit": unit, "damage": damage}
                for (dataset, seed), part in kept.groupby(RUN):
                    rho = spearman(part[["beta", f"{column}_{scale}"]])
                    at = {"dataset": dataset, "seed": seed, "value": -rho, "ranked": len(part)}
                    rows.append(at | choice)
    return pd.DataFrame(rows).dropna(subset="value")


def defended(tables: Tables) -> Effects:
    """How many times the damage after adversarial training is that before it, as −log, by seed."""
    table = tables["06_adversarial_training"]
    plain = table[table["family"] == "vae"].set_index(RUN)
    trained = table[table["family"] == "vae_adv"].copy()
    largest = trained["dataset"].map({name: entry.eps_max for name, entry in DATASETS.items()})
    trained["radius"] = (trained["adv_eps"] / largest).map(_RADII)
    # a form and radius at which the model of one seed has collapsed is left out for all
    least = trained.groupby(["dataset", "adv_form", "radius"])["active"].transform("min")
    found = []
    for models, kept in (("all", trained), ("not collapsed", trained[least > 0])):
        for (norm, prefix), (scale, unit) in product(_AREAS.items(), UNITS.items()):
            column = f"{prefix}{scale}"
            if column in table:
                before = plain[column]
                if models != "all":
                    before = before.where(plain["active"] > 0)
                damage = 1 - kept.set_index(RUN)[column]
                ratio = np.log((1 - before.reindex(damage.index)).to_numpy() / damage.to_numpy())
                choice = {
                    "form": kept["adv_form"].map(ADVERSARIAL_FORMS),
                    "radius in training": kept["radius"],
                }
                about = kept[RUN].assign(value=ratio, **choice, models=models, unit=unit)
                about = about.replace([np.inf, -np.inf], np.nan)
                found.append(about.assign(norm=BALLS[norm].label).dropna(subset="value"))
    return pd.concat(found)


def homogeneous(tables: Tables) -> Effects:
    """Minus Spearman's ρ of robustness and diversity of samples, over kinds of model."""
    table = tables["06_adversarial_training"]
    sources = {"prior": "the prior", "fitted": "a fitted Gaussian"}
    measures = {"lpips": "LPIPS", "mse": "squared error", "vendi": "Vendi score"}
    errors: dict[str, str | None] = {"free": None, "held fixed": "squared_error"}
    found = []
    for models, kept in (("all", table), ("not collapsed", table[table["active"] > 0])):
        of_all = product(UNITS.items(), sources.items(), measures.items(), errors.items())
        for (scale, unit), (source, samples), (column, measure), (error, fixed) in of_all:
            x, y = f"aaddc_{scale}", f"diversity_{source}_{column}"
            if kept[y].notna().any():
                of = correlation_over_kinds(kept, x, y, by=["dataset"], fixed=fixed)
                bounds = {"mean": -of["rho"], "low": -of["high"], "high": -of["low"]}
                choice = {"models": models, "unit": unit, "samples from": samples}
                choice |= {"diversity": measure, "clean error": error}
                found.append(of[["dataset", "seeds"]].assign(**bounds, **choice))
    return pd.concat(found).dropna(subset="mean")


_RADII = {0.25: "a quarter", 0.5: "half", 1.0: "the whole range"}
_AREAS = {"l2": "aaddc_", "linf": "aaddc_linf_"}


def _against_vae(tables: Tables, family: str) -> Effects:
    """A family beside the VAE of the same seed, on the same images."""
    table = tables["04_dae_comparison"]
    table = table[table["family"].isin(["vae", family]) & (table["kind"] == "attack")].copy()
    # a share of 0 of n codes counts as half a code, since its logarithm would be infinite
    least = np.where(table["metric"] == "flips", 0.5 / table["samples"], 0)
    table[list(_POINTS)] = table[list(_POINTS)].clip(lower=pd.Series(least, table.index), axis=0)
    by = [*RUN, "family", "norm", "attack", "scale", "metric"]
    found = []
    for suffix, unit in (("", None), (PER_CLASS, "between"), (PER_ERROR, "clean")):
        part = table
        if unit:
            part = table[table["metric"].isin(["ssim", "mse"])]
            part = part.assign(**part[list(_POINTS)].div(part[unit], axis=0))
        wide = _along(part, by)
        index = [name for name in wide if name not in ("family", "damage")]
        wide = wide.pivot(index=index, columns="family", values="damage")
        ratio = pd.Series(np.log(wide["vae"] / wide[family]))
        finite = ratio.replace([np.inf, -np.inf], np.nan).dropna()
        worded = _worded(finite.rename("value").reset_index())
        found.append(worded.assign(damage=worded["damage"] + suffix))
    return pd.concat(found).assign(beside=VAE)


def _at_equal_error(tables: Tables, family: str) -> Effects:
    """A family beside the β-VAEs of the same seed, interpolated to its clean error if they span it."""
    table = tables["04_dae_comparison-frontier"]
    rows = []
    for names, models in table.groupby(RUN):
        sweep = models[(models["family"] == "vae") & (models["active"] > 0)]
        sweep = sweep.sort_values("squared_error")
        (one,) = models[models["family"] == family].to_dict("records")
        error, at = sweep["squared_error"], one["squared_error"]
        if len(sweep) > 1 and error.iloc[0] <= at <= error.iloc[-1]:
            for scale in UNITS:
                column = f"aaddc_{scale}"
                value = np.interp(at, error, np.log(1 - sweep[column])) - np.log(1 - one[column])
                rows.append([*names, scale, value])
    found = pd.DataFrame(rows, columns=[*RUN, "scale", "value"])
    found = found.assign(norm="l2", attack="ours", metric="ssim", at=MEAN)
    return _worded(found).assign(beside=MATCHED)


def _at(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Rows at the ε nearest to a share of each data set's largest."""
    off = (table["eps"] - share * table.groupby("dataset")["eps"].transform("max")).abs()
    return table[off == off.groupby(table["dataset"]).transform("min")]


def _along(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The numbers of each damage curve (`lrnb.metrics.statistics.curve_summary`), one a row."""
    long = table.melt(id_vars=by, value_vars=list(_POINTS), var_name="at", value_name="damage")
    return long.assign(at=long["at"].map(_POINTS)).dropna(subset="damage")


def _stacked(parts: Mapping[str, pd.Series], choice: str) -> pd.DataFrame:
    """Effects under several entries of one choice."""
    named = [
        part.rename("value").reset_index().assign(**{choice: name}) for name, part in parts.items()
    ]
    return pd.concat(named)


def _worded(found: pd.DataFrame) -> pd.DataFrame:
    """The choices of a damage curve as a reader sees them."""
    words = {
        "norm": {name: ball.label for name, ball in BALLS.items()},
        "attack": ATTACKS,
        "scale": UNITS,
        "metric": DAMAGES,
    }
    for column, labels in words.items():
        found[column] = found[column].map(dict(labels))
    return found.rename(columns={"scale": "unit", "metric": "damage", "at": "ε"})
