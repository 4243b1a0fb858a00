"""The peers' latent attacks: what a user of each library writes to attack a decoder.

All have one signature and one objective, the squared distance ‖D(z + δ) − D(z)‖² of each code,
maximised over ‖δ‖₂ ≤ ε from a random start in the ball, with the best of several restarts. None of
the libraries solves several ε at once, and only one has restarts for this objective, so there are
loops over both, as its user would have to write them.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lrnb.attacks import squared_distance

Decode = Callable[[Tensor], Tensor]
_TINY = 1e-12


@dataclass(frozen=True)
class PeerResult:
    """What a peer found. E is the number of ε, N of codes, d the size of a code.

    Attributes:
        loss: [E, N], squared distance reached.
        delta: [E, N, d], the perturbations.
        decodes: decoder evaluations spent, forward passes counted per code.
    """

    loss: Tensor = field(repr=False)
    delta: Tensor = field(repr=False)
    decodes: int


class Peer(Protocol):
    """A peer's attack.

    Args:
        decode: differentiable map from codes [B, d] to outputs [B, …].
        codes: [N, d].
        eps: radii of the balls, in units of the code.
        restarts, steps: random starts, and gradient steps of each.
        step: length of a step as a multiple of ε; 2.5 / steps is customary.
        seed: of the random starts.
    """

    def __call__(
        self,
        decode: Decode,
        codes: Tensor,
        *,
        eps: Sequence[float],
        restarts: int,
        steps: int,
        step: float,
        seed: int,
    ) -> PeerResult: ...


class Counted(nn.Module):
    """A decoder that counts the codes it is given; the libraries want a module."""

    def __init__(self, decode: Decode) -> None:
        super().__init__()
        self.decode, self.decodes = decode, 0
        self.eval()

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes [B, d] → [B, …]."""
        self.decodes += len(codes)
        return self.decode(codes)


def plain(
    decode: Decode,
    codes: Tensor,
    *,
    eps: Sequence[float],
    restarts: int,
    steps: int,
    step: float,
    seed: int,
) -> PeerResult:
    """Projected gradient ascent as one writes it in PyTorch, keeping the best iterate."""
    decoder, generator = Counted(decode), torch.Generator().manual_seed(seed)
    clean = _clean(decoder, codes)

    def solve(radius: float) -> tuple[Tensor, Tensor]:
        delta = _random_in_ball(codes, radius, generator)
        best, best_loss = delta, torch.full_like(codes[:, 0], -torch.inf)
        for i in range(steps + 1):
            delta = delta.detach().requires_grad_(i < steps)
            loss = squared_distance(decoder(codes + delta), clean)
            better = loss.detach() > best_loss
            best = torch.where(better[:, None], delta.detach(), best)
            best_loss = torch.where(better, loss.detach(), best_loss)
            if i < steps:
                (gradient,) = torch.autograd.grad(loss.sum(), delta)
                moved = delta.detach() + step * radius * nn.functional.normalize(gradient)
                length = moved.norm(dim=1, keepdim=True).clamp_min(_TINY)
                delta = moved * (radius / length).clamp_max(1)
        return best, best_loss

    return _over_eps_and_restarts(solve, decoder, eps, restarts)


def torchattacks_style(
    decode: Decode,
    codes: Tensor,
    *,
    eps: Sequence[float],
    restarts: int,
    steps: int,
    step: float,
    seed: int,
) -> PeerResult:
    """PGD as libraries of attacks on classifiers have it: works on z + δ, returns the last iterate."""
    decoder, generator = Counted(decode), torch.Generator().manual_seed(seed)
    clean = _clean(decoder, codes)

    def solve(radius: float) -> tuple[Tensor, Tensor]:
        direction = torch.randn(codes.shape, generator=generator).to(codes)
        share = torch.rand(len(codes), 1, generator=generator).to(codes)
        attacked = codes + radius * share * nn.functional.normalize(direction)
        for _ in range(steps):
            attacked = attacked.detach().requires_grad_()
            cost = squared_distance(decoder(attacked), clean).sum()
            (gradient,) = torch.autograd.grad(cost, attacked)
            gradient = gradient / (gradient.norm(dim=1, keepdim=True) + _TINY)
            delta = attacked.detach() + step * radius * gradient - codes
            delta = delta.renorm(p=2, dim=0, maxnorm=radius)
            attacked = codes + delta
        return delta, _score(decoder, codes, delta, clean)

    return _over_eps_and_restarts(solve, decoder, eps, restarts)


def rai_toolbox(
    decode: Decode,
    codes: Tensor,
    *,
    eps: Sequence[float],
    restarts: int,
    steps: int,
    step: float,
    seed: int,
) -> PeerResult:
    """rAI-toolbox: `gradient_ascent` under `random_restart`, keeping the best iterate."""
    from rai_toolbox.optim import L2ProjectedOptim
    from rai_toolbox.perturbations import AdditivePerturbation, gradient_ascent, random_restart
    from rai_toolbox.perturbations.init import uniform_like_l2_n_ball_

    decoder, generator = Counted(decode), torch.Generator().manual_seed(seed)
    clean = _clean(decoder, codes)
    solver = random_restart(gradient_ascent, restarts)
    deltas, losses = [], []
    for radius in eps:
        attacked, loss = solver(
            model=decoder,
            data=codes,
            target=clean,
            criterion=squared_distance,
            optimizer=L2ProjectedOptim,
            epsilon=radius,
            lr=step * radius,
            steps=steps,
            use_best=True,
            perturbation_model=functools.partial(
                AdditivePerturbation,
                init_fn=uniform_like_l2_n_ball_,
                epsilon=radius,
                generator=generator,
            ),
        )
        deltas.append(attacked - codes)
        losses.append(loss)
    return PeerResult(torch.stack(losses), torch.stack(deltas), decoder.decodes)


