"""The claims of the paper as data: for each its effect, one primary specification, a control.

A claim is judged under every combination of choices that its effect allows, the specification
curve. One combination is primary, chosen for a stated reason; the control replaces some of its
choices by those that exclude another explanation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lrnb._validation import Registry
from lrnb.claims import effects
from lrnb.claims.effects import END, HALF, MEAN, NOISE, Effects, Tables
from lrnb.metrics.density import UNITS
from lrnb.metrics.images import DAMAGES

OURS = effects.ATTACKS["ours"]
_SINGULAR = "the first singular direction"
_LOG = "natural; 0.1 is about ten per cent"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is judged."""

    name: str
    title: str
    tables: tuple[str, ...]  # names of those that decide it, the first one that of its chapter
    statement: str  # of the paper
    effect: str  # in words; it is positive where the claim holds
    effects: Callable[[Tables], Effects]  # under every choice
    primary: Mapping[str, str]
    control: Mapping[str, str]  # the choices that differ from the primary ones
    reason: str  # for the primary choices
    least: float  # the smallest effect of interest
    bounds: tuple[float, float] = (-math.inf, math.inf)  # of the effect
    where: str = "abstract and summary"  # from what the statement is known

    @property
    def chapter(self) -> str:
        """The notebook whose tables decide the claim."""
        return self.tables[0].partition("-")[0]


_PAPERS = (
    "L2, raw ε and SSIM are the paper's choices as far as they are known: its ranges of ε fit an L2 "
    "ball, and LPIPS was made for photographs"
)
_CURVE = {"norm": "L2", "attack": OURS, "unit": UNITS["raw"], "damage": DAMAGES["ssim"]}
_AGGREGATE = {"unit": UNITS["aggregate"]}


def _more_robust(family: str, label: str, readings: Mapping[str, str]) -> Claim:
    return Claim(
        family, f"{label} is more robust than the VAE",
        ("04_dae_comparison", "04_dae_comparison-frontier"),
        "Deterministic autoencoders regularized by KL, MMD or SWT are more robust.",
        effect=f"logarithm of the VAE's damage over that of {label}, paired over seeds ({_LOG})",
        effects=effects.more_robust(readings),
        primary={**_CURVE, "ε": MEAN, "beside": effects.VAE}
        | ({"regularizer": next(iter(readings))} if len(readings) > 1 else {}),
        control=_AGGREGATE,
        reason=f"{_PAPERS}; the mean over ε is what AADDC measures. The control's unit is the spread "
        "of the codes that the decoder was trained on",
        least=math.log(1.1),
    )  # fmt: skip


