"""Training: one loop for every family, with a checkpoint after each epoch and exact resume."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lrnb._progress import bar
from lrnb._store import write_tensors
from lrnb._validation import check_integer, check_name, check_tensor
from lrnb.attacks import attack, squared_distance
from lrnb.models import losses
from lrnb.models.autoencoder import Autoencoder
from lrnb.models.families import FAMILIES, Batch, Family

log = logging.getLogger(__name__)
# and their labels
ADVERSARIAL_FORMS = {"trades": "added term", "maxmin": "max–min"}
History = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is trained.

    Attributes:
        family: a name in `lrnb.models.FAMILIES`; beta: weight of its penalty, 1 being standard.
        batch_size: images a step; the last, smaller batch of an epoch is left out.
        learning_rate: of Adam at the start; it falls to 0 along a cosine.
        seed: of the order of the images and all noise.
        adv_eps: radius of the latent attack in training, for an adversarial family.
        adv_form: "trades" adds λ·max‖D(z+δ) − D(z)‖² to the VAE's loss (after Zhang et al. 2019);
            "maxmin" replaces its reconstruction error by max‖D(z+δ) − x‖² (Madry et al. 2018).
        adv_weight: λ; adv_steps: gradient steps of that attack.
    """

    family: str
    beta: float = 1.0
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0
    adv_eps: float = 0.5
    adv_form: str = "trades"
    adv_weight: float = 1.0
    adv_steps: int = 5

    def __post_init__(self) -> None:
        check_name("family", self.family, FAMILIES)
        check_name("adv_form", self.adv_form, ADVERSARIAL_FORMS)
        # three images are the fewest from which every regularizer can be estimated
        for argument, minimum in (("epochs", 1), ("batch_size", 3), ("adv_steps", 1)):
            check_integer(argument, getattr(self, argument), minimum)


def train(
    model: Autoencoder,
    images: Tensor,
    settings: TrainingSettings,
    *,
    validation: Tensor | None = None,
    checkpoint: Path | None = None,
    label: str | None = None,
) -> History:
    """Train a model in place.

    All randomness of an epoch comes from a generator seeded with (seed, epoch), so a run that is
    resumed from a checkpoint gives the same numbers, bit for bit, as one that was not interrupted.

    Args:
        model: untrained, on the device to train on.
        images: [N, C, S, S] float32 in [0, 1], N ≥ 3.
        validation: images whose mean reconstruction error is recorded after each epoch.
        checkpoint: file that is written after each epoch and resumed from where it exists.
        label: of the progress bar; None shows none.

    Returns:
        One row an epoch: "epoch", the means of "loss", "reconstruction" and "regulariser" (and
        "adversarial") per image, "validation" where given, and "seconds".

    Raises:
        ValueError: images are not as described.
        FloatingPointError: the loss became NaN or infinite.
    """
    check_tensor("images", images, ndim=4)
    if len(images) < 3:
        raise ValueError(f"images must hold at least 3 images, got {len(images)}")
    family = FAMILIES[settings.family]
    images = images.to(model.device, memory_format=torch.channels_last)
    batch_size = min(settings.batch_size, len(images))
    batches = len(images) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    history = _resume(checkpoint, model, optimizer)

    behind = len(history) * batches
    with bar(label, total=settings.epochs * batches, done=behind) as advance:
        for epoch in range(len(history), settings.epochs):
            start = time.perf_counter()
            generator = _generator(model.device, settings.seed, epoch)
            order = torch.randperm(len(images), generator=generator, device=model.device)
            sums: dict[str, Tensor] = {}
            model.train()
            for step, rows in enumerate(order[: batches * batch_size].split(batch_size)):
                done = (epoch + step / batches) / settings.epochs
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
                parts = batch_losses(model, images[rows], settings, family, len(images), generator)
                optimizer.zero_grad(set_to_none=True)
                parts["loss"].backward()
                optimizer.step()
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0) + value.detach()
                advance()
            model.eval()
            row = {"epoch": epoch + 1.0}
            row |= {name: float(value) / batches for name, value in sums.items()}
            if not math.isfinite(row["loss"]):
                raise FloatingPointError(
                    f"the loss of {settings} became {row['loss']} in epoch {epoch + 1}"
                )
            if validation is not None:
                row["validation"] = reconstruction_error(model, validation)
            row["seconds"] = time.perf_counter() - start
            history.append(row)
            if checkpoint is not None:
                _save_checkpoint(checkpoint, model, optimizer, history)
    model.eval()
    return history


