"""The claims of the paper as data: for each a statistic, a threshold, a control.

An effect is written so that the claim holds where it is larger than a threshold. Each claim is read
twice, as the paper states it and under a control that the paper did not make.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from lrnb._validation import Registry
from lrnb.metrics.statistics import correlation_over_kinds, correlation_over_seeds

Tables = Mapping[str, pd.DataFrame]
Values = pd.DataFrame  # dataset, seed, value; or dataset, mean, low, high, seeds

DETERMINISTIC = ["dae_kl", "dae_mmd", "dae_swt"]
_RUN = ["dataset", "seed"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is judged."""

    name: str
    title: str
    tables: tuple[str, ...]  # names of those that decide it, the first one that of its chapter
    statement: str  # of the paper
    statistic: str  # what is computed
    control: str  # what is computed instead, as something else could explain the effect
    threshold: float  # the effect must be larger
    control_threshold: float
    effect: Callable[..., Values]  # (tables, control=False) → by data set and seed
    where: str = "abstract and summary"  # from what the statement is known

    @property
    def chapter(self) -> str:
        """The notebook whose tables decide the claim."""
        return self.tables[0].partition("-")[0]


def _select(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Rows with these values in these columns."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _at(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Rows at the ε nearest to a share of each data set's largest."""
    off = (table["eps"] - share * table.groupby("dataset")["eps"].transform("max")).abs()
    return table[off == off.groupby(table["dataset"]).transform("min")]


def _tidy(by_run: pd.Series) -> Values:
    return by_run.rename("value").reset_index()


def _negative(found: pd.DataFrame) -> Values:
    bounds = {"mean": -found["rho"], "low": -found["high"], "high": -found["low"]}
    return found[["dataset", "seeds"]].assign(**bounds)


def _active_only(table: pd.DataFrame, score: str, active: pd.Series) -> pd.DataFrame:
    """The table with the score NaN where no latent dimension is active."""
    return table.assign(**{score: table[score].where(active > 0)})


def _damage(tables: Tables, control: bool = False) -> Values:
    scale = "spread" if control else "raw"
    table = _select(tables["02_untargeted_attack"], scale=scale, metric="ssim")
    wide = _at(table, 0.5).pivot(index=_RUN, columns="kind", values="damage")
    return _tidy(wide["attack"] / wide["noise"] if control else wide["attack"])


def _shift(column: str, tables: Tables, control: bool = False) -> Values:
    table = _at(tables["02_untargeted_attack-shift"], 1)
    wide = table.pivot(index=_RUN, columns="kind", values=column)
    return _tidy(wide["attack"] - wide["noise"] if control else wide["attack"])


def _covered(tables: Tables, control: bool = False) -> Values:
    attacked = _select(tables["03_targeted_attack"], metric="mse")
    left = _at(attacked, 1).set_index(_RUN)["relative"]
    if control:
        straight = _at(tables["03_targeted_attack-straight"], 1)
        return _tidy(straight.set_index(_RUN)["relative"] - left)
    return _tidy(1 - left)


def _deterministic(tables: Tables, control: bool = False) -> Values:
    table, scale = tables["04_dae_comparison-aaddc"], "spread" if control else "raw"
    attacked = _select(table, scale=scale, norm="l2", metric="ssim", kind="attack")
    wide = attacked.pivot(index=_RUN, columns="family", values="aaddc")
    return _tidy(wide[DETERMINISTIC].mean(axis=1) - wide["vae"])


def _beta(tables: Tables, control: bool = False) -> Values:
    swept = _select(tables["05_beta_tradeoff"], family="tcvae")
    score = "aaddc_spread" if control else "aaddc_raw"
    return _negative(correlation_over_seeds(swept, "beta", score, by=["dataset"]))


def _defended(tables: Tables, control: bool = False) -> Values:
    table, score = tables["06_adversarial_training"], "aaddc_spread" if control else "aaddc_raw"
    plain, trained = (_select(table, family=family) for family in ("vae", "vae_adv"))
    median = trained.groupby("dataset")["adv_eps"].transform("median")
    middle = trained[trained["adv_eps"] == median]
    if control:
        by_form = middle.groupby(["dataset", "adv_form"])["active"]
        middle = _active_only(middle, score, by_form.transform("min"))
        plain = _active_only(plain, score, plain["active"])
    return _tidy(middle.groupby(_RUN)[score].mean() - plain.set_index(_RUN)[score])


def _homogeneous(tables: Tables, control: bool = False) -> Values:
    table, score, samples = tables["06_adversarial_training"], "aaddc_raw", "diversity_prior"
    if control:
        score, samples = "aaddc_spread", "diversity_fitted"
        table = _active_only(table, score, table["active"])
    measure = f"{samples}_mse" if table[f"{samples}_lpips"].isna().any() else f"{samples}_lpips"
    return _negative(correlation_over_kinds(table, score, measure, by=["dataset"]))


_PER_SPREAD = "the same over ε in units of each code's own spread"
_CLAIMS = (
    Claim(
        "vulnerable", "VAEs are vulnerable in the latent space", ("02_untargeted_attack",),
        "A small δ found by PGD damages a VAE's reconstruction sharply.",
        statistic="1 − SSIM between clean and attacked decoding at half of the paper's largest ε",
        control="at half of the largest ε in units of the code's spread, damage divided by that of "
        "noise of the same length",
        threshold=0.2, control_threshold=2.0, effect=_damage,
    ),
    Claim(
        "steered", "Targeted attacks steer the reconstruction",
        ("03_targeted_attack", "03_targeted_attack-straight"),
        "Targeted attacks steer the reconstruction towards a chosen image.",
        statistic="share of the way to the target's own reconstruction that is covered at the "
        "largest ε, in squared error, median over pairs",
        control="that share minus the one that a straight step of the same length towards the "
        "target's own code covers",
        threshold=0.5, control_threshold=0.0, effect=_covered,
    ),
    Claim(
        "deterministic", "Deterministic autoencoders are more robust than VAEs",
        ("04_dae_comparison-aaddc",),
        "Deterministic autoencoders regularized by KL, MMD or SWT are more robust.",
        statistic="AADDC of 1 − SSIM under L2 attack over raw ε, mean of DAE-KL, DAE-MMD and "
        "DAE-SWT minus VAE, paired over seeds",
        control=_PER_SPREAD, threshold=0.0, control_threshold=0.0, effect=_deterministic,
    ),
    Claim(
        "disentangled", "A higher β means less robustness", ("05_beta_tradeoff",),
        "The higher β in β-TCVAE, the less robust is its latent space.",
        statistic="minus Spearman's ρ of β and AADDC over raw ε, over the β-TCVAEs of a seed",
        control=_PER_SPREAD, threshold=0.0, control_threshold=0.0, effect=_beta,
    ),
    Claim(
        "defended", "Latent adversarial training helps", ("06_adversarial_training",),
        "Adversarial training in the latent space improves a VAE's robustness.",
        statistic="AADDC over raw ε of the adversarially trained VAEs, mean of both forms at the "
        "middle training ε, minus the VAE's, paired over seeds",
        control=_PER_SPREAD + ", without a form of which a model has no active dimension left "
        "(posterior collapse)",
        threshold=0.0, control_threshold=0.0, effect=_defended,
    ),
    Claim(
        "apart", "Adversarial codes differ from clean ones", ("02_untargeted_attack-shift",),
        "Adversarial codes differ from clean ones in t-SNE.",
        statistic="share of held-out codes that a classifier names correctly as clean or "
        "adversarial at the largest ε; ½ if it guesses",
        control="that share minus the one under noise of the same length",
        threshold=0.6, control_threshold=0.05, effect=partial(_shift, "told_apart"),
    ),
    Claim(
        "concentrated", "Attacks concentrate on few latent dimensions",
        ("02_untargeted_attack-shift",),
        "Adversarial changes concentrate on specific latent dimensions.",
        statistic="part of ‖δ‖² that a quarter of the active dimensions carries at the largest ε, "
        "over all codes together; an even δ has little more than ¼",
        control="that part minus the one of noise of the same length",
        threshold=0.5, control_threshold=0.1, effect=partial(_shift, "top_share"),
    ),
    Claim(
        "homogeneous", "Robust models generate more homogeneous samples",
        ("06_adversarial_training",),
        "Latent-robust models generate more homogeneous samples (a hint).",
        statistic="minus Spearman's ρ of AADDC over raw ε and the mean LPIPS, or squared error "
        "where that is not available, between pairs of samples from the prior; over all families "
        "and adversarial ones, each the mean of its seeds, with an interval over kinds of model",
        control="the same with ε in units of the spread, samples from a Gaussian fitted to each "
        "model's own codes, and without models that have no active dimension",
        threshold=0.0, control_threshold=0.0, effect=_homogeneous,
    ),
)  # fmt: skip
CLAIMS: Registry[Claim] = Registry("claim", {claim.name: claim for claim in _CLAIMS})
