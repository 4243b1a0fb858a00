"""The balls that bound a perturbation, one class a norm, and noise of a given length."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lrnb._validation import Registry

_TINY = torch.finfo(torch.float32).tiny


class Ball(Protocol):
    """What an attack needs to know of a norm, over all entries of each sample of δ [B, …].

    `project` gives the nearest point of the ball of radius ε [B]; `steepest`, the step of norm 1
    along which a gradient rises most, or 0; random points [R, N, …] are uniform in R·N unit balls.
    """

    name: str
    label: str

    def length(self, delta: Tensor) -> Tensor: ...
    def project(self, delta: Tensor, eps: Tensor) -> Tensor: ...
    def steepest(self, gradient: Tensor) -> Tensor: ...
    def random_in_ball(self, shape: Sequence[int], *, seed: int) -> Tensor: ...
    def random_on_sphere(self, shape: Sequence[int], *, seed: int) -> Tensor: ...


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
        normal = torch.randn(tuple(shape), generator=generator)
        length = normal.flatten(2).norm(dim=2)
        radius = torch.rand(length.shape, generator=generator) ** (1 / normal[0, 0].numel())
        return normal / expand_like(length, normal) * expand_like(radius, normal)

    def random_on_sphere(self, shape: Sequence[int], *, seed: int) -> Tensor:
        normal = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
        return normal / expand_like(normal.flatten(2).norm(dim=2), normal)


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
    """Random perturbations [K, N, …] of norm ``radius``, [K] or [K, N], from shape and seed alone.

    >>> noise((2, 3, 5), torch.tensor([0.5, 1.0]), norm="l2", seed=0).norm(dim=2)[:, 0]
    tensor([0.5000, 1.0000])
    """
    unit = BALLS[norm].random_on_sphere(shape, seed=seed).to(radius)
    return unit * expand_like(radius, unit)


def expand_like(values: Tensor, like: Tensor) -> Tensor:
    """Values, shaped so that they broadcast over the remaining axes of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
