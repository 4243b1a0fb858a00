"""Spread, densities and total correlations against closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KernelDensity

from lrnb.metrics import density
from lrnb.metrics.density import (
    code_statistics,
    gaussian_total_correlation,
    log_density,
    total_correlation,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_spread_and_active_dimensions_of_known_codes(generator):
    scales = torch.tensor([3.0, 1.0, 0.05, 0.0])
    found = code_statistics(torch.randn(20_000, 4, generator=generator) * scales + 7)
    assert found.spread == pytest.approx(math.sqrt((9 + 1 + 0.0025) / 4), rel=0.02)
    assert found.active == 2 and found.is_active.tolist() == [True, True, False, False]
    assert found.deviations.tolist() == pytest.approx(scales.tolist(), rel=0.03, abs=1e-6)


class TestLogDensity:
    def test_of_one_gaussian(self):
        rng = np.random.default_rng(0)
        mean, variance = rng.normal(size=3), np.array([0.5, 1.0, 4.0])
        points = rng.normal(size=(7, 3))
        found = log_density(
            *(torch.tensor(a) for a in (points, mean[None])),
            logvar=torch.tensor(variance[None]).log(),
        )
        expected = stats.multivariate_normal(mean, np.diag(variance)).logpdf(points)
        assert found.numpy() == pytest.approx(expected)

    def test_of_a_mixture_far_from_the_origin_and_in_its_tails(self):
        rng = np.random.default_rng(0)
        means, deviations = 1000 + rng.normal(size=(30, 2)), rng.uniform(0.01, 1, size=(30, 2))
        points = np.concatenate([means[:5], [[1000.0, 1100.0]]])
        found = log_density(
            *(torch.tensor(a) for a in (points, means)), logvar=2 * torch.tensor(deviations).log()
        )
        each = stats.norm.logpdf(points[:, None], means, deviations).sum(2)  # [6, 30]
        highest = each.max(1)
        expected = highest + np.log(np.exp(each - highest[:, None]).mean(1))
        assert found.numpy() == pytest.approx(expected, rel=1e-9)
        assert found[-1] < -1000  # where the density itself underflows

    def test_integrates_to_one(self, generator):
        axis = torch.arange(-8, 8, 0.02)
        found = log_density(axis[:, None], torch.randn(40, 1, generator=generator))
        assert float(found.exp().sum() * 0.02) == pytest.approx(1, abs=1e-3)

    def test_by_kernels_is_scipys_and_scikit_learns(self):
        rng = np.random.default_rng(0)
        codes = rng.normal(size=(3000, 3)) * [0.1, 1.0, 10.0]
        points = rng.normal(size=(9, 3)) * [0.1, 1.0, 10.0]
        found = log_density(torch.tensor(points), torch.tensor(codes))
        scale = codes.std(0, ddof=1)
        scaled = KernelDensity(bandwidth="scott").fit(codes / scale).score_samples(points / scale)
        assert found.numpy() == pytest.approx(scaled - np.log(scale).sum(), rel=1e-6)
        line = log_density(torch.tensor(points[:, :1]), torch.tensor(codes[:, :1]))
        assert line.numpy() == pytest.approx(stats.gaussian_kde(codes[:, 0]).logpdf(points[:, 0]))

    @pytest.mark.parametrize(
        ("message", "points", "means", "logvar"),
        [
            ("points must have", torch.zeros(2, 3), torch.randn(4, 2), None),
            ("logvar must have", torch.zeros(2, 2), torch.randn(4, 2), torch.zeros(3, 2)),
            ("means must differ", torch.zeros(2, 2), torch.randn(1, 2), None),
            ("means must differ", torch.zeros(2, 2), torch.ones(4, 2), None),
            ("points must be finite", torch.full((2, 2), math.nan), torch.randn(4, 2), None),
        ],
    )
    def test_bad_input(self, message, points, means, logvar):
        with pytest.raises(ValueError, match=message):
            log_density(points, means, logvar=logvar)


def sampled(means, logvar, generator):
    return means + torch.randn(means.shape, generator=generator) * (0.5 * logvar).exp()


class TestTotalCorrelation:
    @pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.9])
    def test_of_a_gaussian(self, correlation, generator):
        covariance = np.array([[1, correlation, 0], [correlation, 1, 0], [0, 0, 1]])
        total = covariance + 0.3 * np.eye(3)
        known = 0.5 * (np.log(np.diag(total)).sum() - np.linalg.slogdet(total)[1])
        factor = torch.linalg.cholesky(torch.tensor(covariance).float())
        means = torch.randn(3000, 3, generator=generator) @ factor.T
        logvar = torch.full_like(means, math.log(0.3))
        codes = sampled(means, logvar, generator)
        assert total_correlation(codes, means, logvar) == pytest.approx(known, abs=0.04)
        assert gaussian_total_correlation(means, logvar) == pytest.approx(known, abs=0.04)

    def test_of_peaks_far_apart(self, generator):
        # each coordinate names the peak, so knowing one saves log N nats on each of the others
        n, d = 7, 4
        means, logvar = 100 * torch.arange(n).float()[:, None].repeat(1, d), torch.zeros(n, d)
        found = total_correlation(sampled(means, logvar, generator), means, logvar)
        assert found == pytest.approx((d - 1) * math.log(n), abs=1e-3)

    def test_finds_dependence_without_correlation(self, generator):
        angle = 2 * math.pi * torch.rand(2000, generator=generator)
        ring, logvar = torch.stack([angle.cos(), angle.sin()], 1), torch.full((2000, 2), -4.0)
        assert total_correlation(sampled(ring, logvar, generator), ring, logvar) > 0.5
        assert gaussian_total_correlation(ring, logvar) < 0.02

    def test_equals_scipys_densities_however_codes_are_cut(self, generator, monkeypatch):
        means, logvar = torch.randn(2, 20, 3, generator=generator).double()
        codes = torch.randn(5, 3, generator=generator).double()
        ratios = []
        for z in codes.numpy():
            each = stats.norm.pdf(z, means.numpy(), np.exp(logvar.numpy() / 2))  # [20, 3]
            ratios.append(math.log(each.prod(1).mean()) - np.log(each.mean(0)).sum())
        for chunk in (2**20, 20 * 3 * 2):  # two codes at a time
            monkeypatch.setattr(density, "_CHUNK", chunk)
            found = total_correlation(codes, means, logvar)
            assert found == pytest.approx(np.mean(ratios), rel=1e-9)

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"codes must have shape \('S', 2\), got \(4, 3\)"):
            total_correlation(torch.zeros(4, 3), *torch.zeros(2, 4, 2))
        with pytest.raises(ValueError, match="logvar must have the shape of means"):
            gaussian_total_correlation(torch.zeros(4, 2), torch.zeros(3, 2))
