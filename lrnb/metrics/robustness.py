"""Scores that summarize a damage curve over ε."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lrnb._validation import check_tensor


def aaddc(eps: Tensor, damage: Tensor) -> Any:
    """Area above the damage curve, in [0, 1]; LARGER means MORE robust.

    1 − (1/ε_max) ∫₀^ε_max m(ε) dε with the damage m clipped to [0, 1], by the trapezoid rule with
    m(0) = 0. The formula of Lu & Chen (2023) is not available; this definition is ours.

    Args:
        eps: [E], increasing, > 0 (an ε of 0 may lead).
        damage: [E], for instance 1 − SSIM or LPIPS averaged over samples; or [E, N], one curve a
            sample.

    Returns:
        A float; or [N] in double precision, whose mean is the score of the mean curve as long as
        no damage exceeds 1.

    >>> aaddc(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 1.0]))
    0.5
    >>> aaddc(torch.tensor([0.5, 1.0]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    x, y = _check_curve("eps", eps, "damage", damage)
    if bool((x < 0).any()) or bool((x.diff() <= 0).any()) or float(x[-1]) <= 0:
        raise ValueError(f"eps must be increasing numbers ≥ 0, got {x.tolist()}")
    if x[0] > 0:
        x, y = functional.pad(x, (1, 0)), functional.pad(y, (0, 0) * (y.ndim - 1) + (1, 0))
    area = 1 - torch.trapezoid(y.clamp(0, 1), x, dim=0) / x[-1]
    return area if y.ndim > 1 else float(area)


def auddc(distortion: Tensor, distance: Tensor) -> float:
    """Area under the distortion–distance curve of targeted attacks; LARGER means MORE robust.

    Gondim-Ribeiro, Tabacof & Valle (2018): points are sorted by distortion, those in [0, 1] kept,
    (1, the smallest distance) appended, and integrated by the trapezoid rule.

    Args:
        distortion: [P], ‖δ‖₂ relative to the distance between source and target.
        distance: [P], of the attacked decoding to the target, 1 for the source's own
            reconstruction and 0 for the target's (see `relative_distance`).

    >>> auddc(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0]))
    0.25
    """
    x, y = _check_curve("distortion", distortion, "distance", distance)
    order = x.argsort()
    x, y = x[order], y[order]
    inside = (x >= 0) & (x <= 1)
    if not bool(inside.any()):
        raise ValueError(f"distortion must have a value in [0, 1], got {x.tolist()}")
    x, y = x[inside], y[inside]
    x, y = torch.cat([x, x.new_ones(1)]), torch.cat([y, y.min()[None]])
    return float(torch.trapezoid(y, x))


def relative_distance(adversarial: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """(d_adv − d_target) / (d_source − d_target), each the distance of a decoding to the target.

    Args:
        adversarial: [..., N], distance of the attacked decodings to the target images.
        source: [N], of the clean decodings of the sources.
        target: [N], of the clean decodings of the targets themselves.

    Returns:
        [..., N]; 1 where the attack changed nothing, 0 where it reached the target's own
        reconstruction. NaN where the target's own reconstruction is not at least a tenth nearer to
        the target than the source's: a ratio of two small differences would be meaningless.
    """
    span = source - target
    return torch.where(span > 0.1 * source, (adversarial - target) / span, torch.nan)


def _check_curve(name_x: str, x: Tensor, name_y: str, y: Tensor) -> tuple[Tensor, Tensor]:
    """Check x [P] and y [P] or [P, N]; return both in double precision."""
    x, y = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)
    check_tensor(name_x, x, ndim=1)
    check_tensor(name_y, y)
    if len(x) != len(y):
        raise ValueError(f"{name_y} must have {len(x)} values, as {name_x}, got {len(y)}")
    return x, y
