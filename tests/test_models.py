"""The autoencoder: shapes, posterior, bad input, and the fused form for inference."""

import pytest
import torch
from torch import nn

from lrnb.models import Autoencoder, Posterior, encode
from lrnb.models.autoencoder import fused


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("stochastic", [True, False])
def test_shapes_and_ranges(shape, stochastic):
    model = Autoencoder(image_shape=shape, latent=7, width=4, stochastic=stochastic).eval()
    posterior = model.encode(torch.rand(3, *shape))
    assert posterior.mean.shape == (3, 7)
    assert (posterior.logvar is not None) == stochastic
    images = model.decode(posterior.mean)
    assert images.shape == (3, *shape) and 0 <= images.min() and images.max() <= 1


def test_encoder_and_decoder_have_four_convolutions_each():
    model = Autoencoder()
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.encoder) == 4
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in model.decoder) == 4


def test_sample_has_the_posteriors_mean_and_variance():
    mean, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 2.0]])
    posterior = Posterior(mean.repeat(200_000, 1), logvar.repeat(200_000, 1))
    codes = posterior.sample(torch.Generator().manual_seed(0))
    assert codes.mean(0).tolist() == pytest.approx([1, -2], abs=0.03)
    assert codes.var(0).tolist() == pytest.approx([1, 7.389], rel=0.02)
    assert torch.equal(Posterior(mean).sample(), mean)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 64), (1, 8, 8)])
def test_image_shape_must_be_a_multiple_of_16(shape):
    with pytest.raises(ValueError, match="image_shape"):
        Autoencoder(image_shape=shape)


def test_wrong_inputs_are_named():
    model = Autoencoder(latent=4, width=4)
    with pytest.raises(ValueError, match=r"images must have shape .*, got \(2, 3, 32, 32\)"):
        model.encode(torch.rand(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"codes must have shape .*, got \(2, 5\)"):
        model.decode(torch.rand(2, 5))


@pytest.mark.parametrize("stochastic", [True, False])
def test_encoding_in_batches_equals_encoding_at_once(stochastic):
    model, images = (
        Autoencoder(latent=4, width=4, stochastic=stochastic).eval(),
        torch.rand(7, 1, 32, 32),
    )
    once, batches = encode(model, images), encode(model, images, batch=3)
    torch.testing.assert_close(once.mean, batches.mean)
    assert not once.mean.requires_grad and (once.logvar is not None) == stochastic


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("stochastic", [True, False])
def test_fusing_changes_no_number(shape, stochastic):
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
    images, fast = torch.rand(5, *shape), fused(model)
    codes = fast.encode(images).mean
    torch.testing.assert_close(codes, model.encode(images).mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast.decode(codes), model.decode(codes), rtol=1e-4, atol=1e-5)
    if stochastic:
        logvar = fast.encode(images).logvar, model.encode(images).logvar
        torch.testing.assert_close(*logvar, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
