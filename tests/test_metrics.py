"""Every metric against an independent implementation or a closed form."""

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, structural_similarity

from lrnb import metrics
from lrnb.data import load_data


def pairs(channels, size):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(4, channels, size, size, generator=generator)
    b = (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    return a, b


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 64)])
def test_ssim_equals_scikit_images(channels, size):
    a, b = pairs(channels, size)
    assert_ssim_is_scikit_images(a, b)


@pytest.mark.parametrize("name", ["digits", "shapes", "mnist", "fashion_mnist", "celeba"])
def test_ssim_equals_scikit_images_on_real_images(name, real):
    images = load_data(real(name), "test", 8).images
    assert_ssim_is_scikit_images(images, 0.9 * images.roll(1, 0) + 0.05)


def assert_ssim_is_scikit_images(a, b):
    theirs = [
        structural_similarity(
            x.numpy().astype(np.float64), y.numpy().astype(np.float64), data_range=1, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for x, y in zip(a, b, strict=True)
    ]  # fmt: skip
    assert metrics.ssim(a, b).tolist() == pytest.approx(theirs, abs=2e-4)


def test_ssim_is_one_for_equal_images_and_differentiable():
    a, b = pairs(1, 32)
    assert metrics.ssim(a, a).tolist() == pytest.approx([1] * 4, abs=1e-5)
    b.requires_grad_()
    metrics.ssim(a, b).sum().backward()
    assert torch.isfinite(b.grad).all() and b.grad.abs().sum() > 0


def test_mse_equals_scikit_images():
    a, b = pairs(3, 16)
    theirs = [mean_squared_error(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)]
    assert metrics.mse(a, b).tolist() == pytest.approx(theirs, rel=1e-5)


class TestLpips:
    @pytest.fixture(autouse=True)
    def weights(self):
        if not metrics.lpips_is_present():
            pytest.skip("the weights of LPIPS are not here: set TORCH_HOME or `lrnb fetch lpips`")

    def test_equals_the_authors_package_called_by_hand(self):
        import lpips

        a, b = pairs(3, 64)
        theirs = lpips.LPIPS(net="squeeze", verbose=False).eval()(2 * a - 1, 2 * b - 1).flatten()
        torch.testing.assert_close(metrics.lpips(a, b), theirs.detach(), rtol=1e-4, atol=1e-6)

    def test_grey_is_repeated_and_small_is_enlarged(self):
        a, b = pairs(1, 32)
        colour = [
            torch.nn.functional.interpolate(x.repeat(1, 3, 1, 1), scale_factor=2, mode="bilinear")
            for x in (a, b)
        ]
        torch.testing.assert_close(
            metrics.lpips(a, b), metrics.lpips(*colour), rtol=1e-4, atol=1e-6
        )

    def test_zero_for_equal_images_and_grows_with_noise(self):
        a, _ = pairs(1, 32)
        noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
        curve = [
            metrics.lpips(a, (a + s * noise).clamp(0, 1)).mean().item() for s in (0, 0.05, 0.2)
        ]
        assert curve[0] == pytest.approx(0, abs=1e-6) and curve[0] < curve[1] < curve[2]


def test_lpips_without_weights_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    a, b = pairs(1, 32)
    with pytest.raises(FileNotFoundError, match="lrnb fetch lpips") as error:
        metrics.lpips(a, b)
    assert str(tmp_path) in str(error.value)
    assert not metrics.lpips_is_present()


class TestAaddc:
    def test_closed_forms(self):
        eps = torch.linspace(0.01, 2, 200)
        assert metrics.aaddc(eps, torch.zeros(200)) == 1
        assert metrics.aaddc(eps, torch.ones(200)) == pytest.approx(0, abs=0.01)
        assert metrics.aaddc(eps, eps / 2) == pytest.approx(0.5)
        assert metrics.aaddc(eps, (eps / 2) ** 2) == pytest.approx(2 / 3, abs=1e-4)

    def test_clips_and_does_not_depend_on_the_unit_of_eps(self):
        eps, damage = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])
        assert metrics.aaddc(eps, damage) == pytest.approx(1 - (0.25 + 0.75) / 2)
        assert metrics.aaddc(10 * eps, damage) == pytest.approx(metrics.aaddc(eps, damage))

    def test_a_leading_zero_changes_nothing(self):
        eps, damage = torch.tensor([1.0, 2.0]), torch.tensor([0.2, 0.3])
        with_zero = metrics.aaddc(torch.tensor([0.0, 1, 2]), torch.tensor([0.0, 0.2, 0.3]))
        assert metrics.aaddc(eps, damage) == pytest.approx(with_zero)

    @pytest.mark.parametrize("eps", [[2.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [0.0, float("nan")]])
    def test_bad_eps(self, eps):
        with pytest.raises(ValueError, match="eps"):
            metrics.aaddc(torch.tensor(eps), torch.zeros(2))

    def test_other_length(self):
        with pytest.raises(ValueError, match="damage"):
            metrics.aaddc(torch.ones(2).cumsum(0), torch.zeros(3))


class TestAuddc:
    def test_closed_forms(self):
        x = torch.linspace(0, 1, 101)
        assert metrics.auddc(x, 1 - x) == pytest.approx(0.5)
        assert metrics.auddc(x, torch.ones(101)) == pytest.approx(1)

    def test_order_does_not_matter_and_far_points_are_left_out(self):
        x, y = torch.tensor([0.5, 0.0, 3.0]), torch.tensor([0.25, 1.0, -5.0])
        # trapezoid over (0, 1), (0.5, 0.25), then the least distance up to 1
        assert metrics.auddc(x, y) == pytest.approx(0.5 * 0.625 + 0.5 * 0.25)

    def test_nothing_in_range(self):
        with pytest.raises(ValueError, match="distortion"):
            metrics.auddc(torch.tensor([2.0]), torch.tensor([0.5]))


def test_relative_distance():
    attacked = torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.5, 1.0, 1.0]])
    source, own = torch.tensor([4.0, 1.05, 0.5]), torch.tensor([1.0, 1.0, 1.0])
    d = metrics.relative_distance(attacked, source, own)
    assert d[:, 0].tolist() == [1, 0, 0.5]
    assert d[:, 1:].isnan().all()  # too near to tell, and nearer than the target's own


@pytest.mark.parametrize("metric", [metrics.mse, metrics.ssim, metrics.lpips])
def test_bad_images_are_named(metric):
    a, b = pairs(1, 32)
    with pytest.raises(ValueError, match="b has shape"):
        metric(a, b[:2])
    with pytest.raises(ValueError, match="a has 1 values that are NaN"):
        a[0, 0, 0, 0] = torch.nan
        metric(a, b)
    with pytest.raises(ValueError, match="a has shape"):
        metric(b[0], b[0])


def test_unknown_net():
    a, b = pairs(1, 32)
    with pytest.raises(ValueError, match="net='squeez'.*'squeeze'"):
        metrics.lpips(a, b, net="squeez")
