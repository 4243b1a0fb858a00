"""The latent attack: which bounded perturbation of a code damages its decoding most.

An attack is composed of an objective (what is maximized, per sample), a ball (where δ may lie) and
a step rule (how δ moves). All ε, restarts and samples are solved in one batch. Nothing here knows
any model: the decoder is a callable from codes [N, …] to outputs [N, …].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrnb._progress import bar
from lrnb._validation import check_integer, check_name
from lrnb.attacks.balls import BALLS, Ball, expand_like
from lrnb.attacks.jacobian import largest_singular
from lrnb.attacks.problem import Decode, Objective, Problem, new_problem
from lrnb.attacks.step_rules import STEP_RULES, Point, Rule

_POWER_ITERATIONS = 5  # for a start along the Jacobian's first singular direction


@dataclass(frozen=True)
class Attack:
    """What an attack found. E is the number of ε, N of codes.

    Attributes:
        eps: [E], radii of the balls, in units of the code.
        delta: [E, N, …], the best perturbations, ‖delta[e, n]‖ ≤ eps[e].
        images: [E, N, …], the decoder's outputs at code + delta; clean: [N, …], at the codes.
        loss: [E, N], the objective reached; it does not fall from one ε to the next larger.
        decodes: decoder evaluations spent, counted per code: a forward pass, mostly with its
            gradient, or a JVP and a VJP.
        norm, method: as asked for.
    """

    eps: Tensor
    delta: Tensor = field(repr=False)
    images: Tensor = field(repr=False)
    clean: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    decodes: int
    norm: str
    method: str


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
    per sample, the unperturbed code included; since balls are nested, the best of a smaller ε also
    stands for a larger one, so losses rise with ε.

    Args:
        decode: differentiable map from codes [B, …] to outputs [B, …], in evaluation mode.
        codes: [N, …], finite floating-point.
        eps: one radius or several, each > 0, in units of the code.
        target: outputs to steer towards, [N, …]; None for the untargeted attack.
        norm: a name in `lrnb.attacks.BALLS`, over all entries of one code's δ.
        method: the step rule (`lrnb.attacks.step_rules`): "backtracking", steps across the whole
            ball, cut where they do not pay; "pgd", the customary fixed step (Madry et al. 2018);
            "apgd", momentum and halving steps (Croce & Hein 2020). Starts, race and all else are
            the same for each; a rule begins anew in either half of the steps.
        steps: gradient steps, ≥ 1; restarts: starts, ≥ 1.
        objective: what to maximize, called with outputs [B, …] and reference [B, …], returning
            [B]. The reference is the target if there is one, else the clean output. By default the
            squared distance, or minus the squared distance to the target.
        seed: of the random starts.
        batch: codes decoded at once, which does not change the result; by default as many as keep
            the memory for gradients within 16 MiB on a CPU, a quarter of what is free on a GPU.
        progress: label of a progress bar; None shows none.

    Returns:
        `Attack`, its tensors on the device of the decoder's outputs.

    Raises:
        ValueError: an argument is not as described above, named in the message.

    >>> double = lambda z: 2 * z      # the worst δ has length ε in any direction: loss (2ε)²
    >>> hit = attack(double, torch.zeros(3, 5), eps=[0.5, 1.0])
    >>> [round(loss, 3) for loss in hit.loss[:, 0].tolist()]
    [1.0, 4.0]
    """
    check_name("method", method, STEP_RULES)
    for argument, given in {"steps": steps, "restarts": restarts}.items():
        check_integer(argument, given, 1)
    ball, radii = BALLS[norm], _check_eps(eps)
    problem = new_problem(decode, codes, target=target, objective=objective, batch=batch)
    return solve(problem, radii.to(problem.clean), ball=ball, method=method, steps=steps,
                 restarts=restarts, seed=seed, progress=progress)  # fmt: skip


