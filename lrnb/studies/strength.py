"""Proof of strength: how close the attack comes to the worst perturbation.

Every damage in the book is a lower bound of the worst. Each check compares what the attack reached
with something that it should reach or could not exceed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lrnb._work import Work
from lrnb.attacks import (
    STEP_RULES,
    Attack,
    attack,
    largest_singular,
    minimum_norm,
    noise,
    squared_distance,
)
from lrnb.attacks.problem import Decode
from lrnb.data import DATASETS
from lrnb.metrics.images import METRICS
from lrnb.models import Profile, Recipe, eps_grid
from lrnb.models import recipes as recipes_of
from lrnb.models.zoo import model_work
from lrnb.studies.tables import Rows, Table, attacked_codes, identity, training_statistics

CHAPTER = "08_attack_strength"
# mean squared error per pixel that the minimal-norm attack has to reach
GOAL = 0.005
_FIRST_ORDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # shares of the largest ε


def works(datasets: Sequence[str], seeds: Sequence[int], profile: Profile) -> list[Work]:
    """What the chapter rests on."""
    strength = STRENGTH.works(recipes_of(datasets, ["vae"], seeds), profile)
    return [*strength, *MINIMUM.works(recipes_of(datasets, ["vae", "ae"], seeds), profile)]


@torch.no_grad()
def exhaustive(
    decode: Decode, codes: Tensor, *, eps: Iterable[float], radii: int = 16, angles: int = 120
) -> Tensor:
    """Largest ‖D(z + δ) − D(z)‖² over a polar grid of each disc, for codes of two dimensions.

    Args:
        decode: map from codes [B, 2] to outputs [B, …].
        codes: [N, 2].
        eps: E radii of the discs.
        radii, angles: of the grid; the outermost circle is the disc's border.

    Returns:
        [E, N].

    >>> exhaustive(lambda z: 2 * z, torch.zeros(1, 2), eps=[1.0, 2.0]).flatten().round().tolist()
    [4.0, 16.0]
    """
    if codes.ndim != 2 or codes.shape[1] != 2:
        raise ValueError(f"codes must have shape ('N', 2), got {tuple(codes.shape)}")
    turn = 2 * torch.pi * torch.arange(angles, device=codes.device) / angles
    unit = torch.stack([turn.cos(), turn.sin()], 1)
    share = torch.arange(1, radii + 1, device=codes.device) / radii
    disc = (share[:, None, None] * unit).flatten(0, 1)  # [radii · angles, 2]
    worst = [
        [squared_distance(decode(z + e * disc), decode(z[None])).max() for z in codes] for e in eps
    ]
    return torch.tensor(worst).to(codes.device)


def table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How strong the attack of a profile is on each model, check by check (L2, untargeted).

    The codes are a sixth of those that the profile attacks, at least 8; the ε are every second of
    its grid. Checks, and what the attack is compared with:

    - "noise": its loss; the mean loss of ten random perturbations of the same length.
    - "first order": √loss; ε·σ_max(J), which it must reach as ε → 0.
    - "steps", "restarts": its loss with fewer and more of them; the loss with the most.
    - "rule": its loss by each step rule; the best of the rules' mean losses.
    - "ssim": 1 − SSIM when that is attacked itself; that reached by attacking squared distance.
    - "exhaustive": its loss on a model of the same recipe but two latent dimensions; the largest
      loss on a fine grid of the disc.

    Columns: those of the model, check, setting (the number of steps or restarts, or the rule), eps
    (NaN where averaged over ε), reached, reference (means over codes), ratio (mean over codes of
    reached / reference), worst (its minimum; both of the means where averaged over ε), decodes
    (per code and ε), samples.
    """
    return STRENGTH.rows(recipes, profile)


def minimum_norm_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """The shortest perturbation that does a mean squared error of `GOAL` per pixel, code by code.

    Columns: those of the model, sample, length (‖δ‖₂; infinite where none of ten times the largest
    ε of the grid was enough), spread (of the code), first_order (√goal/σ_max(J), what it would be
    if the decoder were linear).
    """
    return MINIMUM.rows(recipes, profile)


