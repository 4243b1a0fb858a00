"""The latent attack: which bounded perturbation of a code damages its decoding most.

An attack is composed of an objective (what is maximised, per sample), a ball (where δ may lie) and
a step rule (how δ moves). All ε, restarts and samples are solved in one batch. Nothing here knows
any model: the decoder is a callable from codes [N, …] to outputs [N, …].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrnb import checks
from lrnb.progress import Advance, task

Decode = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]

NORMS = ("l2", "linf")
METHODS = ("pgd", "apgd")


@dataclass(frozen=True)
class Attack:
    """What an attack found. E is the number of ε, N of codes.

    Attributes:
        eps: [E], radii of the balls, in units of the code.
        delta: [E, N, …], the best perturbations, ‖delta[e, n]‖ ≤ eps[e].
        images: [E, N, …], the decoder's outputs at code + delta.
        clean: [N, …], the decoder's outputs at the codes.
        loss: [E, N], the objective reached; it does not fall from one ε to the next larger.
        decodes: decoder evaluations spent, forward passes counted per code.
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
    method: str = "pgd",
    steps: int = 40,
    restarts: int = 4,
    objective: Objective | None = None,
    seed: int = 0,
    batch: int = 1024,
    progress: str | None = None,
) -> Attack:
    """Find for each code and each ε the perturbation in the ball that does most to its decoding.

    Every restart begins at a random point of the ball. The best point that was evaluated is kept
    per sample over all steps and restarts, the unperturbed code included; since balls are nested,
    the best of a smaller ε also stands for a larger one, so losses rise with ε.

    Args:
        decode: differentiable map from codes [B, …] to outputs [B, …], in evaluation mode.
        codes: [N, …], finite floating-point.
        eps: one radius or several, each > 0, in units of the code.
        target: outputs to steer towards, [N, …]; None for the untargeted attack.
        norm: "l2" or "linf", the norm over all entries of one code's δ.
        method: "pgd", projected gradient descent (Madry et al. 2018) with steps that fall from 2ε
            to 0 along a cosine, or "apgd", with momentum and halving steps (Croce & Hein 2020).
        steps: gradient steps of each restart, ≥ 1.
        restarts: random starts, ≥ 1.
        objective: what to maximise, called with outputs [B, …] and reference [B, …], returning
            [B]. The reference is the target if there is one, else the clean output. By default
            `squared_distance` without a target and `closeness` with one.
        seed: of the random starts.
        batch: codes decoded at once; bounds the memory and does not change the result.
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
    for argument, given in (("steps", steps), ("restarts", restarts), ("batch", batch)):
        checks.at_least(argument, given, 1)
    codes = checks.finite_batch("codes", codes, least=2).detach()
    radii = _radii(eps).to(codes)
    with torch.no_grad():
        clean = _decode_in_batches(decode, codes, batch)
        checks.finite_batch("the decoder's output", clean)
    codes, radii = codes.to(clean.device), radii.to(clean.device)
    if target is not None:
        checks.finite_batch("target", target)
        checks.same_shape("the decoder's output", clean, "target", target)
        target = target.detach().to(clean)
    reference = clean if target is None else target
    score = objective or (squared_distance if target is None else closeness)

    # the rows of one batched problem: every ε × restart × sample
    n, shape = len(codes), (len(radii), restarts, len(codes))
    start = random_in_ball((restarts, *codes.shape), norm=norm, seed=seed).to(codes)
    start = (radii.view(-1, *[1] * start.ndim) * start).flatten(0, 2)
    row_eps = radii.repeat_interleave(restarts * n)
    sample = torch.arange(n, device=codes.device).repeat(len(radii) * restarts)
    chunks = torch.arange(len(sample), device=codes.device).split(batch)
    found = []
    with task(progress, total=len(chunks) * steps) as advance:
        for rows in chunks:
            rule = _RULES[method](row_eps[rows], norm=norm, steps=steps)
            z, towards = codes[sample[rows]], reference[sample[rows]]
            found.append(_ascend(decode, z, towards, start[rows], score, rule, steps, advance))

    with torch.no_grad():
        delta = torch.cat([delta for delta, _ in found]).view(*shape, *codes.shape[1:])
        loss = torch.cat([loss for _, loss in found]).view(shape)
        delta, loss = _best_restart(delta, loss)
        if bool((loss == -math.inf).any()):
            raise ValueError("decode or objective returned NaN wherever it was evaluated in a ball")
        delta, loss = _nest(delta, loss, radii, clean_loss=score(clean, reference))
        images = torch.stack([_decode_in_batches(decode, codes + d, batch) for d in delta])
    decodes = n + len(sample) * (steps + 1) + len(radii) * n
    return Attack(radii, delta, images, clean, loss, decodes, norm, method)


def length(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation, [B, …] → [B]."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def project(delta: Tensor, eps: Tensor, *, norm: str) -> Tensor:
    """The nearest point of the ball: δ [B, …] into radius ε [B].

    >>> project(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0]), norm="l2")
    tensor([[0.6000, 0.8000]])
    """
    eps = _over(eps, delta)
    if norm == "linf":
        return torch.maximum(torch.minimum(delta, eps), -eps)
    return delta * (eps / _over(length(delta, norm), delta).clamp_min(_TINY)).clamp_max(1)


def steepest(gradient: Tensor, *, norm: str) -> Tensor:
    """The unit step of the ball's norm along which a gradient [B, …] rises most; 0 where it is 0."""
    if norm == "linf":
        return gradient.sign()
    # scaled by its largest entry first, so that the squares of a tiny gradient do not underflow
    scaled = gradient / _over(length(gradient, "linf"), gradient).clamp_min(_TINY)
    return scaled / _over(length(scaled, "l2"), gradient).clamp_min(_TINY)


