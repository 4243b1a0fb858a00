"""The effect of each claim under every defensible choice, from the tables of its chapter.

Each function returns one row for each data set, seed and combination of choices: dataset, seed,
value, and a column for each choice, whose entries are worded for the reader. An effect is written
so that the claim holds where it is larger than 0. A rank correlation says how many models it ranked;
one over kinds of model has mean, low, high and seeds in place of seed and value.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from lrnb.attacks import BALLS
from lrnb.metrics.images import METRICS
from lrnb.metrics.statistics import correlation_over_kinds, spearman

Tables = Mapping[str, pd.DataFrame]
Effects = pd.DataFrame

RUN = ["dataset", "seed"]
UNITS = {"raw": "raw", "spread": "spread of the means"}
MEAN, HALF, END = "mean over ε", "half of the range", "end of the range"


def vulnerable(tables: Tables) -> Effects:
    """Damage by the attack, beyond that by noise of the same length or by itself."""
    table = tables["02_untargeted_attack"]
    table = _along(table[table["metric"] != "mse"], [*RUN, "norm", "scale", "metric", "kind"])
    wide = _wide(table, "kind")
    parts = {"noise of its length": wide["attack"] - wide["noise"], "nothing": wide["attack"]}
    return _worded(_stacked(parts, "beyond"))


def shifted(column: str, chance: str) -> Callable[[Tables], Effects]:
    """A column of the table of latent shifts, beyond that of noise, or beyond chance."""

    def effects(tables: Tables) -> Effects:
        table = tables["02_untargeted_attack-shift"].copy()
        # (a guess between two kinds is right half of the time)
        even = table["even_share"] if chance == "even_share" else 0.5
        table["by_chance"] = even
        found = []
        for share, at in ((0.5, HALF), (1.0, END)):
            here = _at(table, share)
            wide = here.pivot(index=RUN, columns="kind", values=[column, "by_chance"])
            attack = wide[column, "attack"]
            parts = {
                "noise of its length": attack - wide[column, "noise"],
                "chance": attack - wide["by_chance", "attack"],
            }
            found.append(_stacked(parts, "beyond").assign(**{"ε": at}))
        return pd.concat(found)

    return effects


def steered(tables: Tables) -> Effects:
    """Share of the way to the target covered, beyond what does not know the target or decoder."""
    attacked, straight = (tables[f"03_targeted_attack{s}"] for s in ("", "-straight"))
    attacked = attacked[attacked["metric"] == "mse"]
    found = []
    for share, at in ((0.5, HALF), (1.0, END)):
        covered = 1 - _at(attacked, share).set_index(RUN)["relative"]
        other = _at(straight, share).set_index(RUN)
        parts = {
            "the mean training image": covered - (1 - other["mean_image"]),
            "a straight step": covered - (1 - other["relative"]),
            "nothing": covered,
        }
        found.append(_stacked(parts, "beyond").assign(**{"ε": at}))
    return pd.concat(found)


def more_robust(family: str) -> Callable[[Tables], Effects]:
    """How many times the VAE's damage is that of a family, as a natural logarithm, by seed."""

    def effects(tables: Tables) -> Effects:
        table = tables["04_dae_comparison-damages"]
        table = table[table["family"].isin(["vae", family])]
        attacked = table[table["kind"] == "attack"]
        wide = _wide(_along(attacked, [*RUN, "family", "norm", "scale", "metric"]), "family")
        ratio = pd.Series(np.log(wide["vae"] / wide[family]))
        return _worded(ratio.rename("value").reset_index())

    return effects


