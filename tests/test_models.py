"""The autoencoder's shapes, its posterior, and bad input."""

import pytest
import torch

from lrnb.models import Autoencoder, Posterior


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
    with pytest.raises(ValueError, match=r"images has shape \(2, 3, 32, 32\)"):
        model.encode(torch.rand(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"codes has shape \(2, 5\)"):
        model.decode(torch.rand(2, 5))
