"""The linear VAE: the closed form is what training finds."""

import pytest
import torch

from lrnb.models import linear

EIGENVALUES = torch.tensor([6.0, 3.0, 1.5, 0.4, 0.1])


def trained(beta, *, latent=3, penalty=0.0, steps=4000):
    """Singular values of a linear decoder that minimizes the expected loss, found numerically."""
    torch.manual_seed(0)
    covariance = EIGENVALUES.double().diag()
    decoder = torch.randn(5, latent, dtype=torch.double).mul(0.3).requires_grad_()
    encoder = torch.randn(latent, 5, dtype=torch.double).mul(0.3).requires_grad_()
    logvar = torch.zeros(latent, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.Adam([decoder, encoder, logvar], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        left = torch.eye(5, dtype=torch.double) - decoder @ encoder
        error = (left @ covariance @ left.T).trace()
        error = error + (decoder.square() * logvar.exp()).sum()  # of the noise of the code
        means = (encoder @ covariance @ encoder.T).trace()
        kl = 0.5 * (means + (logvar.exp() - 1 - logvar).sum())
        steepest = torch.linalg.matrix_norm(decoder, 2) ** 2
        loss = error + beta * kl + penalty * steepest
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    mean_error = (left @ covariance @ left.T).trace()
    return torch.linalg.svdvals(decoder.detach()).float(), float(mean_error.detach())


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_closed_form_is_what_training_finds(beta):
    sigma, error = trained(beta)
    found = linear.singular_values(EIGENVALUES, latent=3, beta=beta)
    torch.testing.assert_close(found, sigma, atol=0.03, rtol=0.01)
    predicted = linear.predictions(EIGENVALUES, latent=3, beta=beta)
    assert predicted["squared_error"] == pytest.approx(error, rel=0.02)
    assert predicted["active"] == float((sigma > 0.1).sum())


@pytest.mark.parametrize("eps", [0.3, 1.0])
def test_an_added_term_cuts_the_steepest_directions(eps):
    sigma, _ = trained(1.0, penalty=eps**2)
    found = linear.singular_values(EIGENVALUES, latent=3, adv_eps=eps)
    torch.testing.assert_close(found, sigma, atol=0.05, rtol=0.03)


def test_a_higher_beta_makes_a_linear_vae_more_robust():
    worst = [linear.predictions(EIGENVALUES, latent=3, beta=b)["sigma"] for b in (0.1, 1.0, 5.0)]
    assert worst == sorted(worst, reverse=True)


def test_bad_arguments_are_named():
    for bad in (dict(latent=0), dict(latent=2, beta=0.0), dict(latent=2, adv_eps=-1.0)):
        with pytest.raises(ValueError, match=[*bad][-1]):
            linear.singular_values(EIGENVALUES, **bad)
