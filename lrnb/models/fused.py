"""A trained autoencoder fused for inference."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lrnb.models.autoencoder import Autoencoder


def fused(model: Autoencoder) -> Autoencoder:
    """A copy that computes the same with fewer operations, in evaluation mode, its weights frozen.

    Batch normalization becomes part of the layer before it. The last transposed convolution becomes
    a convolution to one channel for each pixel of a 2×2 block, which a CPU computes twice as fast.

    >>> from lrnb.models.autoencoder import Autoencoder
    >>> model = Autoencoder(latent=8, width=4).eval()
    >>> z = torch.randn(5, 8)
    >>> torch.allclose(fused(model).decode(z), model.decode(z), atol=1e-5)
    True
    """
    model = copy.deepcopy(model).eval()
    *decoder, last, sigmoid = _without_normalization(model.decoder)
    assert isinstance(last, nn.ConvTranspose2d)
    model.encoder = nn.Sequential(*_without_normalization(model.encoder))
    model.decoder = nn.Sequential(*decoder, *_by_blocks(last), sigmoid)
    return model.to(memory_format=torch.channels_last).requires_grad_(False)


def _without_normalization(layers: nn.Sequential) -> list[nn.Module]:
    """Layers with each batch normalization merged into the linear map before it."""
    kept: list[nn.Module] = []
    for layer in layers:
        if not isinstance(layer, nn.BatchNorm2d):
            kept.append(layer)
        elif isinstance(kept[-1], nn.ConvTranspose2d):
            kept[-1] = fuse_conv_bn_eval(kept[-1], layer, transpose=True)
        elif isinstance(kept[-1], nn.Conv2d):
            kept[-1] = fuse_conv_bn_eval(kept[-1], layer)
        else:  # an Unflatten, and before it the linear layer
            assert isinstance(kept[-2], nn.Linear)
            kept[-2] = _scaled(kept[-2], layer)
    return kept


def _scaled(linear: nn.Linear, normalization: nn.BatchNorm2d) -> nn.Linear:
    """A linear layer without bias whose output, as channels × pixels, is then normalized."""
    mean, variance = normalization.running_mean, normalization.running_var
    assert mean is not None and variance is not None
    scale = normalization.weight.data / (variance + normalization.eps).sqrt()
    shift = normalization.bias.data - mean * scale
    pixels = linear.out_features // len(scale)
    both = nn.Linear(linear.in_features, linear.out_features).to(linear.weight.device)
    both.weight.data = linear.weight.data * scale.repeat_interleave(pixels)[:, None]
    both.bias.data = shift.repeat_interleave(pixels)
    return both


def _by_blocks(up: nn.ConvTranspose2d) -> tuple[nn.Conv2d, nn.PixelShuffle]:
    """A 4×4 transposed convolution of stride 2 as a 3×3 convolution to blocks of 2×2 pixels."""
    inputs, outputs = up.in_channels, up.out_channels
    blocks = nn.Conv2d(inputs, 4 * outputs, 3, padding=1).to(up.weight.device)
    assert up.bias is not None and blocks.bias is not None
    # output row 2i + a gets input row i + k − 1 by the kernel's row r, for (a, k, r)
    taps = ((0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 2, 0))
    weight = up.weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    for a, k, r in taps:
        for b, m, c in taps:
            weight[:, a, b, :, k, m] = up.weight.data[:, :, r, c].T
    blocks.weight.data = weight.reshape(4 * outputs, inputs, 3, 3)
    blocks.bias.data = up.bias.data.repeat_interleave(4)
    return blocks, nn.PixelShuffle(2)
