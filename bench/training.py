"""Images a second of training: `lrnb.training` and pythae on the very same layers."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bench.measure import device, measure_together
from lrnb import data
from lrnb.models import Autoencoder
from lrnb.models.training import TrainingSettings, train

LIBRARIES = ("pythae.pipelines",)
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Size:
    """How big the benchmark is.

    Attributes:
        dataset, n: the training images; `epochs`: passes over them.
        batch_size, latent, width: of the training and the network.
    """

    dataset: str
    n: int
    epochs: int
    batch_size: int = 64
    latent: int = 16
    width: int = 16


def full_size() -> Size:
    """4000 images of MNIST where it is present, else all digits; three epochs."""
    return Size("mnist" if data.is_present("mnist") else "digits", n=4000, epochs=3)


def small_size() -> Size:
    """A few batches of digits."""
    return Size("digits", n=256, epochs=1, width=4)


def run(*, small: bool, threads: int) -> dict[str, pd.DataFrame]:
    """Benchmark the training of a VAE, in float32 with Adam.

    Returns:
        "training", one row a trainer and way to run: "trainer", "processes" and "threads" of each,
        "dataset", "images" (seen by each process), "seconds" (the longest of the processes),
        "images_per_second" (summed over processes) and "peak_memory_mb" (summed too).
    """
    size = small_size() if small else full_size()
    ways = [(1, threads)]
    if threads > 1 and device().type == "cpu":
        ways.append((threads, 1))  # one model per core, as `lrnb.train_all` has it
    rows = []
    for processes, each in ways:
        for trainer in _trainers():
            measured = measure_together(_prepare, trainer, size, processes=processes, threads=each)
            rows.append(
                {
                    "trainer": trainer,
                    "processes": processes,
                    "threads": each,
                    "dataset": size.dataset,
                    "images": measured[0].result,
                    "seconds": max(m.seconds for m in measured),
                    "images_per_second": sum(m.result / m.seconds for m in measured),
                    "peak_memory_mb": sum(m.peak_memory_mb for m in measured),
                }
            )
    return {"training": pd.DataFrame(rows)}


def _trainers() -> list[str]:
    return ["lrnb"] + ["pythae"] * (importlib.util.find_spec("pythae") is not None)


def _prepare(trainer: str, size: Size) -> tuple[Callable[[], Any], Callable[[], int]]:
    images = data.load_data(size.dataset, "train", size.n).images
    run_training = {"lrnb": _train_lrnb, "pythae": _train_pythae}[trainer]
    few = images[: 2 * size.batch_size]
    return lambda: run_training(few, size, 1), lambda: run_training(images, size, size.epochs)


def _network(size: Size, images: Tensor) -> Autoencoder:
    channels, height, width = images.shape[1:]
    torch.manual_seed(0)
    return Autoencoder(
        image_shape=(channels, height, width), latent=size.latent, width=size.width
    ).to(device())


def _train_lrnb(images: Tensor, size: Size, epochs: int) -> int:
    """Train; return how many images were seen."""
    settings = TrainingSettings(
        "vae", epochs=epochs, batch_size=size.batch_size, learning_rate=LEARNING_RATE
    )
    train(_network(size, images), images, settings)
    return epochs * (len(images) // size.batch_size) * size.batch_size


def _train_pythae(images: Tensor, size: Size, epochs: int) -> int:
    """Train; return how many images were seen."""
    logging.disable(logging.CRITICAL)
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, images: Tensor) -> ModelOutput:
            out = self.layers(images.contiguous(memory_format=torch.channels_last))
            mean, logvar = out.chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=logvar)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, codes: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(codes))

    network = _network(size, images)
    config = VAEConfig(
        input_dim=network.image_shape, latent_dim=size.latent, reconstruction_loss="mse"
    )
    model = VAE(config, encoder=Encoder(network.encoder), decoder=Decoder(network.decoder))
    silent = contextlib.redirect_stderr(io.StringIO())  # where it shows its progress
    with tempfile.TemporaryDirectory() as folder, silent:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=size.batch_size,
            learning_rate=LEARNING_RATE,
            optimizer_cls="Adam",
        )
        TrainingPipeline(model=model, training_config=settings)(train_data=images)
    return epochs * len(images)
