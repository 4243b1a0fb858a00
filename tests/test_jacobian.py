"""The largest singular value of the decoder's Jacobian, against its decomposition."""

import pytest
import torch

from lrnb.attacks import largest_singular
from lrnb.models import Autoencoder


def test_against_the_singular_value_decomposition():
    torch.manual_seed(0)
    decode = Autoencoder(latent=6, width=4).eval().requires_grad_(False).decode
    z = torch.randn(4, 6)
    sigma, direction = largest_singular(decode, z, iterations=100, batch=3)
    for n in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda c: decode(c[None]).flatten(), z[n])
        _, values, directions = torch.linalg.svd(jacobian, full_matrices=False)
        assert sigma[n].item() == pytest.approx(values[0].item(), rel=1e-3)
        assert (direction[n] @ directions[0]).abs() > 0.99


def test_codes_of_any_shape_and_chunks_of_any_size():
    z = torch.rand(5, 2, 3)
    whole, parts = (largest_singular(torch.square, z, iterations=50, batch=b) for b in (5, 2))
    torch.testing.assert_close(whole, parts)
    # J is diagonal with entries 2z
    torch.testing.assert_close(whole[0], 2 * z.flatten(1).amax(1), rtol=1e-2, atol=0)


def test_a_constant_decoder_has_none():
    sigma, direction = largest_singular(lambda z: 0 * z, torch.rand(2, 3))
    assert sigma.tolist() == [0, 0] and torch.isfinite(direction).all()


@pytest.mark.parametrize(
    ("argument", "given"), [("codes", torch.tensor([[float("nan")]])), ("iterations", 0)]
)
def test_bad_input(argument, given):
    arguments = {"codes": torch.zeros(2, 2), "iterations": 3} | {argument: given}
    with pytest.raises(ValueError, match=argument):
        largest_singular(lambda z: z, **arguments)
