"""The latent attack: which bounded perturbation of a code damages its decoding most.

An attack is composed of an objective (what is maximized, per sample), a ball (where δ may lie) and
a step rule (how δ moves). All ε, restarts and samples are solved in one batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lrnb._progress import bar
from lrnb._validation import check_integer, check_name
from lrnb.attacks.balls import BALLS, Ball, expand_like
from lrnb.attacks.jacobian import largest_singular
from lrnb.attacks.problem import Decode, Objective, Problem
from lrnb.attacks.step_rules import STEP_RULES, FixedStep, Point

_POWER_ITERATIONS = 5  # for a start along the Jacobian's first singular direction


@dataclass(frozen=True)
class Attack:
    """What an attack found for E radii and N codes.

    ``eps`` [E]; ``delta`` [E, N, …], the best perturbations, ‖delta[e, n]‖ ≤ eps[e]; ``images``,
    the outputs there, and ``clean`` [N, …], at the codes; ``loss`` [E, N], the objective, which
    never falls with ε; ``decodes``, decoder evaluations spent, per code: a forward pass, mostly
    with its gradient, or a JVP and a VJP; ``problem``, what was maximized.
    """

    eps: Tensor
    delta: Tensor = field(repr=False)
    images: Tensor = field(repr=False)
    clean: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    decodes: int
    norm: str
    method: str
    problem: Problem = field(repr=False)


def attack(
    decode: Decode,
    codes: Tensor,
    *,
    eps: float | Sequence[float] | Tensor,
    target: Tensor | None = None,
    norm: str = "l2",
    method: str = "backtracking",
    steps: int = 20,
    restarts: int = 8,
    objective: Objective | None = None,
    seed: int = 0,
    batch: int | None = None,
    progress: str | None = None,
) -> Attack:
    """Find for each code and each ε the perturbation in the ball that damages its decoding most.

    Restarts begin in opposite pairs: at ±ε along the first singular direction of the decoder's
    Jacobian, then at random points of the ball and their mirror images (a single start is random).
    They race for half of the steps; then, for each code and ε, the best of them and of the
    neighboring ε's, stretched to this ε, goes on alone. The best point that was evaluated is kept
    per sample, the unperturbed code and the δ of smaller ε included, so losses rise with ε.

    Args:
        decode: differentiable map from codes [B, …] to outputs [B, …], in evaluation mode.
        codes: [N, …], finite floating-point.
        eps: one radius or several, each > 0, in units of the code.
        target: outputs to steer towards, [N, …]; None for the untargeted attack.
        norm, method: names in `lrnb.attacks.BALLS` and `lrnb.attacks.STEP_RULES`.
        steps: gradient steps, ≥ 1; restarts: starts, ≥ 1; seed: of the random ones.
        objective: what to maximize, from outputs and reference (the target, or the clean outputs)
            to [B]. By default the squared distance, or with a target minus the squared distance.
        batch: codes decoded at once, which does not change the result; by default as many as keep
            the memory for gradients within 16 MiB on a CPU, within 512 MiB and a quarter of what is
            free on a GPU.
        progress: label of a progress bar; None shows none.

    A ValueError names the argument that is not as described.

    >>> double = lambda z: 2 * z      # the worst δ has length ε in any direction: loss (2ε)²
    >>> hit = attack(double, torch.zeros(3, 5), eps=[0.5, 1.0])
    >>> [round(loss, 3) for loss in hit.loss[:, 0].tolist()]
    [1.0, 4.0]
    """
    check_name("method", method, STEP_RULES)
    check_integer("steps", steps, 1)
    check_integer("restarts", restarts, 1)
    check_integer("seed", seed, 0)
    ball = BALLS[check_name("norm", norm, BALLS)]
    try:
        radii = torch.as_tensor(eps, dtype=torch.float32).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.empty(0)
    if radii.numel() == 0 or not bool((torch.isfinite(radii) & (radii > 0)).all()):
        raise ValueError(f"eps must be > 0 and finite, got {eps!r}")
    problem = Problem(decode, codes, target, objective, batch)
    eps = radii.to(problem.clean)
    radii, order = eps.sort()
    e, n = len(radii), len(codes)
    of_rows, of_starts = radii.repeat_interleave(n), radii.repeat_interleave(restarts * n)
    # (with one ε and one start there is nothing to choose from half-way)
    race = steps if e == restarts == 1 else (steps + 1) // 2

    most, few = len(of_starts), len(of_rows)  # evaluated in each step of the race, and after it
    with bar(progress, total=most * race + few * (steps - race)) as advance:
        starts = _starts(problem, ball, restarts, seed)
        points = evaluate(problem, (expand_like(radii, starts[None]) * starts).flatten(0, 2))
        rule = STEP_RULES[method](points, of_starts, ball=ball, steps=race)
        points = ascend(problem, points, rule, race, partial(advance, most))
        first = points.loss.view(e, restarts, n).max(dim=1, keepdim=True).indices
        rows = torch.arange(len(of_starts), device=first.device).view(e, restarts, n)
        rows = rows.gather(1, first).flatten()  # E × N
        best = Point(*(values[rows] for values in points))
        if steps > race:
            for neighbor in (n, -n):  # the δ of the next smaller and larger ε, stretched to this
                factor = expand_like(of_rows / of_rows.roll(neighbor), best.delta)
                stretched = evaluate(problem, factor * best.delta.roll(neighbor, 0))
                best = best.replaced(stretched.loss > best.loss, stretched)
            rule = STEP_RULES[method](best, of_rows, ball=ball, steps=steps - race)
            best = ascend(problem, best, rule, steps - race, partial(advance, few))
    if bool((best.loss == -math.inf).any()):
        raise ValueError("decode or objective returned NaN wherever it was evaluated in a ball")

    # each ball holds the smaller ones, and with them their best δ; the smallest is δ = 0
    deltas, losses = [torch.zeros_like(problem.codes)], [problem.scores(problem.clean)]
    for delta, loss in zip(best.delta.split(n), best.loss.split(n), strict=True):
        better = loss > losses[-1]
        deltas.append(torch.where(expand_like(better, delta), delta, deltas[-1]))
        losses.append(torch.where(better, loss, losses[-1]))
    back = order.argsort() + 1
    delta, loss = torch.stack(deltas)[back], torch.stack(losses)[back]
    images = torch.stack([problem.outputs(problem.codes + d) for d in delta])
    clean, decodes = problem.clean, problem.spent
    return Attack(eps, delta, images, clean, loss, decodes, norm, method, problem)


def ascend(
    problem: Problem, start: Point, rule: FixedStep, steps: int, advance: Callable[[], object]
) -> Point:
    """The attack loop: propose, evaluate, keep the best point that each row meets on its way up."""
    now = best = start
    for _ in range(steps):
        now = evaluate(problem, rule.propose(now))
        best = best.replaced(now.loss > best.loss, now)
        now = rule.accept(now, best)
        advance()
    return best


def evaluate(problem: Problem, delta: Tensor) -> Point:
    """The objective and its gradient at rows δ [B, …], of code 0 to N − 1 over and over."""
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    for rows in torch.arange(len(delta), device=delta.device).split(problem.batch):
        which = rows % len(problem.codes)
        with torch.enable_grad():
            moved = delta[rows].detach().requires_grad_()
            outputs = problem.decode(problem.codes[which] + moved)
            loss = problem.score(outputs, problem.reference[which])
            if getattr(loss, "shape", None) != rows.shape:
                raise ValueError(
                    f"objective must return one score per sample, {tuple(rows.shape)}, "
                    f"got shape {tuple(getattr(loss, 'shape', ()))}"
                )
            if not loss.requires_grad:
                raise ValueError("objective must be differentiable, got a score without gradient")
            gradients += torch.autograd.grad(loss.sum(), moved)
        losses.append(loss.detach().nan_to_num(nan=-math.inf))  # what is not a number is never best
    return Point(delta.detach(), torch.cat(losses), torch.cat(gradients))


def _starts(problem: Problem, ball: Ball, restarts: int, seed: int) -> Tensor:
    """Where restarts begin in the unit ball, [R, N, …]."""
    decode, codes, k = problem.decode, problem.codes, _POWER_ITERATIONS
    start = ball.random_in_ball(((restarts + 1) // 2, *codes.shape), seed=seed).to(codes)
    if restarts > 1:
        found = largest_singular(decode, codes, iterations=k, seed=seed, batch=problem.batch)
        problem.spent += k * len(codes)
        start[0] = ball.steepest(found[1])
    # a direction and its opposite mostly lead to different maxima
    return torch.stack([start, -start], 1).flatten(0, 1)[:restarts]
