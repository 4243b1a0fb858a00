"""Every metric against an independent implementation or a closed form."""

import math
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, structural_similarity
from torch.nn import functional

from lrnb import metrics
from lrnb.data import DATASETS, load_data
from lrnb.metrics import METRICS, images


def pairs(channels=1, size=32):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(4, channels, size, size, generator=generator)
    b = (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    return a, b


@pytest.fixture
def weights():
    if not metrics.lpips_is_present():
        pytest.skip("the weights of LPIPS are not here: set TORCH_HOME or `lrnb fetch lpips`")


@pytest.mark.parametrize("source", ["gray", "color", *DATASETS])
def test_ssim_and_mse_equal_scikit_images(source, real):
    a, b = pairs(*{"gray": (1, 32), "color": (3, 64)}.get(source, (1, 32)))
    if source in DATASETS:
        a = load_data(real(source), "test", 8).images
        b = 0.9 * a.roll(1, 0) + 0.05
    exact = [[x.numpy().astype(np.float64) for x in images] for images in (a, b)]
    similarity = [
        structural_similarity(
            x, y, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(*exact, strict=True)
    ]  # fmt: skip
    assert metrics.ssim(a, b).tolist() == pytest.approx(similarity, abs=2e-4)
    squared = [mean_squared_error(x, y) for x, y in zip(*exact, strict=True)]
    assert metrics.mse(a, b).tolist() == pytest.approx(squared, rel=1e-5)


def test_ssim_is_one_for_equal_images_and_differentiable():
    a, b = pairs()
    assert metrics.ssim(a, a).tolist() == pytest.approx([1] * 4, abs=1e-5)
    b.requires_grad_()
    metrics.ssim(a, b).sum().backward()
    assert torch.isfinite(b.grad).all() and b.grad.abs().sum() > 0


@pytest.mark.parametrize(("channels", "size"), [(3, 64), (1, 32)])
def test_lpips_equals_the_authors_package_called_by_hand(channels, size, weights):
    import lpips

    a, b = pairs(channels, size)
    by_hand = [2 * x.repeat(1, 3 // channels, 1, 1) - 1 for x in (a, b)]
    if size != 64:
        by_hand = [functional.interpolate(x, scale_factor=2, mode="bilinear") for x in by_hand]
    theirs = lpips.LPIPS(net="squeeze", verbose=False).eval()(*by_hand).flatten().detach()
    torch.testing.assert_close(metrics.lpips(a, b), theirs, rtol=1e-4, atol=1e-6)


def test_every_metric_is_zero_for_equal_images_and_grows_with_noise(weights):
    a, _ = pairs()
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    curve = [metrics.distances(a, (a + s * noise).clamp(0, 1)) for s in (0, 0.05, 0.2)]
    for name in METRICS:
        equal, small, large = (distances[name] for distances in curve)
        assert equal.abs().max() < 1e-5 and (equal < small).all() and (small < large).all(), name


def test_without_weights_lpips_is_an_error_that_helps_and_nan_in_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    a, b = pairs()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*lrnb fetch lpips"):
        metrics.lpips(a, b)
    assert not metrics.lpips_is_present()
    found = metrics.distances(a, b)
    assert list(found) == ["ssim", "lpips", "mse"] and found["lpips"].isnan().all()
    assert found["ssim"].tolist() == (1 - metrics.ssim(a, b)).tolist()
    assert math.isnan(metrics.diversity(a)["lpips"])


def test_diversity_is_the_mean_over_pairs(weights):
    a, b, c = torch.zeros(1, 32, 32), torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)
    found = metrics.diversity(torch.stack([a, b, c]))
    assert found["mse"] == pytest.approx((1 + 0.25 + 0.25) / 3)
    direct = torch.cat([metrics.lpips(x[None], y[None]) for x, y in ((a, b), (a, c), (b, c))])
    assert found["lpips"] == pytest.approx(direct.mean().item(), rel=1e-4)
    with pytest.raises(ValueError, match="images must have at least 2 images, got 1"):
        metrics.diversity(a[None])


EPS = torch.linspace(0.01, 2, 200)


@pytest.mark.parametrize(
    ("eps", "damage", "score"),
    [
        (EPS, torch.zeros(200), 1),
        (EPS, EPS / 2, 0.5),
        (EPS, (EPS / 2) ** 2, 2 / 3),
        (EPS, 0 * EPS + 1, 0.0025),
        ([1, 2], [0.5, 3.0], 1 - (0.25 + 0.75) / 2),  # clipped
        ([10, 20], [0.5, 3.0], 1 - (0.25 + 0.75) / 2),  # without a unit
        ([1, 2], [0.2, 0.3], 1 - (0.1 + 0.25) / 2),
        ([0, 1, 2], [0, 0.2, 0.3], 1 - (0.1 + 0.25) / 2),
    ],
)
def test_aaddc_in_closed_form(eps, damage, score):
    eps, damage = torch.as_tensor(eps), torch.as_tensor(damage)
    found = metrics.aaddc(eps, damage)
    assert type(found) is float and found == pytest.approx(score, abs=1e-4)
    both = metrics.aaddc(eps, torch.stack([damage, 0 * damage], 1))
    assert both.tolist() == pytest.approx([found, 1])


def test_auddc_in_closed_form():
    x = torch.linspace(0, 1, 101)
    assert metrics.auddc(x, 1 - x) == pytest.approx(0.5)
    assert metrics.auddc(x, torch.ones(101)) == pytest.approx(1)
    # in any order, without the point beyond 1: over (0, 1), (0.5, 0.25), then the minimum up to 1
    x, y = torch.tensor([0.5, 0.0, 3.0]), torch.tensor([0.25, 1.0, -5.0])
    assert metrics.auddc(x, y) == pytest.approx(0.5 * 0.625 + 0.5 * 0.25)


def test_relative_distance():
    attacked = torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.5, 1.0, 1.0]])
    source, own = torch.tensor([4.0, 1.05, 0.5]), torch.tensor([1.0, 1.0, 1.0])
    found = metrics.relative_distance(attacked, source, own)
    assert found[:, 0].tolist() == [1, 0, 0.5]
    assert found[:, 1:].isnan().all()  # too near to tell, and nearer than the target's own


