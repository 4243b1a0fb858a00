"""The decoder's Jacobian at a code: how far the smallest perturbations can move its output."""

from collections.abc import Callable

import torch
from torch import Tensor

from lrnb._validation import check_callable, check_integer, check_tensor
from lrnb.attacks.balls import L2Ball, expand_like
from lrnb.attacks.problem import Decode

_L2 = L2Ball()


def largest_singular(
    decode: Decode, codes: Tensor, *, iterations: int = 30, seed: int = 0, batch: int = 256
) -> tuple[Tensor, Tensor]:
    """Largest singular value σ_max [N] of J = ∂D/∂z at each code, and its unit direction [N, …].

    A small ε along it moves the output by ε·σ_max, the most that any perturbation of that length
    can. σ_max rises to its value with the ``iterations`` of the power method on JᵀJ, each about as
    costly as a decoder evaluation with its gradient.

    >>> sigma, _ = largest_singular(lambda z: z * torch.tensor([3.0, 1.0]), torch.zeros(1, 2))
    >>> round(sigma.item(), 4)
    3.0
    """
    check_integer("iterations", iterations, 1)
    check_integer("batch", batch, 1)
    check_integer("seed", seed, 0)
    check_callable("decode", decode)
    codes = check_tensor("codes", codes, min_ndim=2).detach()
    start = torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed)).to(codes)
    pairs = zip(codes.split(batch), start.split(batch), strict=True)
    sigmas, directions = zip(*(_iterate(decode, *pair, iterations) for pair in pairs), strict=True)
    return torch.cat(sigmas), torch.cat(directions)


@torch.enable_grad()
def _iterate(
    decode: Decode, codes: Tensor, start: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    codes, outputs, push = _linearized(decode, codes)
    direction = _L2.steepest(start)
    for _ in range(iterations):
        moved = push(direction)
        (pulled,) = torch.autograd.grad((outputs * moved).sum(), codes, retain_graph=True)
        sigma = moved.flatten(1).norm(dim=1)
        # (where J is 0 any direction will do)
        direction = torch.where(expand_like(sigma > 0, codes), _L2.steepest(pulled), direction)
    return sigma, direction


def singular_values(decode: Decode, codes: Tensor, *, batch: int = 32) -> Tensor:
    """All singular values of J = ∂D/∂z at each code [N, d], descending, [N, d].

    The roots of the eigenvalues of JᵀJ, from d products J·e. In single precision, values below a
    thousandth of the first are not resolved. ``batch``: codes whose Jacobians are held at once.

    >>> singular_values(lambda z: z * torch.tensor([1.0, 3.0]), torch.zeros(1, 2))
    tensor([[3., 1.]])
    """
    check_integer("batch", batch, 1)
    codes, found = check_tensor("codes", codes, ndim=2).detach(), []
    for chunk in codes.split(batch):
        push = _linearized(decode, chunk)[2]
        columns = [push(e.expand_as(chunk)).flatten(1) for e in torch.eye(codes.shape[1]).to(codes)]
        transposed = torch.stack(columns, 1)  # [N, d, pixels]
        squares = torch.linalg.eigvalsh((transposed @ transposed.mT).double())
        found.append(squares.flip(1).clamp_min(0).sqrt().to(codes.dtype))
    return torch.cat(found)


@torch.enable_grad()
def _linearized(decode: Decode, codes: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """The codes, tracked; their outputs; and the JVP there, v [N, …] → J·v [N, …]."""
    codes = codes.detach().requires_grad_()
    outputs = check_tensor("the decoder's output", decode(codes))
    # Jᵀu is linear in u, so its own VJP is the JVP. (Forward mode would compute the same, but
    # torch takes seconds to set that up, as it does where grad_outputs are given.)
    u = torch.zeros_like(outputs, requires_grad=True)

    @torch.enable_grad()
    def product(v: Tensor) -> Tensor:
        return torch.autograd.grad((pulled * v).sum(), u, retain_graph=True)[0]

    @torch.no_grad()
    def difference(v: Tensor) -> Tensor:
        h = 1e-3 * (1 + codes.flatten(1).norm(dim=1))
        step = expand_like(h, v) * v
        moved = decode(codes + step) - decode(codes - step)
        return moved / expand_like(2 * h, moved)

    try:
        (pulled,) = torch.autograd.grad((outputs * u).sum(), codes, create_graph=True)
        torch.autograd.grad(pulled.sum(), u, retain_graph=True)
    except RuntimeError:  # the decoder can be differentiated only once
        return codes, outputs, difference
    return codes, outputs, product