def foolbox(
    decode: Decode,
    codes: Tensor,
    *,
    eps: Sequence[float],
    restarts: int,
    steps: int,
    step: float,
    seed: int,
) -> PeerResult:
    """Foolbox: its L2 PGD with the loss overridden; returns the last iterate."""
    from foolbox import PyTorchModel
    from foolbox.attacks import L2ProjectedGradientDescentAttack
    from foolbox.criteria import Misclassification

    class Ascent(L2ProjectedGradientDescentAttack):  # type: ignore[misc]
        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            return lambda inputs: (model(inputs) - labels).square().sum()

    decoder = Counted(decode)
    model = PyTorchModel(decoder, bounds=(-1e6, 1e6), device=codes.device)
    clean = _clean(decoder, codes)
    attack = Ascent(rel_stepsize=step, steps=steps, random_start=True)

    def solve(radius: float) -> tuple[Tensor, Tensor]:
        # (`run` and not the call itself, which would decode once more to ask for a class)
        attacked = attack.run(model, codes, Misclassification(clean), epsilon=radius)
        return attacked - codes, _score(decoder, codes, attacked - codes, clean)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _over_eps_and_restarts(solve, decoder, eps, restarts)


def art(
    decode: Decode,
    codes: Tensor,
    *,
    eps: Sequence[float],
    restarts: int,
    steps: int,
    step: float,
    seed: int,
) -> PeerResult:
    """Adversarial Robustness Toolbox: its PGD on the decoder; returns the last iterate.

    The decoder goes in as a classifier whose "logits" are the flattened outputs. A regressor would
    suit better, but for it the library has no random start, and at δ = 0 this objective has no
    gradient. Its own restarts compare predicted classes, so each is a call of its own.
    """
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    class Distance(nn.Module):
        def forward(self, outputs: Tensor, clean: Tensor) -> Tensor:
            return squared_distance(outputs, clean).sum()

    decoder = Counted(lambda z: decode(z).flatten(1))
    clean = _clean(decoder, codes)
    estimator = PyTorchClassifier(
        decoder,
        loss=Distance(),
        input_shape=tuple(codes.shape[1:]),
        nb_classes=clean.shape[1],
        clip_values=None,
        device_type="gpu" if codes.is_cuda else "cpu",
    )
    inputs, outputs = codes.cpu().numpy(), clean.cpu().numpy()

    def solve(radius: float) -> tuple[Tensor, Tensor]:
        attack = ProjectedGradientDescent(
            estimator,
            norm=2,
            eps=radius,
            eps_step=step * radius,
            max_iter=steps,
            num_random_init=1,
            batch_size=len(inputs),
            verbose=False,
        )
        delta = torch.from_numpy(attack.generate(inputs, outputs)).to(codes) - codes
        return delta, _score(decoder, codes, delta, clean)

    state = np.random.get_state()
    np.random.seed(seed)
    try:
        return _over_eps_and_restarts(solve, decoder, eps, restarts)
    finally:
        np.random.set_state(state)


PEERS: dict[str, Peer] = {
    "plain": plain,
    "torchattacks_style": torchattacks_style,
    "rai_toolbox": rai_toolbox,
    "foolbox": foolbox,
    "art": art,
}


def installed() -> list[str]:
    """The peers that can run here: those written out above, and those whose library is there."""
    libraries = ("rai_toolbox", "foolbox", "art")
    return [n for n in PEERS if n not in libraries or importlib.util.find_spec(n) is not None]


def _over_eps_and_restarts(
    solve: Callable[[float], tuple[Tensor, Tensor]],
    decoder: Counted,
    eps: Sequence[float],
    restarts: int,
) -> PeerResult:
    """The best restart per ε and code; ``solve`` gives δ [N, d] and its loss [N] for one ε."""
    deltas, losses = [], []
    for radius in eps:
        best, best_loss = solve(radius)
        for _ in range(restarts - 1):
            delta, loss = solve(radius)
            better = loss > best_loss
            best = torch.where(better[:, None], delta, best)
            best_loss = torch.where(better, loss, best_loss)
        deltas.append(best)
        losses.append(best_loss)
    return PeerResult(torch.stack(losses), torch.stack(deltas), decoder.decodes)


def _random_in_ball(codes: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    direction = nn.functional.normalize(torch.randn(codes.shape, generator=generator))
    share = torch.rand(len(codes), 1, generator=generator) ** (1 / codes.shape[1])
    return (radius * share * direction).to(codes)


@torch.no_grad()
def _clean(decoder: Counted, codes: Tensor) -> Tensor:
    return decoder(codes)


@torch.no_grad()
def _score(decoder: Counted, codes: Tensor, delta: Tensor, clean: Tensor) -> Tensor:
    return squared_distance(decoder(codes + delta), clean)
