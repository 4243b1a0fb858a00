"""The autoencoder: a 4-layer convolutional encoder and a mirrored decoder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrnb._validation import check_integer


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over codes: mean [N, d], logvar [N, d] or None for a deterministic code."""

    mean: Tensor
    logvar: Tensor | None = None

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one code per sample, [N, d]; the mean itself where there is no variance."""
        if self.logvar is None:
            return self.mean
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + noise * torch.exp(0.5 * self.logvar)


class Autoencoder(nn.Module):
    """Encoder and decoder of four strided convolutions each, with batch normalization.

    Args:
        image_shape: (C, S, S), S a multiple of 16.
        latent: d, the size of the code.
        width: channels of the first layer; they double with each layer.
        stochastic: whether the encoder gives a variance as well as a mean.

    Inputs may lie on any device; they are moved to the model's.

    >>> model = Autoencoder(image_shape=(1, 32, 32), latent=8, width=4).eval()
    >>> code = model.encode(torch.rand(5, 1, 32, 32)).mean
    >>> code.shape, model.decode(code).shape
    (torch.Size([5, 8]), torch.Size([5, 1, 32, 32]))
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (1, 32, 32),
        latent: int = 16,
        width: int = 32,
        stochastic: bool = True,
    ) -> None:
        super().__init__()
        channels, side, other = image_shape
        if side != other or side < 16 or side % 16:
            raise ValueError(
                f"image_shape must be (C, S, S) with S a multiple of 16, got {image_shape}"
            )
        check_integer("latent", latent, 1)
        check_integer("width", width, 1)
        self.image_shape, self.latent, self.stochastic = image_shape, latent, stochastic
        sizes = [channels, width, 2 * width, 4 * width, 8 * width]
        inner = side // 16
        features = sizes[-1] * inner * inner

        encoder: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            encoder += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        outputs = 2 * latent if stochastic else latent
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(features, outputs))

        decoder: list[nn.Module] = [
            nn.Linear(latent, features, bias=False),
            nn.Unflatten(1, (sizes[-1], inner, inner)),
        ]
        for i in (4, 3, 2, 1):
            deconvolution = nn.ConvTranspose2d(sizes[i], sizes[i - 1], 4, 2, 1, bias=i == 1)
            decoder += [nn.BatchNorm2d(sizes[i]), nn.ReLU(), deconvolution]
        self.decoder = nn.Sequential(*decoder, nn.Sigmoid())
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def encode(self, images: Tensor) -> Posterior:
        """Images [N, C, S, S] in [0, 1] → the posterior over their codes."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            wanted = ("N", *self.image_shape)
            raise ValueError(f"images must have shape {wanted}, got {tuple(images.shape)}")
        images = images.to(self.device, memory_format=torch.channels_last)
        out = self.encoder(images)
        if not self.stochastic:
            return Posterior(out)
        mean, logvar = out.chunk(2, dim=1)
        # exp(±20) is far outside what training reaches; it only keeps a first step from overflow
        return Posterior(mean, logvar.clamp(-20, 20))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, d] → images [N, C, S, S] in [0, 1]."""
        if codes.ndim != 2 or codes.shape[1] != self.latent:
            raise ValueError(
                f"codes must have shape ('N', {self.latent}), got {tuple(codes.shape)}"
            )
        images: Tensor = self.decoder(codes.to(self.device))
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images from the mean of their posterior."""
        return self.decode(self.encode(images).mean)


@torch.no_grad()
def encode(model: Autoencoder, images: Tensor, *, batch: int = 500) -> Posterior:
    """The posteriors of many images, batch by batch, without gradient: mean and logvar [N, d]."""
    parts = [model.encode(chunk) for chunk in images.split(batch)]
    logvars = [part.logvar for part in parts if part.logvar is not None]
    return Posterior(
        torch.cat([part.mean for part in parts]), torch.cat(logvars) if logvars else None
    )
