"""The latent attack: which bounded perturbation of a code damages its decoding most.

An attack is composed of an objective (what is maximised, per sample), a ball (where δ may lie) and
a step rule (how δ moves). All ε, restarts and samples are solved in one batch. Nothing here knows
any model: the decoder is a callable from codes [N, …] to outputs [N, …].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from lrnb import checks
from lrnb.balls import NORMS, over, random_in_ball, steepest
from lrnb.jacobian import Decode, top_singular
from lrnb.progress import Advance, task
from lrnb.steprules import RULES, Point, Rule

Objective = Callable[[Tensor, Tensor], Tensor]
METHODS = tuple(RULES)

# power iterations for a start along the Jacobian's first singular direction
_ITERATIONS = 5
# what an evaluation may keep for its gradient on a processor: measured, of more the allocator gives
# every block back to the system and has it faulted in again
_MEMORY = 16 * 2**20


@dataclass(frozen=True)
class Attack:
    """What an attack found. E is the number of ε, N of codes.

    Attributes:
        eps: [E], radii of the balls, in units of the code.
        delta: [E, N, …], the best perturbations, ‖delta[e, n]‖ ≤ eps[e].
        images: [E, N, …], the decoder's outputs at code + delta.
        clean: [N, …], the decoder's outputs at the codes.
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


def squared_distance(outputs: Tensor, reference: Tensor) -> Tensor:
    """‖outputs − reference‖² per sample, [B]: maximised by the untargeted attack."""
    return (outputs - reference).flatten(1).square().sum(1)


def closeness(outputs: Tensor, reference: Tensor) -> Tensor:
    """−‖outputs − reference‖² per sample, [B]: maximised by the targeted attack."""
    return -squared_distance(outputs, reference)


def attack(
    decode: Decode,
    codes: Tensor,
    *,
    eps: float | Sequence[float] | Tensor,
    target: Tensor | None = None,
    norm: str = "l2",
    method: str = "longest",
    steps: int = 20,
    restarts: int = 8,
    objective: Objective | None = None,
    seed: int = 0,
    batch: int | None = None,
    progress: str | None = None,
) -> Attack:
    """Find for each code and each ε the perturbation in the ball that does most to its decoding.

    Restarts begin in opposite pairs: at ±ε along the first singular direction of the decoder's
    Jacobian, then at random points of the ball and their mirror images (a single start is random).
    They race for half of the steps; then, for each code and ε, the best of them and of the
    neighbouring ε's, stretched to this ε, goes on alone. The best point that was evaluated is kept
    per sample, the unperturbed code included; since balls are nested, the best of a smaller ε also
    stands for a larger one, so losses rise with ε.

    Args:
        decode: differentiable map from codes [B, …] to outputs [B, …], in evaluation mode.
        codes: [N, …], finite floating-point.
        eps: one radius or several, each > 0, in units of the code.
        target: outputs to steer towards, [N, …]; None for the untargeted attack.
        norm: "l2" or "linf", the norm over all entries of one code's δ.
        method: the step rule. "longest", steps across the whole ball, cut where they do not pay;
            "pgd", the customary fixed step, 2.5·ε over the number of steps (Madry et al. 2018);
            "apgd", momentum and halving steps (Croce & Hein 2020). Starts, race and all else are
            the same for each; a rule begins anew in either half of the steps and counts that
            half's. See `lrnb.steprules`.
        steps: gradient steps, ≥ 1.
        restarts: starts, ≥ 1.
        objective: what to maximise, called with outputs [B, …] and reference [B, …], returning
            [B]. The reference is the target if there is one, else the clean output. By default
            `squared_distance` without a target and `closeness` with one.
        seed: of the random starts.
        batch: codes decoded at once, which does not change the result. By default as many as keep
            what an evaluation stores for its gradient within 16 MiB (which a processor's
            memory allocator holds on to), on a GPU within a quarter of its free memory.
        progress: label under which the steps are shown on the terminal; None shows nothing.

    Returns:
        `Attack`, its tensors on the device of the decoder's outputs.

    Raises:
        ValueError: an argument is not as described above, named in the message.

    >>> double = lambda z: 2 * z      # the worst δ has length ε in any direction: loss (2ε)²
    >>> hit = attack(double, torch.zeros(3, 5), eps=[0.5, 1.0])
    >>> [round(loss, 3) for loss in hit.loss[:, 0].tolist()]
    [1.0, 4.0]
    """
    checks.one_of("norm", norm, NORMS)
    checks.one_of("method", method, METHODS)
    for argument, given in {"steps": steps, "restarts": restarts}.items():
        checks.at_least(argument, given, 1)
    radii = _radii(eps)
    problem = pose(decode, codes, target=target, objective=objective, batch=batch)
    return solve(
        problem,
        radii.to(problem.clean),
        norm=norm,
        method=method,
        steps=steps,
        restarts=restarts,
        seed=seed,
        progress=progress,
    )


