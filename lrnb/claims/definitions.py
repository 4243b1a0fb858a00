"""The claims of the paper as data: for each a statistic, a threshold, a control.

An effect is written so that the claim holds where it is larger than a threshold. Each claim is read
twice, as the paper states it and under a control that the paper did not make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from lrnb._validation import Registry
from lrnb.metrics.statistics import correlation_over_kinds, correlation_over_seeds

Tables = Mapping[str, pd.DataFrame]
Values = pd.DataFrame  # dataset, seed, value; or dataset, mean, low, high, seeds

DETERMINISTIC = ["dae_kl", "dae_mmd", "dae_swt"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is judged.

    Attributes:
        name, title: short, for code; for people.
        statement: what the paper says; where: from what it is known.
        statistic: what is computed; threshold: the effect must be larger.
        control: what else could explain it, and what is computed instead; control_threshold.
        chapter: the notebook whose tables decide it; tables: their names.
        effect, controlled: those tables → the effect by data set and seed.
    """

    name: str
    title: str
    statement: str
    statistic: str
    threshold: float
    control: str
    control_threshold: float
    chapter: str
    tables: tuple[str, ...]
    effect: Callable[[Tables], Values]
    controlled: Callable[[Tables], Values]
    where: str = "abstract and summary"


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
        deterministic = wide[DETERMINISTIC].mean(axis=1)
        return (deterministic - wide["vae"]).rename("value").reset_index()

    return gain


def _beta(score: str) -> Callable[[Tables], Values]:
    def fall(tables: Tables) -> Values:
        table = tables["05_beta_tradeoff"]
        return _minus(
            correlation_over_seeds(table[table["family"] == "tcvae"], "beta", score, by=["dataset"])
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


CLAIMS: Registry[Claim] = Registry(
    "claim",
    {
        claim.name: claim
        for claim in (
            Claim(
                name="vulnerable",
                title="VAEs are vulnerable in the latent space",
                statement="A small δ found by PGD damages a VAE's reconstruction sharply.",
                statistic="1 − SSIM between clean and attacked decoding at half of the paper's largest ε",
                threshold=0.2,
                control="at half of the largest ε in units of the code's spread, damage divided by that "
                "of noise of the same length",
                control_threshold=2.0,
                chapter="02_untargeted_attack",
                tables=("02_untargeted_attack",),
                effect=_damage,
                controlled=_over_noise,
            ),
            Claim(
                name="steered",
                title="Targeted attacks steer the reconstruction",
                statement="Targeted attacks steer the reconstruction towards a chosen image.",
                statistic="share of the way to the target's own reconstruction that is covered at the "
                "largest ε, in squared error, median over pairs",
                threshold=0.5,
                control="that share minus the one that a straight step of the same length towards the "
                "target's own code covers",
                control_threshold=0.0,
                chapter="03_targeted_attack",
                tables=("03_targeted_attack", "03_targeted_attack-straight"),
                effect=_covered,
                controlled=_covered_beyond_straight,
            ),
            Claim(
                name="deterministic",
                title="Deterministic autoencoders are more robust than VAEs",
                statement="Deterministic autoencoders regularized by KL, MMD or SWT are more robust.",
                statistic="AADDC of 1 − SSIM under L2 attack over raw ε, mean of DAE-KL, DAE-MMD and "
                "DAE-SWT minus VAE, paired over seeds",
                threshold=0.0,
                control="the same over ε in units of each code's own spread",
                control_threshold=0.0,
                chapter="04_dae_comparison",
                tables=("04_dae_comparison-aaddc",),
                effect=_deterministic("raw"),
                controlled=_deterministic("spread"),
            ),
            Claim(
                name="disentangled",
                title="A higher β means less robustness",
                statement="The higher β in β-TCVAE, the less robust is its latent space.",
                statistic="minus Spearman's ρ of β and AADDC over raw ε, over the β-TCVAEs of a seed",
                threshold=0.0,
                control="the same over ε in units of each code's own spread",
                control_threshold=0.0,
                chapter="05_beta_tradeoff",
                tables=("05_beta_tradeoff",),
                effect=_beta("aaddc_raw"),
                controlled=_beta("aaddc_spread"),
            ),
            Claim(
                name="defended",
                title="Latent adversarial training helps",
                statement="Adversarial training in the latent space improves a VAE's robustness.",
                statistic="AADDC over raw ε of the adversarially trained VAEs, mean of both forms at the "
                "middle training ε, minus the VAE's, paired over seeds",
                threshold=0.0,
                control="the same over ε in units of each code's own spread, without a form of which a "
                "model has no active dimension left (posterior collapse)",
                control_threshold=0.0,
                chapter="06_adversarial_training",
                tables=("06_adversarial_training",),
                effect=_defended("aaddc_raw", uncollapsed=False),
                controlled=_defended("aaddc_spread", uncollapsed=True),
            ),
            Claim(
                name="apart",
                title="Adversarial codes differ from clean ones",
                statement="Adversarial codes differ from clean ones in t-SNE.",
                statistic="share of held-out codes that a classifier names correctly as clean or "
                "adversarial at the largest ε; ½ if it guesses",
                threshold=0.6,
                control="that share minus the one under noise of the same length",
                control_threshold=0.05,
                chapter="02_untargeted_attack",
                tables=("02_untargeted_attack-shift",),
                effect=_shift("told_apart", beyond_noise=False),
                controlled=_shift("told_apart", beyond_noise=True),
            ),
            Claim(
                name="concentrated",
                title="Attacks concentrate on few latent dimensions",
                statement="Adversarial changes concentrate on specific latent dimensions.",
                statistic="part of ‖δ‖² that a quarter of the active dimensions carries at the largest "
                "ε, over all codes together; an even δ has little more than ¼",
                threshold=0.5,
                control="that part minus the one of noise of the same length",
                control_threshold=0.1,
                chapter="02_untargeted_attack",
                tables=("02_untargeted_attack-shift",),
                effect=_shift("top_share", beyond_noise=False),
                controlled=_shift("top_share", beyond_noise=True),
            ),
            Claim(
                name="homogeneous",
                title="Robust models generate more homogeneous samples",
                statement="Latent-robust models generate more homogeneous samples (a hint).",
                statistic="minus Spearman's ρ of AADDC over raw ε and the mean LPIPS, or squared error where "
                "that is not available, between pairs of samples from the prior; over all families and "
                "adversarial ones, each the mean of its seeds, with an interval over kinds of model",
                threshold=0.0,
                control="the same with ε in units of the spread, samples from a Gaussian fitted to each "
                "model's own codes, and without models that have no active dimension",
                control_threshold=0.0,
                chapter="06_adversarial_training",
                tables=("06_adversarial_training",),
                effect=_homogeneous("aaddc_raw", "prior", uncollapsed=False),
                controlled=_homogeneous("aaddc_spread", "fitted", uncollapsed=True),
            ),
        )
    },
)
