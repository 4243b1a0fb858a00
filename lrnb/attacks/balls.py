"""The balls that bound a perturbation, one class a norm, and noise of a given length.

All take perturbations [B, …]; the norm is over all entries of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lrnb._validation import Registry

_TINY = torch.finfo(torch.float32).tiny


class Ball(Protocol):
    """What an attack needs to know of a norm."""

    name: str
    label: str

    def length(self, delta: Tensor) -> Tensor:
        """The norm of each perturbation, [B, …] → [B]."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The nearest point of the ball: δ [B, …] into radius ε [B]."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """The step of norm 1 along which a gradient [B, …] rises most; 0 where it is 0."""

    def random_in_ball(self, shape: Sequence[int], *, seed: int) -> Tensor:
        """Points uniform in the unit ball, [R, N, …]: one ball for each of the first two axes."""

    def random_on_sphere(self, shape: Sequence[int], *, seed: int) -> Tensor:
        """Points of norm 1, [R, N, …], uniform on the surface of the unit ball."""


class L2Ball:
    """‖δ‖₂ ≤ ε.

    >>> L2Ball().project(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0]))
    tensor([[0.6000, 0.8000]])
    """

    name, label = "l2", "L2"

    def length(self, delta: Tensor) -> Tensor:
        length: Tensor = delta.flatten(1).norm(dim=1)
        return length

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        eps, length = expand_like(eps, delta), expand_like(self.length(delta), delta)
        return delta * (eps / length.clamp_min(_TINY)).clamp_max(1)

    def steepest(self, gradient: Tensor) -> Tensor:
        # scaled by its largest entry first, so that the squares of a tiny gradient do not underflow
        largest = expand_like(gradient.flatten(1).abs().amax(1), gradient)
        scaled = gradient / largest.clamp_min(_TINY)
        return scaled / expand_like(self.length(scaled), gradient).clamp_min(_TINY)

    def random_in_ball(self, shape: Sequence[int], *, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        direction = _direction(shape, generator)
        size = direction[0, 0].numel()
        radius = torch.rand(tuple(shape[:2]), generator=generator) ** (1 / size)
        return direction * expand_like(radius, direction)

    def random_on_sphere(self, shape: Sequence[int], *, seed: int) -> Tensor:
        return _direction(shape, torch.Generator().manual_seed(seed))


class LinfBall:
    """max_j |δ_j| ≤ ε."""

    name, label = "linf", "L∞"

    def length(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        eps = expand_like(eps, delta)
        return torch.maximum(torch.minimum(delta, eps), -eps)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def random_in_ball(self, shape: Sequence[int], *, seed: int) -> Tensor:
        return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed)) * 2 - 1

    def random_on_sphere(self, shape: Sequence[int], *, seed: int) -> Tensor:
        cube = self.random_in_ball(shape, seed=seed)
        return cube / expand_like(cube.flatten(2).abs().amax(2), cube)


BALLS: Registry[Ball] = Registry("norm", {"l2": L2Ball(), "linf": LinfBall()})


def noise(shape: Sequence[int], radius: Tensor, *, norm: str, seed: int) -> Tensor:
    """Random perturbations of a given norm: what an attack has to be compared with.

    The draw depends on shape and seed alone, so models that are attacked on equally many codes get
    the same directions.

    Args:
        shape: [K, N, …].
        radius: [K] or [K, N], the norms.

    >>> noise((2, 3, 5), torch.tensor([0.5, 1.0]), norm="l2", seed=0).norm(dim=2)[:, 0]
    tensor([0.5000, 1.0000])
    """
    unit = BALLS[norm].random_on_sphere(shape, seed=seed).to(radius)
    return unit * expand_like(radius, unit)


def expand_like(values: Tensor, like: Tensor) -> Tensor:
    """Values, shaped so that they broadcast over the remaining axes of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))


def _direction(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    normal = torch.randn(tuple(shape), generator=generator)
    return normal / expand_like(normal.flatten(2).norm(dim=2), normal)