def random_in_ball(shape: Sequence[int], *, norm: str, seed: int) -> Tensor:
    """Points uniform in the unit ball, [R, N, …]: one ball for each of the first two axes."""
    generator = torch.Generator().manual_seed(seed)
    if norm == "linf":
        return torch.rand(tuple(shape), generator=generator) * 2 - 1
    towards = random_on_sphere(shape, norm=norm, generator=generator)
    size = towards[0, 0].numel()
    radius = torch.rand(tuple(shape[:2]), generator=generator) ** (1 / size)
    return towards * _over(radius, towards)


def random_on_sphere(shape: Sequence[int], *, norm: str, generator: torch.Generator) -> Tensor:
    """Points of norm 1, [R, N, …], uniform in direction (L2) or on the cube's faces (L∞)."""
    if norm == "linf":
        cube = torch.rand(tuple(shape), generator=generator) * 2 - 1
        return cube / _over(cube.flatten(2).abs().amax(2), cube)
    normal = torch.randn(tuple(shape), generator=generator)
    return normal / _over(normal.flatten(2).norm(dim=2), normal)


class _FallingStep:
    """PGD, its steps falling from 2ε to 0 along a cosine.

    The worst δ mostly lies on the sphere, where a step turns δ towards the gradient. The customary
    constant step of 2.5·ε/steps turns it by 2.5 radians in all, whatever the number of steps, and
    stops short. Long steps first arrive; short ones last settle where the best δ is inside.
    """

    def __init__(self, eps: Tensor, *, norm: str, steps: int) -> None:
        self.eps, self.norm, self.steps, self.done = eps, norm, steps, 0

    def start(self, point: _Point) -> None:
        pass

    def move(self, delta: Tensor, gradient: Tensor) -> Tensor:
        step = self.eps * (1 + math.cos(math.pi * self.done / self.steps))
        self.done += 1
        moved = delta + _over(step, delta) * steepest(gradient, norm=self.norm)
        return project(moved, self.eps, norm=self.norm)

    def look(self, now: _Point, best: _Point) -> _Point:
        return now


class _AdaptiveStep:
    """APGD (Croce & Hein 2020, algorithm 1): momentum; steps halve when progress stalls."""

    def __init__(self, eps: Tensor, *, norm: str, steps: int) -> None:
        self.eps, self.norm = eps, norm
        self.step = 2 * eps
        self.before: Tensor | None = None
        self.rises = torch.zeros_like(eps)
        self.since, self.window = 0, max(1, round(0.22 * steps))
        self.shrink, self.shortest = max(1, round(0.03 * steps)), max(1, round(0.06 * steps))
        self.halved = torch.zeros_like(eps, dtype=torch.bool)

    def start(self, point: _Point) -> None:
        self.loss = self.best_then = point.loss

    def move(self, delta: Tensor, gradient: Tensor) -> Tensor:
        ahead = delta + _over(self.step, delta) * steepest(gradient, norm=self.norm)
        ahead = project(ahead, self.eps, norm=self.norm)
        if self.before is not None:
            ahead = delta + 0.75 * (ahead - delta) + 0.25 * (delta - self.before)
            ahead = project(ahead, self.eps, norm=self.norm)
        self.before = delta
        return ahead

    def look(self, now: _Point, best: _Point) -> _Point:
        self.rises += now.loss > self.loss
        self.loss = now.loss
        self.since += 1
        if self.since < self.window or self.before is None:
            return now
        few_rises = self.rises <= 0.75 * self.since
        stuck = ~self.halved & (best.loss <= self.best_then)
        self.halved, self.best_then = few_rises | stuck, best.loss
        self.step = torch.where(self.halved, self.step / 2, self.step)
        self.rises, self.since = torch.zeros_like(self.rises), 0
        self.window = max(self.window - self.shrink, self.shortest)
        self.before = torch.where(_over(self.halved, best.delta), best.delta, self.before)
        back = now.replaced(self.halved, best)
        self.loss = back.loss
        return back


