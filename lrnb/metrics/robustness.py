"""Scores that summarize a damage curve over ε."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lrnb._validation import check_numbers, check_tensor


def aaddc(eps: Tensor, damage: Tensor) -> Any:
    """Area above the damage curve, in [0, 1]; LARGER means MORE robust.

    1 − (1/ε_max) ∫₀^ε_max m(ε) dε with the damage m clipped to [0, 1], by the trapezoid rule with
    m(0) = 0; ε [E] increases from ≥ 0. Damage [E] gives a float; [E, N], a curve a sample, gives
    [N]. The formula of Lu & Chen (2023) is not available; this definition is ours.

    >>> aaddc(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 1.0]))
    0.5
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
    (1, the smallest distance) appended, and integrated by the trapezoid rule. Distortion [P] is
    ‖δ‖₂ over the distance from source to target, distance [P] the `relative_distance`.

    >>> auddc(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0]))
    0.25
    """
    x, y = _check_curve("distortion", distortion, "distance", distance)
    check_tensor("distance", y, ndim=1)
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

    Of the attacked decodings [..., N], the source's [N] and the target's own [N]: 1 where the
    attack changed nothing, 0 where it reached the target's own. NaN, as a ratio of small
    differences, where the target's own is not at least a tenth nearer than the source's.
    """
    span = source - target
    return torch.where(span > 0.1 * source, (adversarial - target) / span, torch.nan)


def _check_curve(name_x: str, x: Tensor, name_y: str, y: Tensor) -> tuple[Tensor, Tensor]:
    """Check x [P] and y [P] or [P, N]; return both in double precision."""
    x, y = check_numbers(name_x, x), check_numbers(name_y, y)
    check_tensor(name_x, x, ndim=1)
    check_tensor(name_y, y)
    if len(x) != len(y):
        raise ValueError(f"{name_y} must have {len(x)} values, as {name_x}, got {len(y)}")
    return x, y
