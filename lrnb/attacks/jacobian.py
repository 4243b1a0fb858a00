"""The decoder's Jacobian at a code: how far the smallest perturbations can move its output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lrnb._validation import check_integer, check_tensor
from lrnb.attacks.balls import L2Ball, expand_like
from lrnb.attacks.problem import Decode

_L2 = L2Ball()


def largest_singular(
    decode: Decode, codes: Tensor, *, iterations: int = 30, seed: int = 0, batch: int = 256
) -> tuple[Tensor, Tensor]:
    """Largest singular value σ_max of J = ∂D/∂z at each code, and its direction in code space.

    Power iteration on JᵀJ. Perturbing along the direction by a small ε moves the output by ε·σ_max,
    farther than any other perturbation of that length. Where the decoder can be differentiated only
    once, a central difference replaces the JVP.

    Args:
        decode, codes: as of `lrnb.attack`; batch: codes decoded at once.
        iterations: ≥ 1; each costs about as much as one decoder evaluation with its gradient.
        seed: of the random directions to begin with.

    Returns:
        σ_max [N], a lower bound that rises with the iterations, and the unit direction [N, …].

    >>> stretch = lambda z: z * torch.tensor([3.0, 1.0])
    >>> sigma, direction = largest_singular(stretch, torch.zeros(1, 2))
    >>> round(sigma.item(), 4), [round(abs(x), 4) for x in direction[0].tolist()]
    (3.0, [1.0, 0.0])
    """
    check_integer("iterations", iterations, 1)
    codes = check_tensor("codes", codes, min_ndim=2).detach()
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(codes.shape, generator=generator).to(codes)
    found = [
        _power_iteration(decode, z, _L2.steepest(v), iterations)
        for z, v in zip(codes.split(batch), start.split(batch), strict=True)
    ]
    return torch.cat([sigma for sigma, _ in found]), torch.cat([v for _, v in found])


def singular_values(decode: Decode, codes: Tensor, *, batch: int = 32) -> Tensor:
    """All singular values of J = ∂D/∂z at each code [N, d], descending, [N, d].

    The roots of the eigenvalues of JᵀJ, from d products J·e. In single precision, values below a
    thousandth of the first are not resolved. ``batch``: codes whose Jacobians are held at once.

    >>> stretch = lambda z: z * torch.tensor([1.0, 3.0])
    >>> singular_values(stretch, torch.zeros(1, 2))
    tensor([[3., 1.]])
    """
    check_integer("batch", batch, 1)
    codes = check_tensor("codes", codes, ndim=2).detach()
    return torch.cat([_all_values(decode, chunk) for chunk in codes.split(batch)])


def _power_iteration(
    decode: Decode, codes: Tensor, direction: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        codes = codes.detach().requires_grad_()
        outputs = decode(codes)
        push = _pushforward(decode, codes, outputs)
        for _ in range(iterations):
            moved = push(direction)
            (pulled,) = torch.autograd.grad((outputs * moved).sum(), codes, retain_graph=True)
            sigma = moved.flatten(1).norm(dim=1)
            # (where J is 0 any direction will do)
            direction = torch.where(expand_like(sigma > 0, codes), _L2.steepest(pulled), direction)
    return sigma, direction


def _all_values(decode: Decode, codes: Tensor) -> Tensor:
    with torch.enable_grad():
        codes = codes.detach().requires_grad_()
        push = _pushforward(decode, codes, decode(codes))
        basis = torch.eye(codes.shape[1]).to(codes)
        columns = [push(e.expand_as(codes)).flatten(1) for e in basis]
    transposed = torch.stack(columns, 1)  # [N, d, pixels]
    squares = torch.linalg.eigvalsh((transposed @ transposed.mT).double())
    descending: Tensor = squares.flip(1).clamp_min(0).sqrt()
    return descending.to(codes.dtype)


def _pushforward(decode: Decode, codes: Tensor, outputs: Tensor) -> Callable[[Tensor], Tensor]:
    """The JVP at the codes, v [N, …] → J·v [N, …]."""
    # Jᵀu is linear in u, so its own VJP is the JVP. (Forward mode would compute the same, but
    # torch takes seconds to set that up, as it does where grad_outputs are given.)
    u = torch.zeros_like(outputs, requires_grad=True)
    try:
        (pulled,) = torch.autograd.grad((outputs * u).sum(), codes, create_graph=True)
        torch.autograd.grad(pulled.sum(), u, retain_graph=True)
    except RuntimeError:  # the decoder's gradient has none of its own

        @torch.no_grad()
        def difference(v: Tensor) -> Tensor:
            h = 1e-3 * (1 + codes.detach().flatten(1).norm(dim=1))
            step = expand_like(h, v) * v
            moved = decode(codes + step) - decode(codes - step)
            return moved / expand_like(2 * h, moved)

        return difference

    def product(v: Tensor) -> Tensor:
        (moved,) = torch.autograd.grad((pulled * v).sum(), u, retain_graph=True)
        return moved

    return product