_RULES: dict[str, type[_FallingStep] | type[_AdaptiveStep]] = {
    "pgd": _FallingStep,
    "apgd": _AdaptiveStep,
}
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class _Point:
    delta: Tensor
    loss: Tensor
    gradient: Tensor

    def replaced(self, where: Tensor, other: _Point) -> _Point:
        over = _over(where, self.delta)
        return _Point(
            torch.where(over, other.delta, self.delta),
            torch.where(where, other.loss, self.loss),
            torch.where(over, other.gradient, self.gradient),
        )


def _ascend(
    decode: Decode,
    codes: Tensor,
    reference: Tensor,
    start: Tensor,
    score: Objective,
    rule: _FallingStep | _AdaptiveStep,
    steps: int,
    advance: Advance,
) -> tuple[Tensor, Tensor]:
    """The attack loop: move, evaluate, keep the best iterate. Returns δ [B, …] and its loss [B]."""

    def evaluate(delta: Tensor) -> _Point:
        with torch.enable_grad():
            delta = delta.detach().requires_grad_()
            loss = score(decode(codes + delta), reference)
            if loss.shape != codes.shape[:1]:
                raise ValueError(
                    f"objective returned shape {tuple(loss.shape)}; "
                    f"one score per sample is accepted, {tuple(codes.shape[:1])}"
                )
            if not loss.requires_grad:
                raise ValueError("decode is not differentiable: its output has no gradient")
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
        loss = loss.detach().nan_to_num(nan=-math.inf)  # what is not a number is never the best
        return _Point(delta.detach(), loss, gradient)

    now = best = evaluate(start)
    rule.start(now)
    for _ in range(steps):
        now = evaluate(rule.move(now.delta, now.gradient))
        best = best.replaced(now.loss > best.loss, now)
        now = rule.look(now, best)
        advance()
    return best.delta, best.loss


def _best_restart(delta: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Over axis 1: δ [E, R, N, …] and loss [E, R, N] → [E, N, …] and [E, N]."""
    loss, index = loss.max(dim=1)
    index = index[:, None].reshape(len(loss), 1, -1, *[1] * (delta.ndim - 3))
    return torch.take_along_dim(delta, index, dim=1).squeeze(1), loss


def _nest(
    delta: Tensor, loss: Tensor, radii: Tensor, *, clean_loss: Tensor
) -> tuple[Tensor, Tensor]:
    """Let each ball hold the best of every smaller ball, δ = 0 being the smallest."""
    delta, loss = delta.clone(), loss.clone()
    best_delta, best_loss = torch.zeros_like(delta[0]), clean_loss
    for e in radii.argsort().tolist():
        better = loss[e] > best_loss
        delta[e] = best_delta = torch.where(_over(better, best_delta), delta[e], best_delta)
        loss[e] = best_loss = torch.where(better, loss[e], best_loss)
    return delta, loss


def _radii(eps: float | Sequence[float] | Tensor) -> Tensor:
    try:
        radii = torch.as_tensor(eps, dtype=torch.float32).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.empty(0)
    if radii.numel() == 0 or not bool((torch.isfinite(radii) & (radii > 0)).all()):
        raise ValueError(f"eps={eps!r} is not accepted: one or more finite numbers > 0 are")
    return radii


def _decode_in_batches(decode: Decode, codes: Tensor, batch: int) -> Tensor:
    outputs = []
    for chunk in codes.split(batch):
        output = decode(chunk)
        if not isinstance(output, Tensor) or output.shape[:1] != chunk.shape[:1]:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"decode returned {given} for {len(chunk)} codes; a tensor [{len(chunk)}, …] is accepted"
            )
        outputs.append(output)
    return torch.cat(outputs)


def _over(values: Tensor, like: Tensor) -> Tensor:
    """Per-sample values, shaped so that they broadcast over the remaining axes of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
