"""The autoencoder: a 4-layer convolutional encoder and a mirrored decoder; fused for inference."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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

    ``image_shape`` is (C, S, S), S a multiple of 16; ``latent`` is d, the size of the code; the
    ``width`` of the first layer doubles with each. A ``stochastic`` encoder gives a variance too.

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
            wanted = "(C, S, S) with S a multiple of 16"
            raise ValueError(f"image_shape must be {wanted}, got {image_shape}")
        check_integer("latent", latent, 1)
        check_integer("width", width, 1)
        self.image_shape, self.latent, self.stochastic = image_shape, latent, stochastic
        sizes, inner = [channels, width, 2 * width, 4 * width, 8 * width], side // 16
        features = sizes[-1] * inner * inner

        encoder: list[nn.Module] = []
        for a, b in pairwise(sizes):
            encoder += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        outputs = 2 * latent if stochastic else latent
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(features, outputs))
        linear = nn.Linear(latent, features, bias=False)
        decoder: list[nn.Module] = [linear, nn.Unflatten(1, (sizes[-1], inner, inner))]
        for i in (4, 3, 2, 1):
            deconvolution = nn.ConvTranspose2d(sizes[i], sizes[i - 1], 4, 2, 1, bias=i == 1)
            decoder += [nn.BatchNorm2d(sizes[i]), nn.ReLU(), deconvolution]
        self.decoder = nn.Sequential(*decoder, nn.Sigmoid())
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Device of the weights, to which inputs are moved."""
        return next(self.parameters()).device

    def encode(self, images: Tensor) -> Posterior:
        """Images [N, C, S, S] in [0, 1] → the posterior over their codes."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            wanted = ("N", *self.image_shape)
            raise ValueError(f"images must have shape {wanted}, got {tuple(images.shape)}")
        out = self.encoder(images.to(self.device, memory_format=torch.channels_last))
        if not self.stochastic:
            return Posterior(out)
        mean, logvar = out.chunk(2, dim=1)
        # exp(±20) is far outside what training reaches; it only keeps a first step from overflow
        return Posterior(mean, logvar.clamp(-20, 20))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, d] → images [N, C, S, S] in [0, 1]."""
        if codes.ndim != 2 or codes.shape[1] != self.latent:
            wanted = ("N", self.latent)
            raise ValueError(f"codes must have shape {wanted}, got {tuple(codes.shape)}")
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
    mean = torch.cat([part.mean for part in parts])
    return Posterior(mean, torch.cat(logvars) if logvars else None)


def fused(model: Autoencoder) -> Autoencoder:
    """A copy that computes the same with fewer operations, in evaluation mode, its weights frozen.

    Batch normalization becomes part of the layer before it. The last transposed convolution becomes
    a convolution to one channel for each pixel of a 2×2 block, which a CPU computes twice as fast.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    *decoder, last, sigmoid = _without_normalization(model.decoder)
    model.encoder = nn.Sequential(*_without_normalization(model.encoder))
    model.decoder = nn.Sequential(*decoder, *_by_blocks(last), sigmoid)
    return model.to(memory_format=torch.channels_last).requires_grad_(False)


def _without_normalization(layers: Iterable[Any]) -> list[Any]:
    """Layers with each batch normalization merged into the linear map before it."""
    kept: list[Any] = []
    for layer in layers:
        normalizes = isinstance(layer, nn.BatchNorm2d)
        if not normalizes:
            kept.append(layer)
        elif isinstance(kept[-1], nn.Unflatten):  # of a linear layer's output, channels × pixels
            linear, scale = kept[-2], layer.weight / (layer.running_var + layer.eps).sqrt()
            pixels = linear.out_features // len(scale)
            linear.weight *= scale.repeat_interleave(pixels)[:, None]
            shift = layer.bias - layer.running_mean * scale
            linear.bias = nn.Parameter(shift.repeat_interleave(pixels))
        else:
            transposed = isinstance(kept[-1], nn.ConvTranspose2d)
            kept[-1] = fuse_conv_bn_eval(kept[-1], layer, transpose=transposed)
    return kept


def _by_blocks(up: Any) -> tuple[nn.Conv2d, nn.PixelShuffle]:
    """A 4×4 transposed convolution of stride 2 as a 3×3 convolution to blocks of 2×2 pixels."""
    inputs, outputs = up.in_channels, up.out_channels
    # output row 2i + a gets input row i + k − 1 by the kernel's row r, for (a, k, r)
    taps = ((0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 2, 0))
    weight = up.weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    for (a, k, r), (b, m, c) in product(taps, taps):
        weight[:, a, b, :, k, m] = up.weight[:, :, r, c].T
    blocks = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
    blocks.weight = nn.Parameter(weight.reshape(4 * outputs, inputs, 3, 3))
    blocks.bias = nn.Parameter(up.bias.repeat_interleave(4))
    return blocks, nn.PixelShuffle(2)