def _minimum_rows(recipe: Recipe, profile: Profile) -> Rows:
    decode, codes = _some_codes(recipe, profile)
    with torch.no_grad():
        goal = GOAL * decode(codes[:1]).numel()
    found = minimum_norm(
        decode,
        codes,
        goal=goal,
        largest=10 * DATASETS[recipe.dataset].eps_max,
        steps=2 * profile.steps,
        restarts=profile.restarts,
    )
    linear = goal**0.5 / largest_singular(decode, codes)[0]
    spread = training_statistics(recipe, profile).spread
    return [
        identity(recipe) | {"sample": n, "length": length, "spread": spread, "first_order": first}
        for n, (length, first) in enumerate(
            zip(found.length.tolist(), linear.tolist(), strict=True)
        )
    ]


def _rows(recipe: Recipe, profile: Profile) -> Rows:
    decode, codes = _some_codes(recipe, profile)
    grid, largest = eps_grid(recipe.dataset, profile)[1::2], DATASETS[recipe.dataset].eps_max
    effort = {"steps": profile.steps, "restarts": profile.restarts}
    strongest: Callable[..., Attack] = partial(attack, **effort)  # type: ignore[arg-type]
    solve = partial(strongest, decode, codes)
    hit, rows = solve(eps=grid), []

    unit = noise((10, *codes.shape), torch.ones(10).to(codes), norm="l2", seed=1)
    for loss, eps in zip(hit.loss, hit.eps.tolist(), strict=True):
        with torch.no_grad():
            losses = [squared_distance(decode(codes + eps * u), hit.clean) for u in unit]
        rows.append(_row("noise", hit, loss, torch.stack(losses).mean(0), eps=eps))

    small = solve(eps=[largest * share for share in _FIRST_ORDER])
    sigma, _ = largest_singular(decode, codes, iterations=100)
    for loss, share in zip(small.loss, _FIRST_ORDER, strict=True):
        eps = largest * share
        rows.append(_row("first order", small, loss.sqrt(), eps * sigma, eps=eps))

    for check, most in effort.items():
        counts = sorted({max(1, most // 4), max(1, most // 2), most, 2 * most})
        hits = {c: hit if c == most else solve(eps=hit.eps, **{check: c}) for c in counts}
        rows += _averages(check, hits, hits[2 * most].loss.mean())

    others = [rule for rule in STEP_RULES if rule != hit.method]
    rules = {hit.method: hit} | {rule: solve(eps=hit.eps, method=rule) for rule in others}
    rows += _averages("rule", rules, torch.stack([h.loss.mean() for h in rules.values()]).max())

    dissimilarity, eps = METRICS["ssim"].distance, float(hit.eps[-1])
    direct = solve(eps=eps, objective=dissimilarity)
    by_way = dissimilarity(hit.images[-1], hit.clean)
    rows.append(_row("ssim", direct, direct.loss[0], by_way, eps=eps))

    flat, points = _some_codes(replace(recipe, latent=2), profile)
    hit, worst = strongest(flat, points, eps=grid), exhaustive(flat, points, eps=grid)
    for loss, most, eps in zip(hit.loss, worst, grid, strict=True):
        rows.append(_row("exhaustive", hit, loss, most, eps=eps))
    return [identity(recipe) | row for row in rows]


def _averages(check: str, hits: dict[Any, Attack], reference: Tensor) -> Rows:
    """One row a setting, averaged over ε and codes."""
    return [_row(check, h, h.loss.mean(), reference, setting=s) for s, h in hits.items()]


def _row(
    check: str,
    hit: Attack,
    reached: Tensor,
    reference: Tensor,
    *,
    setting: object = "",
    eps: float = math.nan,
) -> dict[str, Any]:
    ratio = reached / reference
    row = {"check": check, "setting": str(setting), "eps": eps}
    row |= {"reached": float(reached.mean()), "reference": float(reference.mean())}
    row |= {"ratio": float(ratio.mean()), "worst": float(ratio.min())}
    return row | {"decodes": hit.decodes / hit.loss.numel(), "samples": hit.loss.shape[1]}


def _some_codes(recipe: Recipe, profile: Profile) -> tuple[Decode, Tensor]:
    model, codes = attacked_codes(recipe, profile)
    return model.decode, codes[: max(8, profile.n_attack // 6)]


def _needs(recipe: Recipe, profile: Profile) -> Iterable[Work]:
    return model_work(recipe, profile), model_work(replace(recipe, latent=2), profile)


STRENGTH = Table("strength", _rows, needs=_needs, packages=["torchmetrics"])
MINIMUM = Table("minimal norm", _minimum_rows)
