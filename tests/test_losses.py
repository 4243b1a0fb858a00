"""Each term of the losses against a closed form or an independent computation."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from lrnb.models import FAMILIES, Autoencoder, Posterior, losses
from lrnb.models.families import Batch
from lrnb.models.training import TrainingSettings, batch_losses


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def _mmd_of_shifted_gaussians(d=2, shift=2.0):
    """MMD² of N(μ, I) and N(0, I), ‖μ‖² = shift: half of a squared distance is (noncentral) χ²."""
    found = 0.0
    for c in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        kernel = functools.partial(lambda half, scale: scale / (scale + 2 * half), scale=2 * d * c)
        found += 2 * (stats.chi2(d).expect(kernel) - stats.ncx2(d, shift / 2).expect(kernel))
    return found


# each family's penalty where all posteriors are N((1, 1), I): a new family needs its row
PENALTIES = {
    "ae": 0.0, "vae": 1.0, "tcvae": 1.0, "vae_adv": 1.0, "dae_kl": 10.0, "dae_swt": 100.0,
    "dae_mmd": 100 * _mmd_of_shifted_gaussians(), "rae": 2.0, "rae_gp": 2.0 + 0.1 * 2 * 3**2,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_penalties_of_a_shifted_gaussian(family, generator):
    posterior = Posterior(torch.ones(1000, 2), torch.zeros(1000, 2))
    codes = posterior.sample(generator).requires_grad_()
    batch = Batch(codes, posterior, 10_000, generator, outputs=3 * codes)
    penalty = FAMILIES[family].penalty
    assert penalty(batch, 1.0).item() == pytest.approx(PENALTIES[family], rel=0.15, abs=1e-6)
    assert penalty(batch, 0.0).item() <= penalty(batch, 1.0).item()


def test_kl_equals_torchs(generator):
    mean, logvar = torch.randn(2, 6, 4, generator=generator)
    theirs = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(losses.kl(Posterior(mean, logvar)), theirs)


def test_moment_kl_is_the_kl_of_the_fitted_gaussian(generator):
    codes = 3 * torch.randn(500, 4, generator=generator) - 1
    fitted = Normal(codes.mean(0), codes.std(0, unbiased=False))
    torch.testing.assert_close(
        losses.moment_kl(codes), kl_divergence(fitted, Normal(0.0, 1.0)).sum()
    )


def test_mmd_equals_loops_over_pairs(generator):
    a, b = torch.randn(2, 7, 3, generator=generator).double()
    n, d = a.shape

    def kernel(x, y):
        return sum(
            2 * d * c / (2 * d * c + float(((x - y) ** 2).sum()))
            for c in (0.1, 0.2, 0.5, 1, 2, 5, 10)
        )

    apart = [(i, j) for i in range(n) for j in range(n) if i != j]
    within = sum(kernel(a[i], a[j]) + kernel(b[i], b[j]) for i, j in apart) / (n * n - n)
    cross = 2 * sum(kernel(x, y) for x, y in itertools.product(a, b)) / (n * n)
    assert losses.mmd(a, b).item() == pytest.approx(within - cross, rel=1e-9)


def test_mmd_is_unbiased_and_tells_distributions_apart(generator):
    same = [losses.mmd(*torch.randn(2, 32, 2, generator=generator)).item() for _ in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20  # within three standard errors of 0
    apart = losses.mmd(
        *torch.randn(2, 400, 2, generator=generator) + torch.tensor([[[0.0]], [[2.0]]])
    )
    assert apart > 10 * np.std(same)


def test_sliced_wasserstein_equals_scipys_transport(generator):
    a, b = torch.randn(2, 40, 3, generator=generator).double()
    directions = torch.nn.functional.normalize(
        torch.randn(5, 3, generator=generator).double(), dim=1
    )
    # for equal counts the optimal one-dimensional plan is an assignment: solve it as one
    from scipy.optimize import linear_sum_assignment

    costs = []
    for direction in directions:
        cost = ((a @ direction)[:, None] - (b @ direction)[None]).square().numpy()
        costs.append(cost[linear_sum_assignment(cost)].mean())
    ours = losses.sliced_wasserstein(a, b, directions).item()
    assert ours == pytest.approx(np.mean(costs), rel=1e-9)


def test_sliced_wasserstein_of_a_shift():
    codes = torch.randn(100, 2)
    shifted = codes + torch.tensor([3.0, 0.0])
    assert losses.sliced_wasserstein(codes, shifted, torch.eye(2)).item() == pytest.approx(4.5)


class TestKlDecomposition:
    def test_weights(self):
        weights = losses.stratified_log_weights(5, 100).exp()
        assert weights.diagonal().tolist() == pytest.approx([1 / 100] * 5)
        rest = weights[~torch.eye(5, dtype=torch.bool)].view(5, 4).sort(1).values
        expected = sorted([96 / 400, 1 / 4, 1 / 4, 1 / 4])
        for row in rest:
            assert row.tolist() == pytest.approx(expected)

    def test_whole_data_set_as_batch_gives_the_exact_aggregate(self, generator):
        # with B = N − 1 … N the estimate is nearly that of the mixture itself, which scipy gives
        mean, logvar = torch.randn(2, 40, 2, generator=generator).double()
        posterior = Posterior(mean, logvar - 1)
        codes = posterior.sample(generator)
        mi, tc, dw = losses.kl_decomposition(codes, posterior, 40)
        density = np.array(
            [
                [
                    stats.norm.pdf(z, m, s)
                    for m, s in zip(mean.numpy(), np.exp((logvar.numpy() - 1) / 2), strict=True)
                ]
                for z in codes.numpy()
            ]
        )  # [B, B, d]
        joint = np.log(density.prod(2).mean(1))
        product = np.log(density.mean(1)).sum(1)
        own = np.log(density[np.arange(40), np.arange(40)].prod(1))
        prior = stats.norm.logpdf(codes.numpy()).sum(1)
        assert mi.item() == pytest.approx((own - joint).mean(), abs=0.05)
        assert tc.item() == pytest.approx((joint - product).mean(), abs=0.05)
        assert dw.item() == pytest.approx((product - prior).mean(), abs=0.05)

    def test_parts_sum_to_the_sampled_kl(self, generator):
        mean, logvar = torch.randn(2, 16, 3, generator=generator)
        posterior = Posterior(mean, logvar)
        codes = posterior.sample(generator)
        sampled = (
            Normal(mean, (logvar / 2).exp()).log_prob(codes) - Normal(0.0, 1.0).log_prob(codes)
        ).sum(1)
        parts = losses.kl_decomposition(codes, posterior, 1000)
        assert sum(parts).item() == pytest.approx(sampled.mean().item(), rel=1e-4)

    def test_correlated_dimensions_have_positive_total_correlation(self, generator):
        line = torch.randn(256, 1, generator=generator)
        narrow = torch.full((256, 2), math.log(0.05))
        together, apart = (
            Posterior(m, narrow)
            for m in (line.repeat(1, 2), torch.randn(256, 2, generator=generator))
        )
        tc = [
            losses.kl_decomposition(p.sample(generator), p, 256)[1].item()
            for p in (together, apart)
        ]
        assert tc[0] > tc[1] + 0.3

    @pytest.mark.parametrize("correlation", [0.0, 0.8])
    def test_total_correlation_of_a_gaussian(self, correlation, generator):
        # means N(0, Σ) and one variance: the aggregate is N(0, Σ + σ²I), its TC known
        covariance, variance = torch.tensor([[1.0, correlation], [correlation, 1.0]]), 0.5
        total = covariance + variance * torch.eye(2)
        known = 0.5 * (total.diagonal().log().sum() - torch.logdet(total)).item()
        factor = torch.linalg.cholesky(covariance)
        estimates = []
        for _ in range(20):
            mean = torch.randn(256, 2, generator=generator) @ factor.T
            posterior = Posterior(mean, torch.full_like(mean, math.log(variance)))
            codes = posterior.sample(generator)
            estimates.append(losses.kl_decomposition(codes, posterior, 20_000)[1].item())
        assert np.mean(estimates) == pytest.approx(known, abs=0.03)

    def test_total_correlation_needs_the_diagonal(self, generator, monkeypatch):
        # N narrow Gaussians far apart: knowing one coordinate of z tells which it is, so each of
        # the d − 1 others has log N nats in common with it. A sample sees nothing of the batch but
        # itself, and the estimate is as good as its own weight.
        n_data, batch, d = 1000, 16, 3
        mean = 100 * torch.arange(batch).float()[:, None].repeat(1, d)
        posterior = Posterior(mean, torch.zeros(batch, d))
        codes = posterior.sample(generator)
        known = (d - 1) * math.log(n_data)
        _, found, _ = losses.kl_decomposition(codes, posterior, n_data)
        assert found.item() == pytest.approx(known, abs=1e-3)

        def in_column_0(batch, n_data):
            m = batch - 1
            weights = torch.full((batch, batch), 1 / m)
            weights[:, 0] = 1 / n_data
            weights[:, 1] = (n_data - m) / (n_data * m)
            assert weights.sum(1).tolist() == pytest.approx([1] * batch)
            return weights.log()

        monkeypatch.setattr(losses, "stratified_log_weights", in_column_0)
        _, wrong, _ = losses.kl_decomposition(codes, posterior, n_data)
        assert wrong.item() < known - 5

    def test_bad_sizes(self):
        posterior = Posterior(torch.zeros(4, 2), torch.zeros(4, 2))
        with pytest.raises(ValueError, match="n_data.*got 3 and 4"):
            losses.kl_decomposition(torch.zeros(4, 2), posterior, 3)


@pytest.mark.parametrize(
    ("family", "form"), [*[(f, "trades") for f in FAMILIES], ("vae_adv", "maxmin")]
)
def test_gradients_are_finite_and_reach_every_weight(family, form, generator):
    torch.manual_seed(0)
    entry = FAMILIES[family]
    model = Autoencoder(latent=4, width=4, stochastic=entry.stochastic).train()
    settings = TrainingSettings(family=family, adv_form=form)
    images = torch.rand(8, 1, 32, 32, generator=generator)
    batch_losses(model, images, settings, entry, 100, generator)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("family", ["dae_kl", "dae_mmd", "dae_swt"])
def test_gradient_is_finite_for_a_collapsed_code(family, generator):
    codes = torch.zeros(8, 4, requires_grad=True)
    loss = FAMILIES[family].penalty(Batch(codes, Posterior(codes), 8, generator), 1.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(codes.grad).all()


def test_a_deterministic_code_has_no_kl():
    with pytest.raises(ValueError, match="must have a variance"):
        losses.kl(Posterior(torch.zeros(2, 2)))