def solve(
    problem: Problem,
    eps: Tensor,
    *,
    norm: str,
    method: str,
    steps: int,
    restarts: int,
    seed: int,
    progress: str | None = None,
) -> Attack:
    """`attack` on a problem that is posed already; ``eps`` [E] lies where its outputs do."""
    codes = problem.codes
    radii, order = eps.sort()
    shape = (len(radii), restarts, len(codes))
    # (with one ε and one start there is nothing to choose from half-way)
    race = steps if shape[:2] == (1, 1) else (steps + 1) // 2
    rule = partial(RULES[method], norm=norm)
    unit = _starts(problem, restarts=restarts, norm=norm, seed=seed)
    every = math.prod(shape)
    with task(progress, total=-(-every // problem.batch) * race) as advance:
        racing = problem.evaluate((over(radii, unit[None]) * unit).flatten(0, 2))
        eps_of_row = radii.repeat_interleave(restarts * len(codes))
        racing = problem.ascend(racing, eps_of_row, rule, race, advance)
    best = _best_restart(racing, shape)
    if steps > race:
        eps_of_row = radii.repeat_interleave(len(codes))
        for neighbour in (1, -1):
            there = problem.evaluate(_stretched(best.delta, radii, neighbour))
            best = best.replaced(there.loss > best.loss, there)
        best = problem.ascend(best, eps_of_row, rule, steps - race)

    with torch.no_grad():
        delta, loss = best.delta.view(len(radii), *codes.shape), best.loss.view(len(radii), -1)
        if bool((loss == -math.inf).any()):
            raise ValueError("decode or objective returned NaN wherever it was evaluated in a ball")
        delta, loss = _nest(delta, loss, clean_loss=problem.score(problem.clean, problem.reference))
        back = order.argsort()
        delta, loss = delta[back], loss[back]
        images = torch.stack([problem.outputs(d) for d in delta])
    return Attack(eps, delta, images, problem.clean, loss, problem.decode.spent, norm, method)


class Counted:
    """A decoder that counts the codes it was given."""

    def __init__(self, decode: Decode) -> None:
        self.decode, self.spent = decode, 0

    def __call__(self, codes: Tensor) -> Tensor:
        self.spent += len(codes)
        return self.decode(codes)


@dataclass(frozen=True)
class Problem:
    """What is maximised. Perturbations of it are rows [B, …], of code 0 to N − 1 over and over.

    Attributes:
        decode: counts the codes it decodes.
        codes: [N, …]; `clean`: their outputs; `reference`: what outputs are compared with, [N, …].
        score: the objective.
        batch: codes decoded at once.
    """

    decode: Counted
    codes: Tensor
    clean: Tensor
    reference: Tensor
    score: Objective
    batch: int

    def outputs(self, delta: Tensor) -> Tensor:
        """The decoder's outputs at one perturbation a code, [N, …], without gradient."""
        with torch.no_grad():
            return _decode_in_batches(self.decode, self.codes + delta, self.batch)

    def evaluate(self, delta: Tensor) -> Point:
        """The objective and its gradient at every row."""
        return _joined([self._at(rows)(delta[rows]) for rows in self._chunks(delta)])

    def ascend(
        self,
        start: Point,
        eps: Tensor,
        rule: Callable[..., Rule],
        steps: int,
        advance: Advance = lambda: None,
    ) -> Point:
        """The best that each row meets on its way up, in the ball of radius ``eps`` [B]."""
        best = []
        for rows in self._chunks(start.delta):
            evaluate = self._at(rows)
            begin = Point(start.delta[rows], start.loss[rows], start.gradient[rows])
            best.append(_ascend(evaluate, begin, rule(eps[rows], steps=steps), steps, advance))
        return _joined(best)

    def _chunks(self, delta: Tensor) -> list[Tensor]:
        return list(torch.arange(len(delta), device=delta.device).split(self.batch))

    def _at(self, rows: Tensor) -> Callable[[Tensor], Point]:
        sample = rows % len(self.codes)
        codes, reference = self.codes[sample], self.reference[sample]

        def evaluate(delta: Tensor) -> Point:
            with torch.enable_grad():
                delta = delta.detach().requires_grad_()
                loss = self.score(self.decode(codes + delta), reference)
                if loss.shape != codes.shape[:1]:
                    raise ValueError(
                        f"objective returned shape {tuple(loss.shape)}; "
                        f"one score per sample is accepted, {tuple(codes.shape[:1])}"
                    )
                if not loss.requires_grad:
                    raise ValueError("objective is not differentiable: its score has no gradient")
                (gradient,) = torch.autograd.grad(loss.sum(), delta)
            loss = loss.detach().nan_to_num(nan=-math.inf)  # what is not a number is never best
            return Point(delta.detach(), loss, gradient)

        return evaluate


def pose(
    decode: Decode,
    codes: Tensor,
    *,
    target: Tensor | None,
    objective: Objective | None,
    batch: int | None,
) -> Problem:
    """Check the decoder and the codes, decode them once, and choose objective and chunks.

    Raises:
        ValueError: as `attack`.
    """
    codes = checks.finite_batch("codes", codes, least=2).detach()
    checks.at_least("batch", 1 if batch is None else batch, 1)
    counted = Counted(decode)
    if batch is None:
        batch = _rows_at_once(counted, codes)
    else:
        _stored(counted, codes[:1])  # refuses a decoder that cannot be differentiated
    with torch.no_grad():
        clean = _decode_in_batches(counted, codes, batch)
    checks.finite_batch("the decoder's output", clean)
    if target is not None:
        checks.finite_batch("target", target)
        checks.same_shape("the decoder's output", clean, "target", target)
        target = target.detach().to(clean)
    score = objective or (squared_distance if target is None else closeness)
    reference = clean if target is None else target
    return Problem(counted, codes.to(clean.device), clean, reference, score, batch)


def _ascend(
    evaluate: Callable[[Tensor], Point], start: Point, rule: Rule, steps: int, advance: Advance
) -> Point:
    """The attack loop: move, evaluate, keep the best iterate."""
    now = best = start
    rule.start(now)
    for _ in range(steps):
        now = evaluate(rule.move(now))
        best = best.replaced(now.loss > best.loss, now)
        now = rule.look(now, best)
        advance()
    return best


def _starts(problem: Problem, *, restarts: int, norm: str, seed: int) -> Tensor:
    """Where restarts begin in the unit ball, [R, N, …]."""
    decode, codes = problem.decode, problem.codes
    half = (restarts + 1) // 2
    start = random_in_ball((half, *codes.shape), norm=norm, seed=seed).to(codes)
    if restarts > 1:
        _, direction = top_singular(
            decode, codes, iterations=_ITERATIONS, seed=seed, batch=problem.batch
        )
        decode.spent += _ITERATIONS * len(codes)
        start[0] = steepest(direction, norm=norm)
    # a direction and its opposite mostly lead to different maxima
    return torch.stack([start, -start], 1).flatten(0, 1)[:restarts]


def _best_restart(rows: Point, shape: tuple[int, int, int]) -> Point:
    """Rows of E × R × N → those of E × N, the best of the restarts."""
    loss, index = rows.loss.view(shape).max(dim=1)
    n = shape[2]
    first = torch.arange(shape[0], device=loss.device)[:, None] * shape[1] + index  # [E, N]
    row = (first * n + torch.arange(n, device=loss.device)).flatten()
    return Point(rows.delta[row], loss.flatten(), rows.gradient[row])


def _stretched(delta: Tensor, radii: Tensor, neighbour: int) -> Tensor:
    """Perturbations of E × N rows, each taken from the ε ``neighbour`` places before its own."""
    factor = (radii / radii.roll(neighbour)).repeat_interleave(len(delta) // len(radii))
    return over(factor, delta) * delta.view(len(radii), -1).roll(neighbour, 0).view_as(delta)


def _nest(delta: Tensor, loss: Tensor, *, clean_loss: Tensor) -> tuple[Tensor, Tensor]:
    """Let each ball hold the best of every smaller one, δ = 0 being the smallest; ε ascend."""
    delta, loss = delta.clone(), loss.clone()
    best_delta, best_loss = torch.zeros_like(delta[0]), clean_loss
    for e in range(len(delta)):
        better = loss[e] > best_loss
        delta[e] = best_delta = torch.where(over(better, best_delta), delta[e], best_delta)
        loss[e] = best_loss = torch.where(better, loss[e], best_loss)
    return delta, loss


def _joined(points: list[Point]) -> Point:
    return Point(
        torch.cat([p.delta for p in points]),
        torch.cat([p.loss for p in points]),
        torch.cat([p.gradient for p in points]),
    )


def _radii(eps: float | Sequence[float] | Tensor) -> Tensor:
    try:
        radii = torch.as_tensor(eps, dtype=torch.float32).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.empty(0)
    if radii.numel() == 0 or not bool((torch.isfinite(radii) & (radii > 0)).all()):
        raise ValueError(f"eps={eps!r} is not accepted: one or more finite numbers > 0 are")
    return radii


def _rows_at_once(decode: Decode, codes: Tensor) -> int:
    """How many codes to decode at once, from what one more of them stores for its gradient."""
    (one, _), (two, device) = (
        _stored(decode, codes[:1].repeat(n, *[1] * (codes.ndim - 1))) for n in (1, 2)
    )
    memory = torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else _MEMORY
    return int(max(1, memory // max(1, two - one)))


def _stored(decode: Decode, codes: Tensor) -> tuple[int, torch.device]:
    """Bytes that an evaluation stores for its gradient, and where."""
    stored: list[list[Tensor]] = []

    def pack(tensor: Tensor) -> list[Tensor]:
        stored.append([tensor])
        return stored[-1]

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda box: box[0]):
        output = _decode(decode, codes.clone().requires_grad_())
        if not output.requires_grad:
            raise ValueError("decode is not differentiable: its output has no gradient")
    sizes = {}
    for box in stored:
        storage = box.pop().untyped_storage()  # a graph that holds its own output is never freed
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values()), output.device


def _decode_in_batches(decode: Decode, codes: Tensor, batch: int) -> Tensor:
    return torch.cat([_decode(decode, chunk) for chunk in codes.split(batch)])


def _decode(decode: Decode, codes: Tensor) -> Tensor:
    output = decode(codes)
    if not isinstance(output, Tensor) or output.shape[:1] != codes.shape[:1]:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"decode returned {given} for {len(codes)} codes; a tensor [{len(codes)}, …] is accepted"
        )
    return output