@pytest.mark.parametrize(
    ("score", "x", "y", "message"),
    [
        (metrics.aaddc, [2.0, 1.0], [0.0, 0.0], "eps must be increasing numbers ≥ 0, got"),
        (metrics.aaddc, [1.0, 1.0], [0.0, 0.0], "eps must be increasing"),
        (metrics.aaddc, [-1.0, 1.0], [0.0, 0.0], "eps must be increasing"),
        (metrics.aaddc, [0.0, math.nan], [0.0, 0.0], "eps must be finite"),
        (metrics.aaddc, [1.0, 2.0], [0.0] * 3, "damage must have 2 values, as eps, got 3"),
        (metrics.auddc, [2.0], [0.5], r"distortion must have a value in \[0, 1\], got"),
    ],
)
def test_bad_curves(score, x, y, message):
    with pytest.raises(ValueError, match=message):
        score(torch.tensor(x), torch.tensor(y))


@pytest.mark.parametrize("metric", [metrics.mse, metrics.ssim, metrics.lpips])
def test_bad_images(metric):
    a, b = pairs()
    for bad, message in (
        ((a, b[:2]), "b must have the shape of a"),
        ((a / 0 * 0, b), "a must be finite"),
        ((a[0], a[0]), "a must be a non-empty tensor of 4 axes"),
        ((a.int(), b), "a must be a floating-point tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(*bad)


def test_unknown_names():
    with pytest.raises(ValueError, match="net must be one of .*, got 'squeez'; did you mean"):
        metrics.lpips(*pairs(), net="squeez")
    with pytest.raises(LookupError, match="metric must be one of ssim, lpips, mse, got 'l1'"):
        METRICS["l1"]


def test_slow_packages_are_imported_when_they_are_needed():
    code = (
        "import sys, lrnb.data, lrnb.metrics\n"
        "slow = {'torchvision', 'sklearn', 'torchmetrics', 'pandas'} & set(sys.modules)\n"
        "assert not slow, slow\n"
        "lrnb.metrics.disentanglement.mig, lrnb.metrics.statistics.interval"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_stands_in_the_backbones_place_is_neither_executed_nor_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / images.BACKBONES["squeeze"]
    file.parent.mkdir(parents=True)
    for content in (b"", b"cut", pickle.dumps(Harm(tmp_path / "harm"))):
        file.write_bytes(content)
        assert not images.lpips_is_present()
        with pytest.raises(FileNotFoundError, match="got a damaged file"):
            images.lpips(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32))
    assert not (tmp_path / "harm").exists()


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)
