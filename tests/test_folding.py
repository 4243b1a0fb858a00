"""The folded model computes what the trained one does."""

import pytest
import torch
from torch import nn

from lrnb.folding import folded
from lrnb.models import Autoencoder


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("stochastic", [True, False])
def test_folding_changes_no_number(shape, stochastic):
    torch.manual_seed(0)
    model = Autoencoder(image_shape=shape, latent=7, width=4, stochastic=stochastic)
    for _ in range(3):  # so that the running statistics are not those of a new layer
        model(torch.rand(16, *shape))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.2, 3)
            nn.init.normal_(layer.bias)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, fast = torch.rand(5, *shape), folded(model)
    codes = fast.encode(images).mean
    torch.testing.assert_close(codes, model.encode(images).mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast.decode(codes), model.decode(codes), rtol=1e-4, atol=1e-5)
    if stochastic:
        logvar = fast.encode(images).logvar, model.encode(images).logvar
        torch.testing.assert_close(*logvar, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