def disentangled(tables: Tables) -> Effects:
    """Minus Spearman's ρ of β and robustness, over the models of a sweep, by seed."""
    table = tables["05_beta_tradeoff"].copy()
    for scale in UNITS:
        table[f"damage_{scale}"] = -table[f"damage_{scale}"]
    rows = []
    for family, sweep in (("tcvae", "β-TCVAE"), ("vae", "β-VAE")):
        swept = table[table["family"] == family]
        for models, kept in (("all", swept), ("not collapsed", swept[swept["active"] > 0])):
            for scale, unit in UNITS.items():
                for column, damage in (
                    ("aaddc", "1 − SSIM, mean over ε"),
                    ("damage", "squared error, end"),
                ):
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
    rank = trained.groupby("dataset")["adv_eps"].rank("dense").astype(int)
    trained["radius"] = rank.map({1: "a quarter", 2: "half", 3: "the whole range"})
    # a form and radius at which the model of one seed has collapsed is left out for all
    least = trained.groupby(["dataset", "adv_form", "radius"])["active"].transform("min")
    found = []
    for models, kept in (("all", trained), ("not collapsed", trained[least > 0])):
        for scale, unit in UNITS.items():
            before = plain[f"aaddc_{scale}"]
            if models != "all":
                before = before.where(plain["active"] > 0)
            damage = 1 - kept.set_index(RUN)[f"aaddc_{scale}"]
            ratio = np.log((1 - before.reindex(damage.index)).to_numpy() / damage.to_numpy())
            choice = {"form": kept["adv_form"].map(_FORMS), "radius in training": kept["radius"]}
            about = kept[RUN].assign(value=ratio, **choice, models=models, unit=unit)
            found.append(about.dropna(subset="value"))
    return pd.concat(found)


def homogeneous(tables: Tables) -> Effects:
    """Minus Spearman's ρ of robustness and diversity of samples, over kinds of model."""
    table = tables["06_adversarial_training"]
    found = []
    for models, kept in (("all", table), ("not collapsed", table[table["active"] > 0])):
        for scale, unit in UNITS.items():
            for source, samples in (("prior", "the prior"), ("fitted", "a fitted Gaussian")):
                for column, measure in (("lpips", "LPIPS"), ("mse", "squared error")):
                    name = f"diversity_{source}_{column}"
                    if kept[name].notna().any():
                        of = correlation_over_kinds(kept, f"aaddc_{scale}", name, by=["dataset"])
                        bounds = {"mean": -of["rho"], "low": -of["high"], "high": -of["low"]}
                        choice = {"models": models, "unit": unit, "samples from": samples}
                        choice["diversity"] = measure
                        found.append(of[["dataset", "seeds"]].assign(**bounds, **choice))
    return pd.concat(found).dropna(subset="mean")


_FORMS = {"trades": "added term", "maxmin": "max–min"}


def _at(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Rows at the ε nearest to a share of each data set's largest."""
    off = (table["eps"] - share * table.groupby("dataset")["eps"].transform("max")).abs()
    return table[off == off.groupby(table["dataset"]).transform("min")]


def _along(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Damage curves as one number each: mean over ε (by trapezoid, from 0), half, end of the range."""
    found = []
    for share, at in ((0.5, HALF), (1.0, END)):
        found.append(_at(table, share)[[*by, "damage"]].assign(at=at))

    def mean(curve: pd.DataFrame) -> float:
        curve = curve.sort_values("eps")
        eps, damage = [0.0, *curve["eps"]], [0.0, *curve["damage"]]
        return float(trapezoid(damage, eps) / eps[-1])

    means = [(*names, mean(part)) for names, part in table.groupby(list(by), sort=False)]
    found.append(pd.DataFrame(means, columns=[*by, "damage"]).assign(at=MEAN))
    return pd.concat(found).dropna(subset="damage")


def _wide(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The damages with a column for each entry of one of the names."""
    by = [name for name in table if name not in (column, "damage")]
    return table.pivot(index=by, columns=column, values="damage")


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
        "scale": UNITS,
        "metric": {name: metric.label for name, metric in METRICS.items()},
    }
    for column, labels in words.items():
        found[column] = found[column].map(labels)
    return found.rename(columns={"scale": "unit", "metric": "damage", "at": "ε"})