def solve(
    problem: Problem,
    eps: Tensor,
    *,
    ball: Ball,
    method: str,
    steps: int,
    restarts: int,
    seed: int,
    progress: str | None = None,
) -> Attack:
    """`attack` on a problem that was checked already; ``eps`` [E] on the device of its outputs."""
    codes = problem.codes
    radii, order = eps.sort()
    e, n = len(radii), len(codes)
    # (with one ε and one start there is nothing to choose from half-way)
    race = steps if e == restarts == 1 else (steps + 1) // 2
    of_restarts, of_codes = radii.repeat_interleave(restarts * n), radii.repeat_interleave(n)

    unit = _starts(problem, restarts=restarts, ball=ball, seed=seed)
    points = evaluate(problem, (expand_like(radii, unit[None]) * unit).flatten(0, 2))
    rule: Rule = STEP_RULES[method](points, of_restarts, ball=ball, steps=race)
    with bar(progress, total=race) as advance:
        points = ascend(problem, points, rule, race, advance)
    best = _best_restart(points, (e, restarts, n))
    if steps > race:
        for neighbor in (1, -1):
            stretched = evaluate(problem, _stretched(best.delta, radii, neighbor))
            best = best.replaced(stretched.loss > best.loss, stretched)
        rule = STEP_RULES[method](best, of_codes, ball=ball, steps=steps - race)
        best = ascend(problem, best, rule, steps - race)

    delta, loss = best.delta.view(e, *codes.shape), best.loss.view(e, n)
    if bool((loss == -math.inf).any()):
        raise ValueError("decode or objective returned NaN wherever it was evaluated in a ball")
    delta, loss = _nest(delta, loss, clean_loss=problem.scores(problem.clean))
    back = order.argsort()
    delta, loss = delta[back], loss[back]
    images = torch.stack([problem.outputs(d) for d in delta])
    return Attack(eps, delta, images, problem.clean, loss, problem.decode.spent, ball.name, method)


def ascend(
    problem: Problem,
    start: Point,
    rule: Rule,
    steps: int,
    advance: Callable[[], object] = lambda: None,
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
    """The objective and its gradient at every row of ``delta``, a batch of codes at a time."""
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    for rows in torch.arange(len(delta), device=delta.device).split(problem.batch):
        codes = problem.codes[rows % len(problem.codes)]
        reference = problem.reference[rows % len(problem.codes)]
        with torch.enable_grad():
            moved = delta[rows].detach().requires_grad_()
            loss = problem.score(problem.decode(codes + moved), reference)
            if loss.shape != codes.shape[:1]:
                raise ValueError(
                    f"objective must return one score per sample, {tuple(codes.shape[:1])}, "
                    f"got shape {tuple(loss.shape)}"
                )
            if not loss.requires_grad:
                raise ValueError("objective must be differentiable, got a score without gradient")
            gradients += torch.autograd.grad(loss.sum(), moved)
        losses.append(loss.detach().nan_to_num(nan=-math.inf))  # what is not a number is never best
    return Point(delta.detach(), torch.cat(losses), torch.cat(gradients))


def _starts(problem: Problem, *, restarts: int, ball: Ball, seed: int) -> Tensor:
    """Where restarts begin in the unit ball, [R, N, …]."""
    decode, codes = problem.decode, problem.codes
    half = (restarts + 1) // 2
    start = ball.random_in_ball((half, *codes.shape), seed=seed).to(codes)
    if restarts > 1:
        _, direction = largest_singular(
            decode, codes, iterations=_POWER_ITERATIONS, seed=seed, batch=problem.batch
        )
        decode.spent += _POWER_ITERATIONS * len(codes)
        start[0] = ball.steepest(direction)
    # a direction and its opposite mostly lead to different maxima
    return torch.stack([start, -start], 1).flatten(0, 1)[:restarts]


def _best_restart(rows: Point, shape: tuple[int, int, int]) -> Point:
    """Rows of E × R × N → those of E × N, the best of the restarts."""
    loss, index = rows.loss.view(shape).max(dim=1)
    n = shape[2]
    first = torch.arange(shape[0], device=loss.device)[:, None] * shape[1] + index  # [E, N]
    row = (first * n + torch.arange(n, device=loss.device)).flatten()
    return Point(rows.delta[row], loss.flatten(), rows.gradient[row])


def _stretched(delta: Tensor, radii: Tensor, neighbor: int) -> Tensor:
    """Perturbations of E × N rows, each taken from the ε ``neighbor`` places before its own."""
    factor = (radii / radii.roll(neighbor)).repeat_interleave(len(delta) // len(radii))
    return expand_like(factor, delta) * delta.view(len(radii), -1).roll(neighbor, 0).view_as(delta)


def _nest(delta: Tensor, loss: Tensor, *, clean_loss: Tensor) -> tuple[Tensor, Tensor]:
    """Let each ball hold the best of every smaller one, δ = 0 being the smallest; ε ascend."""
    delta, loss = delta.clone(), loss.clone()
    best_delta, best_loss = torch.zeros_like(delta[0]), clean_loss
    for e in range(len(delta)):
        better = loss[e] > best_loss
        delta[e] = best_delta = torch.where(expand_like(better, best_delta), delta[e], best_delta)
        loss[e] = best_loss = torch.where(better, loss[e], best_loss)
    return delta, loss


def _check_eps(eps: float | Sequence[float] | Tensor) -> Tensor:
    try:
        radii = torch.as_tensor(eps, dtype=torch.float32).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.empty(0)
    if radii.numel() == 0 or not bool((torch.isfinite(radii) & (radii > 0)).all()):
        raise ValueError(f"eps must be > 0 and finite, got {eps!r}")
    return radii
