"""Training: one loop for every family, with a checkpoint after each epoch and exact resume."""

import io
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrnb import _store
from lrnb._progress import bar
from lrnb._validation import check_integer, check_name, check_number, check_tensor
from lrnb.attacks import attack, squared_distance
from lrnb.models import losses
from lrnb.models.autoencoder import Autoencoder
from lrnb.models.families import FAMILIES, Batch, Family

log = logging.getLogger(__name__)
ADVERSARIAL_FORMS = {"trades": "added term", "maxmin": "max–min"}  # and their labels
History = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is trained.

    ``adv_form`` "trades" adds λ·max‖D(z+δ) − D(z)‖² to the VAE's loss (after Zhang et al. 2019);
    "maxmin" replaces its reconstruction error by max‖D(z+δ) − x‖² (Madry et al. 2018).
    """

    family: str  # a name in `lrnb.models.FAMILIES`
    beta: float = 1.0  # weight of its penalty, 1 being standard
    epochs: int = 20
    batch_size: int = 64  # the last, smaller batch of an epoch is left out
    learning_rate: float = 2e-3  # of Adam at the start; it falls to 0 along a cosine
    seed: int = 0  # of the order of the images and all noise
    adv_eps: float = 0.5  # radius of the latent attack in training, for an adversarial family
    adv_form: str = "trades"
    adv_weight: float = 1.0  # λ
    adv_steps: int = 5  # gradient steps of that attack

    def __post_init__(self) -> None:
        check_name("family", self.family, FAMILIES)
        check_name("adv_form", self.adv_form, ADVERSARIAL_FORMS)
        check_number("learning_rate", self.learning_rate, 0, above=True)
        check_integer("epochs", self.epochs, 1)
        check_integer("batch_size", self.batch_size, 3)  # the fewest that every penalty needs
        check_integer("adv_steps", self.adv_steps, 1)


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
        images: [N, C, S, S] in [0, 1], N ≥ 3; else a ValueError.
        validation: images whose mean reconstruction error is recorded after each epoch.
        checkpoint: file that is written after each epoch and resumed from where it exists.
        label: of the progress bar; None shows none.

    Returns:
        One row an epoch: "epoch", the means of "loss", "reconstruction" and "regulariser" (and
        "adversarial") per image, "validation" where given, and "seconds". A FloatingPointError is
        raised where the loss is not finite.
    """
    check_tensor("images", images, ndim=4)
    if len(images) < 3:
        raise ValueError(f"images must hold at least 3 images, got {len(images)}")
    family = FAMILIES[settings.family]
    images = images.to(model.device, memory_format=torch.channels_last)
    batch_size = min(settings.batch_size, len(images))
    batches = len(images) // batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    work = asdict(settings) | {"images": len(images)}
    history = _resume(checkpoint, model, optimizer, work)
    with bar(label, total=settings.epochs * batches, done=len(history) * batches) as advance:
        for epoch in range(len(history), settings.epochs):
            start = time.perf_counter()
            # (torch's generator on a CPU takes only 32 bits of its seed, so the two are hashed)
            mixed = np.random.SeedSequence([settings.seed, epoch]).generate_state(1)[0]
            generator = torch.Generator(model.device).manual_seed(int(mixed))
            order = torch.randperm(len(images), generator=generator, device=model.device)
            sums: dict[str, Tensor] = {}
            model.train()
            for step, rows in enumerate(order[: batches * batch_size].split(batch_size)):
                done = (epoch + step / batches) / settings.epochs
                rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
                optimizer.param_groups[0]["lr"] = rate
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
                content = io.BytesIO()
                torch.save((work, model.state_dict(), optimizer.state_dict(), history), content)
                _store.write_checked(checkpoint, content.getvalue())
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
    if family.adversarial:
        seed = int(torch.randint(2**31, (1,), generator=generator, device=images.device))
        delta = worst_perturbation(model, codes, images, settings, seed)
        # one batch for both, so that both pass through the same batch normalization
        outputs, attacked = model.decode(torch.cat([codes, codes + delta])).chunk(2)
    else:
        outputs = model.decode(codes)
    error = losses.reconstruction(images, outputs).mean()
    penalty = family.penalty(Batch(codes, posterior, n_data, generator, outputs), settings.beta)
    parts = {"loss": error + penalty, "reconstruction": error, "regulariser": penalty}
    if family.adversarial and settings.adv_form == "trades":
        parts["adversarial"] = losses.reconstruction(outputs, attacked).mean()
        parts["loss"] = error + penalty + settings.adv_weight * parts["adversarial"]
    elif family.adversarial:
        parts["adversarial"] = losses.reconstruction(images, attacked).mean()
        parts["loss"] = parts["adversarial"] + penalty
    return parts


def worst_perturbation(
    model: Autoencoder, codes: Tensor, images: Tensor, settings: TrainingSettings, seed: int
) -> Tensor:
    """δ [B, d] that a short attack finds, with the statistics of batch normalization frozen."""
    model.eval()
    target = images if settings.adv_form == "maxmin" else None
    hit = attack(model.decode, codes.detach(), target=target, objective=squared_distance,
                 eps=settings.adv_eps, steps=settings.adv_steps, restarts=1, seed=seed)  # fmt: skip
    model.train()
    return hit.delta[0]


@torch.no_grad()
def reconstruction_error(model: Autoencoder, images: Tensor, *, batch: int = 500) -> float:
    """Mean over images of the squared error of the reconstruction, summed over pixels."""
    chunks = images.split(batch)
    errors = [losses.reconstruction(chunk.to(model.device), model(chunk)) for chunk in chunks]
    return float(torch.cat(errors).mean())


def _resume(
    file: Path | None, model: Autoencoder, optimizer: torch.optim.Optimizer, work: dict[str, object]
) -> History:
    """Go on from a checkpoint of the same work; start again where it is damaged or another's."""
    content = _store.read_checked(file) if file is not None else None
    found: Any = [None]
    if content:
        found = torch.load(io.BytesIO(content), model.device, weights_only=True)
    if found[0] != work:
        if file is not None and file.is_file():
            log.warning("%s is damaged or of another training, which starts again", file)
        return []
    _, weights, moments, history = found
    model.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    return list(history)
