"""The minimum-norm attack: how small a perturbation does a given damage, or reaches a target."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrnb._progress import bar
from lrnb._validation import check_integer, check_number, check_tensor
from lrnb.attacks.balls import L2Ball, expand_like
from lrnb.attacks.pgd import attack, evaluate
from lrnb.attacks.problem import Decode, Objective, Problem

_RADII = 8  # balls that are searched first: of the largest radius, and each half of the one before
_HALVINGS = 12  # when a δ is shortened along itself
_L2 = L2Ball()


@dataclass(frozen=True)
class MinimumNorm:
    """The shortest perturbations δ that were found to reach a goal, for N codes.

    ``length`` [N], ‖δ‖₂: 0 where the code reaches the goal unperturbed, infinite where ``reached``
    [N] is false. ``delta`` [N, …], 0 where none did; ``images``, the outputs there, and ``clean``,
    at the codes; ``score`` [N], the objective at δ; ``decodes``, as of `lrnb.attacks.Attack`.
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
        goal: score to reach, a number or one a code [N]: the damage ‖D(z+δ) − D(z)‖², or with a
            target −‖D(z+δ) − target‖².
        largest: ‖δ‖ beyond which the search gives up, in units of the code.
        rounds: bisections of c, each of ``steps`` steps of Adam; all else as of `lrnb.attack`.

    >>> double = lambda z: 2 * z      # ‖2δ‖² = 9 at length 1.5
    >>> found = minimum_norm(double, torch.zeros(2, 3), goal=9.0, largest=4.0)
    >>> [round(x, 3) for x in found.length.tolist()]
    [1.5, 1.5]
    """
    check_integer("rounds", rounds, 1)
    check_integer("steps", steps, 1)
    largest = check_number("largest", largest, 0, above=True)
    n = len(check_tensor("codes", codes, min_ndim=2))
    try:
        goals = torch.as_tensor(goal)
    except (TypeError, RuntimeError, ValueError):
        goals = torch.tensor(math.nan)
    if goals.shape not in ((), (n,)) or not bool(torch.isfinite(goals).all()):
        raise ValueError(f"goal must be a finite number or [{n}] of them, got {goal!r}")
    radii = largest / 2.0 ** torch.arange(_RADII - 1, -1, -1)
    hit = attack(decode, codes, eps=radii, target=target, objective=objective, steps=10,
                 restarts=restarts, seed=seed, batch=batch, progress=progress)  # fmt: skip

    goals = goals.to(hit.clean).expand(n).clone()
    search = _Search(hit.problem, goals, largest)
    for delta, score in zip(hit.delta, hit.loss, strict=True):
        search.offer(delta, score)
    search.shorten()
    low, weight = torch.zeros_like(goals), torch.ones_like(goals)
    high = torch.full_like(goals, math.inf)
    with bar(progress, total=rounds * steps) as advance:
        for _ in range(rounds):
            again = search.descend(hit.delta[-1], weight, steps, advance)
            low, high = torch.where(again, low, weight), torch.where(again, weight, high)
            between = torch.where(low > 0, (low * high).sqrt(), high / 10)
            weight = torch.where(high.isinf(), 10 * weight, between)
    search.shorten()
    length, delta, problem = search.length, search.delta, hit.problem
    images = problem.outputs(problem.codes + delta)
    score, decodes = problem.scores(images), problem.spent
    return MinimumNorm(length, length.isfinite(), delta, images, hit.clean, score, decodes)


class _Search:
    """The shortest δ of each code so far that reaches its goal [N], and two ways to a shorter."""

    def __init__(self, problem: Problem, goals: Tensor, largest: float) -> None:
        self.problem, self.goals, self.largest = problem, goals, largest
        self.clean_score = problem.scores(problem.clean)
        self.delta = torch.zeros_like(problem.codes)
        self.length = torch.full_like(goals, math.inf)
        self.offer(self.delta, self.clean_score)

    def offer(self, delta: Tensor, score: Tensor) -> None:
        size = _L2.length(delta)
        better = (score >= self.goals) & (size < self.length) & (size <= self.largest)
        self.delta = torch.where(expand_like(better, delta), delta, self.delta)
        self.length = torch.where(better, size, self.length)

    def shorten(self) -> None:
        """Bisect the share of each δ that still reaches the goal."""
        problem, delta = self.problem, self.delta
        low, high = torch.zeros_like(self.goals), torch.ones_like(self.goals)
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            tried = expand_like(share, delta) * delta
            score = problem.scores(problem.outputs(problem.codes + tried))
            self.offer(tried, score)
            low = torch.where(score >= self.goals, low, share)
            high = torch.where(score >= self.goals, share, high)

    def descend(
        self, strongest: Tensor, weight: Tensor, steps: int, advance: Callable[[], object]
    ) -> Tensor:
        """One round of Adam from the shortest δ; where its later half reached the goal, [N]."""
        # at δ = 0 the damage has no gradient: a code that has no δ yet begins from its strongest
        start = torch.where(expand_like(self.length.isfinite(), strongest), self.delta, strongest)
        # lengths are in units of the first δ's, scores of the way from the clean one to the goal
        size = _L2.length(start)
        unit = torch.where(size > 0, size, 1)
        way = (self.goals - self.clean_score).clamp_min(torch.finfo(self.goals.dtype).tiny)
        u = start / expand_like(unit, start)
        first, second = torch.zeros_like(u), torch.zeros_like(u)
        again = torch.zeros_like(self.goals, dtype=torch.bool)
        for k in range(steps):
            here = evaluate(self.problem, expand_like(unit, u) * u)
            self.offer(here.delta, here.loss)
            short = here.loss < self.goals
            again |= ~short & (k >= steps // 2)
            gradient = 2 * u - expand_like(weight * short * unit / way, u) * here.gradient
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            rate = 0.05 * (1 + math.cos(math.pi * k / steps)) / 2
            scale = (second / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8
            u = u - rate * first / (1 - 0.9 ** (k + 1)) / scale
            advance()
        return again