_CLAIMS = (
    Claim(
        "vulnerable", "VAEs are vulnerable in the latent space", ("02_untargeted_attack",),
        "A small δ found by PGD damages a VAE's reconstruction sharply.",
        effect="damage under attack minus damage under noise of the same length",
        effects=effects.vulnerable,
        primary={**_CURVE, "ε": HALF, "beyond": NOISE}, control=_AGGREGATE,
        reason=f"{_PAPERS}; half of the range is neither the weakest nor the strongest attack, and "
        "what noise does as well is no sign of an attack",
        least=0.05, bounds=(-1, 1),
    ),
    Claim(
        "steered", "Targeted attacks steer the reconstruction",
        ("03_targeted_attack", "03_targeted_attack-straight"),
        "Targeted attacks steer the reconstruction towards a chosen image.",
        effect="share of the way to the target's own reconstruction that the attack covers, in "
        "squared error, minus the share covered to images that were not the target, median over pairs",
        effects=effects.steered,
        primary={
            "measure": "squared error", "beyond": "images that were not the target", "ε": END,
        },
        control={"beyond": "the mean training image"},
        reason="a decoding that drifts towards the mean of the data comes nearer to every image; only "
        "what comes nearer to its own target than to others is steered. The end of the range gives "
        "the attack its best chance",
        least=0.1,
    ),
    _more_robust("dae_kl", "DAE-KL", {"KL of the moments": "dae_kl", "½‖z‖²": "rae"}),
    _more_robust("dae_mmd", "DAE-MMD", {"": "dae_mmd"}),
    _more_robust("dae_swt", "DAE-SWT", {"": "dae_swt"}),
    Claim(
        "disentangled", "A higher β means less robustness", ("05_beta_tradeoff",),
        "The higher β in β-TCVAE, the less robust is its latent space.",
        effect="minus Spearman's ρ of β and robustness over the models of a sweep",
        effects=effects.disentangled,
        primary={
            "sweep": "β-TCVAE", "models": "not collapsed", "unit": UNITS["raw"],
            "damage": "1 − SSIM, mean over ε",
        },
        control=_AGGREGATE,
        reason=f"{_PAPERS}; the paper's sweep is of β-TCVAE; a model without an active dimension has "
        "nothing that could be attacked", least=0.3,
        bounds=(-1, 1),
    ),
    Claim(
        "defended", "Latent adversarial training helps", ("06_adversarial_training",),
        "Adversarial training in the latent space improves a VAE's robustness.",
        effect="logarithm of the VAE's damage over that after adversarial training, paired over seeds "
        f"({_LOG})",
        effects=effects.defended,
        primary={
            "form": "added term", "radius in training": "half", "models": "not collapsed",
            "norm": "L2", "unit": UNITS["raw"],
        },
        control=_AGGREGATE,
        reason="the added term keeps the VAE's objective; a model without an active dimension has "
        "nothing that could be attacked; the middle radius is neither of the extremes",
        least=math.log(1.1),
    ),
    Claim(
        "apart", "Adversarial codes differ from clean ones", ("02_untargeted_attack-shift",),
        "Adversarial codes differ from clean ones in t-SNE.",
        effect="share of held-out codes that a classifier names correctly as clean or adversarial, "
        "minus that share for noise of the same length",
        effects=effects.shifted(
            {"linear": "told_apart", "kernel": "told_by_kernel"}, {"chance": "guess"}
        ),
        primary={"detector": "linear", "beyond": NOISE, "ε": END}, control={"beyond": "chance"},
        reason="codes moved by noise differ from clean ones too; the end of the range is where the "
        "paper's pictures are", least=0.05, bounds=(-1, 1),
    ),
    Claim(
        "concentrated", "Attacks concentrate on few latent dimensions",
        ("02_untargeted_attack-shift",),
        "Adversarial changes concentrate on specific latent dimensions.",
        effect="part of ‖δ‖² in the strongest quarter of the active dimensions, minus that part for "
        "noise of the same length",
        effects=effects.shifted(
            {"": "top_share"}, {"chance": "even_share", _SINGULAR: "linear_share"}
        ),
        primary={"beyond": NOISE, "ε": END}, control={"beyond": _SINGULAR},
        reason="of noise, too, some quarter carries most. The control's direction is the worst of a "
        "linear decoder: beyond it, concentration is more than anisotropy", least=0.1, bounds=(-1, 1),
    ),
    Claim(
        "homogeneous", "Robust models generate more homogeneous samples",
        ("06_adversarial_training",),
        "Latent-robust models generate more homogeneous samples (a hint).",
        effect="minus Spearman's ρ of AADDC and the mean distance between pairs of samples, over all "
        "kinds of model, each the mean of its seeds",
        effects=effects.homogeneous,
        primary={
            "models": "not collapsed", "unit": UNITS["raw"], "samples from": "the prior",
            "diversity": "squared error", "clean error": "free",
        },
        control={"clean error": "held fixed"},
        reason="a collapsed model generates one image and is robust for the same reason; squared "
        "error is defined on every data set. The control holds the clean error fixed, since a blur "
        "is both homogeneous and hard to damage", least=0.3, bounds=(-1, 1),
    ),
)  # fmt: skip
CLAIMS: Registry[Claim] = Registry("claim", {claim.name: claim for claim in _CLAIMS})
