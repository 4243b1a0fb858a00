"""What an attack maximizes: a decoder, codes, an objective; decoders that cannot be attacked."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from lrnb._validation import check_callable, check_integer, check_same_shape, check_tensor

Decode = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]

# what an evaluation may store for its gradient on a CPU: larger blocks go back to the system each
# time they are freed, and getting them anew halves the speed (measured)
_CPU_BYTES = 16 * 2**20
_GPU_BYTES = 2**29  # fills a GPU, and leaves room for other processes


def squared_distance(outputs: Tensor, reference: Tensor) -> Tensor:
    """‖outputs − reference‖² per sample, [B]."""
    return (outputs - reference).flatten(1).square().sum(1)


class Problem:
    """What `lrnb.attack`, whose arguments are checked, maximizes.

    The ``score`` of outputs and ``reference``, which is ``clean``, the outputs at the ``codes``, or
    the target, all [N, …]. ``batch`` codes are decoded at once, ``spent`` were decoded so far.
    """

    def __init__(
        self,
        decode: Decode,
        codes: Tensor,
        target: Tensor | None = None,
        objective: Objective | None = None,
        batch: int | None = None,
    ) -> None:
        codes = check_tensor("codes", codes, min_ndim=2).detach()
        check_integer("batch", 1 if batch is None else batch, 1)
        check_callable("decode", decode)
        check_callable("objective", squared_distance if objective is None else objective)
        self.decoder, self.spent = decode, 0
        one, device = self._stored_bytes(codes[[0]])
        if batch is None:  # from what one more code stores for its gradient
            two, _ = self._stored_bytes(codes[[0, 0]])
            cuda = device.type == "cuda"
            free = torch.cuda.mem_get_info(device)[0] if cuda else 0
            memory = min(_GPU_BYTES, free // 4) if cuda else _CPU_BYTES
            batch = max(1, memory // max(1, two - one))
        self.batch = batch
        self.clean = self.reference = check_tensor("the decoder's output", self.outputs(codes))
        self.codes = codes.to(self.clean.device)
        self.score = objective or squared_distance
        if target is not None:
            check_tensor("target", target)
            check_same_shape("the decoder's output", self.clean, "target", target)
            self.reference = target.detach().to(self.clean)
            self.score = objective or (lambda outputs, target: -squared_distance(outputs, target))

    def decode(self, codes: Tensor) -> Tensor:
        """The outputs at codes, which are counted."""
        self.spent += len(codes)
        output = self.decoder(codes)
        if not isinstance(output, Tensor) or output.shape[:1] != codes.shape[:1]:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            n = len(codes)
            raise ValueError(f"decode must return a tensor [{n}, …] for {n} codes, got {given}")
        return output

    @torch.no_grad()
    def outputs(self, codes: Tensor) -> Tensor:
        """The outputs at many codes, without gradient."""
        return torch.cat([self.decode(chunk) for chunk in codes.split(self.batch)])

    @torch.no_grad()
    def scores(self, outputs: Tensor) -> Tensor:
        """The objective at outputs of all codes, [N]."""
        return self.score(outputs, self.reference)

    def _stored_bytes(self, codes: Tensor) -> tuple[int, torch.device]:
        """Bytes that an evaluation stores for its gradient, and where."""
        sizes: dict[int, int] = {}
        boxes: list[list[Tensor]] = []

        def pack(tensor: Tensor) -> list[Tensor]:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            boxes.append([tensor])
            return boxes[-1]

        with torch.enable_grad(), saved_tensors_hooks(pack, lambda box: box[0]):
            output = self.decode(codes.clone().requires_grad_())
        for box in boxes:
            box.clear()  # a graph that holds its own output is never freed
        if not output.requires_grad:
            raise ValueError("decode must be differentiable, got an output without gradient")
        return sum(sizes.values()), output.device
