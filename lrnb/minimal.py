"""The minimal-norm attack: how small a perturbation does a given damage, or reaches a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrnb import checks
from lrnb.attacks import Objective, Problem, pose, solve
from lrnb.balls import length, over
from lrnb.jacobian import Decode
from lrnb.progress import Advance, task

# radii of the balls that are searched first: the largest, and each half of the one before
_RADII = 8


@dataclass(frozen=True)
class MinimalNorm:
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


def minimal_norm(
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
) -> MinimalNorm:
    """Find for each code the shortest δ (L2) whose decoding scores at least a goal.

    After Carlini & Wagner (2017): Adam minimises ‖δ‖² + c·max(0, goal − score), and c is bisected
    per code: smaller where the goal was reached in a round, larger where it was not. It begins from
    what `lrnb.attack` finds in balls that halve from ``largest`` on, and every δ that reaches the
    goal is shortened along itself as far as it still does.

    Args:
        decode, codes, target, objective, seed, batch, progress: as of `lrnb.attack`.
        goal: score to reach, a number or one a code [N]. For the untargeted attack ‖D(z+δ) − D(z)‖²,
            the damage; with a target −‖D(z+δ) − target‖², minus the squared distance to it.
        largest: ‖δ‖ beyond which the search gives up, in units of the code.
        rounds: bisections of c, each of ``steps`` steps of Adam.
        restarts: of the attack to begin with.

    Raises:
        ValueError: an argument is not as described, named in the message.

    >>> double = lambda z: 2 * z      # ‖2δ‖² = 9 at length 1.5
    >>> found = minimal_norm(double, torch.zeros(2, 3), goal=9.0, largest=4.0)
    >>> [round(x, 3) for x in found.length.tolist()]
    [1.5, 1.5]
    """
    for argument, given in {"rounds": rounds, "steps": steps, "restarts": restarts}.items():
        checks.at_least(argument, given, 1)
    if not 0 < largest < math.inf:
        raise ValueError(f"largest={largest!r} is not accepted: a finite number > 0 is")
    problem = pose(decode, codes, target=target, objective=objective, batch=batch)
    goals = _goals(goal, problem)
    radii = largest / 2.0 ** torch.arange(_RADII - 1, -1, -1)
    found = solve(
        problem,
        radii.to(problem.clean),
        norm="l2",
        method="longest",
        steps=10,
        restarts=restarts,
        seed=seed,
    )
    best = _Shortest(problem, goals, largest)
    for delta, score in zip(found.delta, found.loss, strict=True):
        best.offer(delta, score)
    best.shorten()
    with task(progress, total=rounds * steps) as advance:
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
    with torch.no_grad():
        score = problem.score(images, problem.reference)
    return MinimalNorm(
        best.length, reached, best.delta, images, problem.clean, score, problem.decode.spent
    )


class _Shortest:
    """The shortest δ of each code so far that reaches its goal."""

    def __init__(self, problem: Problem, goals: Tensor, largest: float) -> None:
        self.problem, self.goals, self.largest = problem, goals, largest
        self.delta = torch.zeros_like(problem.codes)
        self.length = torch.full_like(goals, math.inf)
        with torch.no_grad():
            self.offer(self.delta, problem.score(problem.clean, problem.reference))

    def offer(self, delta: Tensor, score: Tensor) -> None:
        size = length(delta, "l2")
        better = (score >= self.goals) & (size < self.length) & (size <= self.largest)
        self.delta = torch.where(over(better, delta), delta, self.delta)
        self.length = torch.where(better, size, self.length)

    def shorten(self, halvings: int = 12) -> None:
        """Bisect the share of each δ that still reaches the goal."""
        delta, low, high = self.delta, torch.zeros_like(self.goals), torch.ones_like(self.goals)
        for _ in range(halvings):
            share = (low + high) / 2
            tried = over(share, delta) * delta
            with torch.no_grad():
                score = self.problem.score(self.problem.outputs(tried), self.problem.reference)
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
    advance: Advance,
) -> Tensor:
    """One round of Adam from the shortest δ; returns where the goal was reached in its later half.

    A code that has none yet begins from its ``strongest`` δ: at δ = 0 the damage has no gradient.

    All is measured in what the code needs: lengths in that of the δ to begin with, the score in the
    way from the clean one to the goal.
    """
    start = torch.where(over(best.length.isfinite(), strongest), best.delta, strongest)
    size = length(start, "l2")
    unit = torch.where(size > 0, size, 1)
    with torch.no_grad():
        clean = problem.score(problem.clean, problem.reference)
    way = (goals - clean).clamp_min(torch.finfo(goals.dtype).tiny)
    u = start / over(unit, start)
    first, second = torch.zeros_like(u), torch.zeros_like(u)
    again = torch.zeros_like(goals, dtype=torch.bool)
    for k in range(steps):
        here = problem.evaluate(over(unit, u) * u)
        best.offer(here.delta, here.loss)
        short = here.loss < goals
        again |= ~short & (k >= steps // 2)
        pull = over(weight * short * unit / way, u) * here.gradient
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
        raise ValueError(f"goal={goal!r} is not accepted: a finite number or [{n}] of them is")
    return goals.expand(n).clone()
