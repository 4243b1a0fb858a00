"""The balls that bound a perturbation, L2 and L∞: length, projection, steepest step, random points.

All take perturbations [B, …]; the norm is over all entries of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NORMS = ("l2", "linf")
_TINY = torch.finfo(torch.float32).tiny


def length(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation, [B, …] → [B]."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def project(delta: Tensor, eps: Tensor, *, norm: str) -> Tensor:
    """The nearest point of the ball: δ [B, …] into radius ε [B].

    >>> project(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0]), norm="l2")
    tensor([[0.6000, 0.8000]])
    """
    eps = over(eps, delta)
    if norm == "linf":
        return torch.maximum(torch.minimum(delta, eps), -eps)
    return delta * (eps / over(length(delta, norm), delta).clamp_min(_TINY)).clamp_max(1)


def steepest(gradient: Tensor, *, norm: str) -> Tensor:
    """The unit step of the ball's norm along which a gradient [B, …] rises most; 0 where it is 0."""
    if norm == "linf":
        return gradient.sign()
    # scaled by its largest entry first, so that the squares of a tiny gradient do not underflow
    scaled = gradient / over(length(gradient, "linf"), gradient).clamp_min(_TINY)
    return scaled / over(length(scaled, "l2"), gradient).clamp_min(_TINY)


def random_in_ball(shape: Sequence[int], *, norm: str, seed: int) -> Tensor:
    """Points uniform in the unit ball, [R, N, …]: one ball for each of the first two axes."""
    generator = torch.Generator().manual_seed(seed)
    if norm == "linf":
        return torch.rand(tuple(shape), generator=generator) * 2 - 1
    towards = random_on_sphere(shape, norm=norm, generator=generator)
    size = towards[0, 0].numel()
    radius = torch.rand(tuple(shape[:2]), generator=generator) ** (1 / size)
    return towards * over(radius, towards)


def random_on_sphere(shape: Sequence[int], *, norm: str, generator: torch.Generator) -> Tensor:
    """Points of norm 1, [R, N, …], uniform in direction (L2) or on the cube's faces (L∞)."""
    if norm == "linf":
        cube = torch.rand(tuple(shape), generator=generator) * 2 - 1
        return cube / over(cube.flatten(2).abs().amax(2), cube)
    normal = torch.randn(tuple(shape), generator=generator)
    return normal / over(normal.flatten(2).norm(dim=2), normal)


def over(values: Tensor, like: Tensor) -> Tensor:
    """Per-sample values, shaped so that they broadcast over the remaining axes of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
