"""The minimum-norm attack: how small a perturbation does a given damage, or reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrnb._progress import bar
from lrnb._validation import check_integer
from lrnb.attacks.balls import L2Ball, expand_like
from lrnb.attacks.pgd import evaluate, solve
from lrnb.attacks.problem import Decode, Objective, Problem, new_problem

# radii of the balls that are searched first: the largest, and each half of the one before
_RADII = 8
_L2 = L2Ball()


@dataclass(frozen=True)
class MinimumNorm:
    """The shortest perturbations that were found to reach a goal.

    Attributes:
        length: [N], ‖δ‖₂; 0 where the code reaches the goal unperturbed, infinite where no
            perturbation did.
        reached: [N], whether one did.
        delta: [N, …], 0 where none did.
        images: [N, …], the decoder's outputs at code + delta; `clean`: at the codes.
        score: [N], the objective at delta, ≥ the goal where it was reached.
        decodes: decoder evaluations spent, as in `lrnb.Attack`.
    """

    length: Tensor
    reached: Tensor
    delta: Tensor = field(repr=False)
    images: Tensor = field(repr=False)
    clean: Tensor = field(repr=False)
    score: Tensor = field(repr=False)
    decodes: int


def minimum_norm(
    decode: Decode,
    codes: Tensor,
    *,
    goal: float | Tensor,
    largest: float,
    target: Tensor | None = None,
    objective: Objective | None = None,
    rounds: int = 6,
    steps: int = 40,
    restarts: int = 8,
    seed: int = 0,
    batch: int | None = None,
    progress: str | None = None,
) -> MinimumNorm:
    """Find for each code the shortest δ (L2) whose decoding scores at least a goal.

    After Carlini & Wagner (2017): Adam minimizes ‖δ‖² + c·max(0, goal − score), and c is bisected
    per code: smaller where the goal was reached in a round, larger where it was not. It begins from
    what `lrnb.attack` finds in balls that halve from ``largest`` on, and every δ that reaches the
    goal is shortened along itself as far as it still does.

    Args:
        decode, codes, target, objective, restarts, seed, batch, progress: as of `lrnb.attack`.
        goal: score to reach, a number or one a code [N]: the damage ‖D(z+δ) − D(z)‖², or with a
            target −‖D(z+δ) − target‖².
        largest: ‖δ‖ beyond which the search gives up, in units of the code.
        rounds: bisections of c, each of ``steps`` steps of Adam.

    Raises:
        ValueError: an argument is not as described, named in the message.

    >>> double = lambda z: 2 * z      # ‖2δ‖² = 9 at length 1.5
    >>> found = minimum_norm(double, torch.zeros(2, 3), goal=9.0, largest=4.0)
    >>> [round(x, 3) for x in found.length.tolist()]
    [1.5, 1.5]
    """
    for argument, given in {"rounds": rounds, "steps": steps, "restarts": restarts}.items():
        check_integer(argument, given, 1)
    if not 0 < largest < math.inf:
        raise ValueError(f"largest must be > 0 and finite, got {largest!r}")
    problem = new_problem(decode, codes, target=target, objective=objective, batch=batch)
    goals = _goals(goal, problem)
    radii = largest / 2.0 ** torch.arange(_RADII - 1, -1, -1)
    found = solve(problem, radii.to(problem.clean), ball=_L2, method="backtracking", steps=10,
                  restarts=restarts, seed=seed)  # fmt: skip
    best = _Shortest(problem, goals, largest)
    for delta, score in zip(found.delta, found.loss, strict=True):
        best.offer(delta, score)
    best.shorten()
    with bar(progress, total=rounds * steps) as advance:
        low, weight = torch.zeros_like(goals), torch.ones_like(goals)
        high = torch.full_like(goals, math.inf)
        for _ in range(rounds):
            again = _descend(problem, best, found.delta[-1], goals, weight, steps, advance)
            low, high = torch.where(again, low, weight), torch.where(again, weight, high)
            between = torch.where(low > 0, (low * high).sqrt(), high / 10)
            weight = torch.where(high.isinf(), 10 * weight, between)
    best.shorten()

    reached = best.length.isfinite()
    images = problem.outputs(best.delta)
    score = problem.scores(images)
    return MinimumNorm(
        best.length, reached, best.delta, images, problem.clean, score, problem.decode.spent
    )


class _Shortest:
    """The shortest δ of each code so far that reaches its goal."""

    def __init__(self, problem: Problem, goals: Tensor, largest: float) -> None:
        self.problem, self.goals, self.largest = problem, goals, largest
        self.delta = torch.zeros_like(problem.codes)
        self.length = torch.full_like(goals, math.inf)
        self.offer(self.delta, problem.scores(problem.clean))

    def offer(self, delta: Tensor, score: Tensor) -> None:
        size = _L2.length(delta)
        better = (score >= self.goals) & (size < self.length) & (size <= self.largest)
        self.delta = torch.where(expand_like(better, delta), delta, self.delta)
        self.length = torch.where(better, size, self.length)

    def shorten(self, halvings: int = 12) -> None:
        """Bisect the share of each δ that still reaches the goal."""
        delta, low, high = self.delta, torch.zeros_like(self.goals), torch.ones_like(self.goals)
        for _ in range(halvings):
            share = (low + high) / 2
            tried = expand_like(share, delta) * delta
            score = self.problem.scores(self.problem.outputs(tried))
            self.offer(tried, score)
            low = torch.where(score >= self.goals, low, share)
            high = torch.where(score >= self.goals, share, high)


def _descend(
    problem: Problem,
    best: _Shortest,
    strongest: Tensor,
    goals: Tensor,
    weight: Tensor,
    steps: int,
    advance: Callable[[], object],
) -> Tensor:
    """One round of Adam from the shortest δ; returns where the goal was reached in its later half.

    A code that has none yet begins from its ``strongest`` δ: at δ = 0 the damage has no gradient.
    Lengths are in units of that of the first δ, scores of the distance from the clean one to the goal.
    """
    start = torch.where(expand_like(best.length.isfinite(), strongest), best.delta, strongest)
    size = _L2.length(start)
    unit = torch.where(size > 0, size, 1)
    way = (goals - problem.scores(problem.clean)).clamp_min(torch.finfo(goals.dtype).tiny)
    u = start / expand_like(unit, start)
    first, second = torch.zeros_like(u), torch.zeros_like(u)
    again = torch.zeros_like(goals, dtype=torch.bool)
    for k in range(steps):
        here = evaluate(problem, expand_like(unit, u) * u)
        best.offer(here.delta, here.loss)
        short = here.loss < goals
        again |= ~short & (k >= steps // 2)
        pull = expand_like(weight * short * unit / way, u) * here.gradient
        gradient = 2 * u - pull
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        rate = 0.05 * (1 + math.cos(math.pi * k / steps)) / 2
        scale = (second / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8
        u = u - rate * first / (1 - 0.9 ** (k + 1)) / scale
        advance()
    return again


def _goals(goal: float | Tensor, problem: Problem) -> Tensor:
    n = len(problem.codes)
    goals = torch.as_tensor(goal).to(problem.clean)
    if goals.shape not in ((), (n,)) or not bool(torch.isfinite(goals).all()):
        raise ValueError(f"goal must be a finite number or [{n}] of them, got {goal!r}")
    return goals.expand(n).clone()
