"""What an attack maximizes: a decoder, codes, an objective; decoders that cannot be attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from lrnb._validation import check_integer, check_same_shape, check_tensor

Decode = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]

# what an evaluation may store for its gradient on a CPU: larger blocks go back to the system each
# time they are freed, and getting them anew halves the speed (measured)
_CPU_BYTES = 16 * 2**20


def squared_distance(outputs: Tensor, reference: Tensor) -> Tensor:
    """‖outputs − reference‖² per sample, [B]: maximized by the untargeted attack."""
    return (outputs - reference).flatten(1).square().sum(1)


def negative_squared_distance(outputs: Tensor, reference: Tensor) -> Tensor:
    """−‖outputs − reference‖² per sample, [B]: maximized by the targeted attack."""
    return -squared_distance(outputs, reference)


class CountedDecoder:
    """A decoder that counts the codes it was given."""

    def __init__(self, decode: Decode) -> None:
        self.decode, self.spent = decode, 0

    def __call__(self, codes: Tensor) -> Tensor:
        self.spent += len(codes)
        return self.decode(codes)


@dataclass(frozen=True)
class Problem:
    """What is maximized. Perturbations of it are rows [B, …], of code 0 to N − 1 over and over.

    Attributes:
        decode: counts the codes it decodes.
        codes: [N, …]; clean: their outputs; reference: what outputs are compared with, [N, …].
        score: the objective.
        batch: codes decoded at once.
    """

    decode: CountedDecoder
    codes: Tensor
    clean: Tensor
    reference: Tensor
    score: Objective
    batch: int

    @torch.no_grad()
    def outputs(self, delta: Tensor) -> Tensor:
        """The decoder's outputs at one perturbation a code, [N, …], without gradient."""
        return _decode_in_batches(self.decode, self.codes + delta, self.batch)

    @torch.no_grad()
    def scores(self, outputs: Tensor) -> Tensor:
        """The objective at outputs of all codes, [N]."""
        return self.score(outputs, self.reference)


def new_problem(
    decode: Decode,
    codes: Tensor,
    *,
    target: Tensor | None,
    objective: Objective | None,
    batch: int | None,
) -> Problem:
    """Check the decoder and the codes, decode them once, and choose objective and batch.

    Raises:
        ValueError: as `lrnb.attack`.
    """
    codes = check_tensor("codes", codes, min_ndim=2).detach()
    check_integer("batch", 1 if batch is None else batch, 1)
    counted = CountedDecoder(decode)
    if batch is None:
        batch = _affordable_batch(counted, codes)
    else:
        _stored_bytes(counted, codes[:1])  # refuses a decoder that cannot be differentiated
    with torch.no_grad():
        clean = _decode_in_batches(counted, codes, batch)
    check_tensor("the decoder's output", clean)
    if target is not None:
        check_tensor("target", target)
        check_same_shape("the decoder's output", clean, "target", target)
        target = target.detach().to(clean)
    score = objective or (squared_distance if target is None else negative_squared_distance)
    reference = clean if target is None else target
    return Problem(counted, codes.to(clean.device), clean, reference, score, batch)


def _affordable_batch(decode: Decode, codes: Tensor) -> int:
    """How many codes to decode at once, from what one more of them stores for its gradient."""
    (one, _), (two, device) = (
        _stored_bytes(decode, codes[:1].repeat(n, *[1] * (codes.ndim - 1))) for n in (1, 2)
    )
    memory = torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else _CPU_BYTES
    return int(max(1, memory // max(1, two - one)))


def _stored_bytes(decode: Decode, codes: Tensor) -> tuple[int, torch.device]:
    """Bytes that an evaluation stores for its gradient, and where."""
    stored: list[list[Tensor]] = []

    def pack(tensor: Tensor) -> list[Tensor]:
        stored.append([tensor])
        return stored[-1]

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda box: box[0]):
        output = _decode(decode, codes.clone().requires_grad_())
        if not output.requires_grad:
            raise ValueError("decode must be differentiable, got an output without gradient")
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
        n = len(codes)
        raise ValueError(f"decode must return a tensor [{n}, …] for {n} codes, got {given}")
    return output
