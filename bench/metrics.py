"""Pairs of images a second: `lrnb.metrics` in one batch beside loops over single pairs."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.measure import device, measure
from lrnb import data
from lrnb import metrics as ours

LIBRARIES = ("lpips", "skimage.metrics")


def run(*, small: bool, threads: int) -> dict[str, pd.DataFrame]:
    """Benchmark SSIM and LPIPS.

    Returns:
        "metrics", one row a metric and way to compute it: "metric", "by", "pairs", "seconds",
        "pairs_per_second", "peak_memory_mb", and "largest_difference" from the values of lrnb.
    """
    dataset = "mnist" if data.is_present("mnist") and not small else "digits"
    compared = [("ssim", "lrnb", 16 if small else 512)]
    if importlib.util.find_spec("skimage") is not None:
        compared.append(("ssim", "scikit-image, one by one", compared[0][2]))
    if ours.lpips_is_present():
        pairs = 4 if small else 128
        compared += [("lpips", "lrnb", pairs), ("lpips", "lpips, one by one", pairs)]
    rows: list[dict[str, Any]] = []
    values: dict[str, np.ndarray] = {}
    for metric, by, pairs in compared:
        measured = measure(_prepare, metric, by, dataset, pairs, threads=threads)
        reference = values.setdefault(metric, measured.result)
        rows.append(
            {
                "metric": metric,
                "by": by,
                "pairs": pairs,
                "seconds": measured.seconds,
                "pairs_per_second": pairs / measured.seconds,
                "peak_memory_mb": measured.peak_memory_mb,
                "largest_difference": np.abs(measured.result - reference).max(),
            }
        )
    return {"metrics": pd.DataFrame(rows)}


def _prepare(
    metric: str, by: str, dataset: str, pairs: int
) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    images = data.load_data(dataset, "test", pairs).images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    a, b = images.to(device()), (images + 0.2 * noise).clamp(0, 1).to(device())
    compute: Callable[[Tensor, Tensor], np.ndarray]
    if by == "lrnb":
        function = {"ssim": ours.ssim, "lpips": ours.lpips}[metric]

        def compute(a: Tensor, b: Tensor) -> np.ndarray:
            with torch.no_grad():
                return function(a, b).cpu().numpy()
    elif metric == "ssim":
        compute = _ssim_one_by_one
    else:
        compute = _lpips_one_by_one()
    return lambda: compute(a[:2], b[:2]), lambda: compute(a, b)


def _ssim_one_by_one(a: Tensor, b: Tensor) -> np.ndarray:
    """SSIM of each pair, [N, C, H, W] → [N], with the settings of Wang et al. (2004)."""
    from skimage.metrics import structural_similarity

    return np.array(
        [
            structural_similarity(
                x,
                y,
                gaussian_weights=True,
                use_sample_covariance=False,
                sigma=1.5,
                data_range=1.0,
                channel_axis=0,
            )
            for x, y in zip(a.cpu().numpy(), b.cpu().numpy(), strict=True)
        ]
    )


def _lpips_one_by_one() -> Callable[[Tensor, Tensor], np.ndarray]:
    """LPIPS of each pair, [N, C, H, W] → [N], with three channels of 64×64 as in `lrnb`."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="squeeze", verbose=False).eval().to(device())

    def enlarge(image: Tensor) -> Tensor:
        image = image[None].expand(-1, 3, -1, -1)
        return nn.functional.interpolate(image, size=(64, 64), mode="bilinear") * 2 - 1

    def compute(a: Tensor, b: Tensor) -> np.ndarray:
        with torch.no_grad():
            pairs = zip(a, b, strict=True)
            return np.array([float(model(enlarge(x), enlarge(y))) for x, y in pairs])

    return compute
