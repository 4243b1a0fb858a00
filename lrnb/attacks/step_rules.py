"""Step rules: how a perturbation moves, given the gradient of what it should maximize.

Nothing here reads a value back from the device, so that a GPU never waits.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lrnb.attacks.balls import Ball, expand_like


class Point(NamedTuple):
    """Perturbations [B, …], the objective there [B] and its gradient [B, …]."""

    delta: Tensor
    loss: Tensor
    gradient: Tensor

    def replaced(self, where: Tensor, other: "Point") -> "Point":
        """The other's samples where ``where`` [B] holds, one's own elsewhere."""
        pairs = zip(self, other, strict=True)
        return Point(*(torch.where(expand_like(where, own), new, own) for own, new in pairs))


class FixedStep:
    """Projected gradient ascent with its customary step of 2.5·ε/steps (Madry et al. 2018).

    A rule is made for one batch of perturbations, with the radius ε [B] of each one's ball.
    """

    def __init__(self, start: Point, eps: Tensor, *, ball: Ball, steps: int) -> None:
        self.eps, self.ball, self.step = eps, ball, 2.5 * eps / steps

    def propose(self, point: Point) -> Tensor:
        """Where to evaluate next."""
        step = expand_like(self.step, point.delta) * self.ball.steepest(point.gradient)
        return self.ball.project(point.delta + step, self.eps)

    def accept(self, now: Point, best: Point) -> Point:
        """From where to go on, given what was found there and the best so far: from there."""
        return now


class Backtracking(FixedStep):
    """The longest step that pays: across the whole ball at first, shorter where the loss fell.

    To go to the point of the ball farthest along the gradient is power iteration on JᵀJ for a linear
    decoder; for a convex objective the loss never falls (the generalized power method, Journée et
    al. 2010). Where it falls, the step is undone and cut to 1.2ε, then to three tenths each time. A
    share k/(k + 3) of the last move is added, k being the rises since the last fall (restarted
    momentum; O'Donoghue & Candès 2015).
    """

    UNBOUNDED = 1e4  # in units of ε

    def __init__(self, start: Point, eps: Tensor, *, ball: Ball, steps: int) -> None:
        self.eps, self.ball, self.step = eps, ball, torch.full_like(eps, self.UNBOUNDED)
        self.base, self.before, self.rises = start, start.delta, torch.zeros_like(eps)

    def propose(self, point: Point) -> Tensor:
        delta, share = point.delta, self.rises / (self.rises + 3)
        along = expand_like(self.eps, delta) * self.ball.steepest(point.gradient)
        along = along + expand_like(share, delta) * (delta - self.before)
        return self.ball.project(delta + expand_like(self.step, delta) * along, self.eps)

    def accept(self, now: Point, best: Point) -> Point:
        """Go on from the best: what was found now where it is better, else back."""
        rose = now.loss > self.base.loss
        longer = (1.5 * self.step).clamp_max(self.UNBOUNDED)
        self.step = torch.where(rose, longer, 0.3 * self.step.clamp_max(4))
        self.rises = torch.where(rose, self.rises + 1, 0)
        self.before, self.base = self.base.delta, best
        return best


class AdaptiveStep(FixedStep):
    """APGD (Croce & Hein 2020, algorithm 1): momentum; steps halve when progress stalls."""

    def __init__(self, start: Point, eps: Tensor, *, ball: Ball, steps: int) -> None:
        self.eps, self.ball, self.step = eps, ball, 2 * eps
        self.since, self.rises = 0, torch.zeros_like(eps)
        self.window, self.shrink, self.shortest = (
            max(1, round(share * steps)) for share in (0.22, 0.03, 0.06)
        )
        self.halved = torch.zeros_like(eps, dtype=torch.bool)
        self.loss = self.best_then = start.loss
        self.before, self.moved = start.delta, False

    def propose(self, point: Point) -> Tensor:
        delta, ahead = point.delta, super().propose(point)
        if self.moved:
            ahead = delta + 0.75 * (ahead - delta) + 0.25 * (delta - self.before)
            ahead = self.ball.project(ahead, self.eps)
        self.before, self.moved = delta, True
        return ahead

    def accept(self, now: Point, best: Point) -> Point:
        """Go on from where it is, or from the best where the step was halved."""
        self.rises += now.loss > self.loss
        self.since += 1
        if self.since >= self.window:
            few_rises = self.rises <= 0.75 * self.since
            stuck = ~self.halved & (best.loss <= self.best_then)
            self.halved, self.best_then = few_rises | stuck, best.loss
            self.step = torch.where(self.halved, self.step / 2, self.step)
            self.since, self.rises = 0, torch.zeros_like(self.rises)
            self.window = max(self.window - self.shrink, self.shortest)
            self.before = torch.where(expand_like(self.halved, best.delta), best.delta, self.before)
            now = now.replaced(self.halved, best)
        self.loss = now.loss
        return now


STEP_RULES = {"backtracking": Backtracking, "pgd": FixedStep, "apgd": AdaptiveStep}