def batch_losses(
    model: Autoencoder,
    images: Tensor,
    settings: TrainingSettings,
    family: Family,
    n_data: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The loss of one batch and its parts, scalars, means per image."""
    posterior = model.encode(images)
    codes = posterior.sample(generator)
    if not family.adversarial:
        outputs = model.decode(codes)
    else:
        seed = int(torch.randint(2**31, (1,), generator=generator, device=images.device))
        attacked = codes + worst_perturbation(model, codes, images, settings, seed)
        # one batch for both, so that both pass through the same batch normalization
        outputs, attacked_outputs = model.decode(torch.cat([codes, attacked])).chunk(2)
    parts = {
        "reconstruction": losses.reconstruction(images, outputs).mean(),
        "regulariser": family.penalty(Batch(codes, posterior, n_data, generator), settings.beta),
    }
    if not family.adversarial:
        loss = parts["reconstruction"] + parts["regulariser"]
    elif settings.adv_form == "trades":
        parts["adversarial"] = losses.reconstruction(outputs, attacked_outputs).mean()
        clean = parts["reconstruction"] + parts["regulariser"]
        loss = clean + settings.adv_weight * parts["adversarial"]
    else:
        parts["adversarial"] = losses.reconstruction(images, attacked_outputs).mean()
        loss = parts["adversarial"] + parts["regulariser"]
    return {"loss": loss, **parts}


def worst_perturbation(
    model: Autoencoder, codes: Tensor, images: Tensor, settings: TrainingSettings, seed: int
) -> Tensor:
    """δ [B, d] that a short attack finds, with the statistics of batch normalization frozen."""
    with _evaluating(model):
        hit = attack(
            model.decode,
            codes.detach(),
            target=images if settings.adv_form == "maxmin" else None,
            objective=squared_distance,
            eps=settings.adv_eps,
            steps=settings.adv_steps,
            restarts=1,
            seed=seed,
        )
    return hit.delta[0]


@torch.no_grad()
def reconstruction_error(model: Autoencoder, images: Tensor, *, batch: int = 500) -> float:
    """Mean over images of the squared error of the reconstruction, summed over pixels."""
    errors = [
        losses.reconstruction(chunk.to(model.device), model(chunk)) for chunk in images.split(batch)
    ]
    return float(torch.cat(errors).mean())


@contextlib.contextmanager
def _evaluating(model: Autoencoder) -> Generator[None, None, None]:
    model.eval()
    try:
        yield
    finally:
        model.train()


def _generator(device: torch.device, seed: int, epoch: int) -> torch.Generator:
    # (torch's generator on a CPU takes only 32 bits of its seed, so the two are hashed)
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(mixed))


def _save_checkpoint(
    file: Path, model: Autoencoder, optimizer: torch.optim.Optimizer, history: History
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{name}": value for name, value in state.items()}
    write_tensors(file, tensors, {"history": json.dumps(history)})


def _resume(file: Path | None, model: Autoencoder, optimizer: torch.optim.Optimizer) -> History:
    if file is None or not file.is_file():
        return []
    weights: dict[str, Tensor] = {}
    states: dict[int, dict[str, Tensor]] = {}
    try:
        content = safe_open(file, framework="pt")
    except SafetensorError as error:  # cut off by a full disk, say
        log.warning("%s is damaged (%s); training starts again", file, error)
        return []
    with content:
        history: History = json.loads(content.metadata()["history"])
        for name in content.keys():  # noqa: SIM118 (not a dict)
            kind, rest = name.split(".", 1)
            if kind == "model":
                weights[rest] = content.get_tensor(name)
            else:
                i, entry = rest.split(".", 1)
                states.setdefault(int(i), {})[entry] = content.get_tensor(name)
    model.load_state_dict(weights)
    for i, parameter in enumerate(model.parameters()):
        for entry in ("exp_avg", "exp_avg_sq"):  # the fused step wants the parameter's own layout
            states[i][entry] = torch.empty_like(parameter).copy_(states[i][entry])
    now: dict[str, Any] = optimizer.state_dict()
    optimizer.load_state_dict({"state": states, "param_groups": now["param_groups"]})
    return history
