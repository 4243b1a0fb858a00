"""Distances between images: 1 − SSIM, LPIPS, squared error."""

import functools
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnb._validation import Registry, check_name, check_same_shape, check_tensor

BACKBONES = {"squeeze": "squeezenet1_1-b8a52dc0.pth", "alex": "alexnet-owt-7be5be79.pth"}
LPIPS_NETS = tuple(BACKBONES)


class MissingWeights(FileNotFoundError):
    """The backbone of LPIPS is not on this machine; the message says how to get it."""


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per pixel of each pair of images, [N, C, H, W] → [N].

    >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
    tensor([0.2500, 0.2500])
    """
    b = _check_pair(a, b)
    return (a - b).flatten(1).square().mean(1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each pair of images (Wang et al. 2004), [N, C, H, W] → [N].

    Of images in [0, 1]; in [−1, 1], 1 for equal images; differentiable. As scikit-image's with
    Gaussian weights, σ = 1.5, over 11×11 pixels; the mean over windows inside the image.
    """
    b = _check_pair(a, b)
    if min(a.shape[2:]) < 11:
        raise ValueError(f"a must have at least 11×11 pixels, got shape {tuple(a.shape)}")
    from torchmetrics.functional.image import structural_similarity_index_measure  # (slow)

    # variances are differences of means here: TF32, on by default on GPUs, would lose them
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        _, similarity = structural_similarity_index_measure(
            a, b, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
        )
    # within 5 pixels of the border the window leaves the image
    return similarity[..., 5:-5, 5:-5].flatten(1).mean(1)


def lpips(a: Tensor, b: Tensor, net: str = "squeeze") -> Tensor:
    """Learned perceptual distance of each pair of images (Zhang et al. 2018), [N, C, H, W] → [N].

    The authors' package, for 1 or 3 channels in [0, 1], resized to 64×64. Its backbone ("squeeze"
    or "alex") was trained on photographs: indicative only on digits. Raises `MissingWeights`.
    """
    b = _check_pair(a, b)
    if a.shape[1] not in (1, 3):
        raise ValueError(f"a must have 1 or 3 channels, got {a.shape[1]}")
    file = _weights(net)
    if not lpips_is_present(net):
        got = "a damaged file" if file.is_file() else "no such file"
        raise MissingWeights(
            f"LPIPS ({net}) must have its weights at {file}, got {got}; get them with `lrnb "
            f"fetch lpips`, or set TORCH_HOME to a folder that holds hub/checkpoints/{file.name}"
        )
    color = [images.expand(-1, 3, -1, -1) for images in (a, b)]
    resized = [functional.interpolate(images, (64, 64), mode="bilinear") for images in color]
    distance: Tensor = _lpips_model(net, str(file), a.device)(*resized, normalize=True)
    return distance.flatten()


def lpips_is_present(net: str = "squeeze") -> bool:
    """Whether LPIPS can be computed: its backbone is here, and nothing but tensors."""
    file = _weights(net)
    return file.is_file() and _intact(file, file.stat().st_mtime_ns)


def fetch_lpips(net: str = "squeeze") -> Path:
    """Download torchvision's weights of the backbone; return their path; OSError if it fails."""
    url = f"https://download.pytorch.org/models/{_weights(net).name}"
    if not lpips_is_present(net):  # what is there is damaged
        _weights(net).unlink(missing_ok=True)
    torch.hub.load_state_dict_from_url(url, check_hash=True)
    return _weights(net)


@dataclass(frozen=True)
class ImageMetric:
    """A distance of images [N, C, H, W] → [N], NaN where it cannot be computed; its label."""

    label: str = field(compare=False)
    distance: Callable[[Tensor, Tensor], Tensor]


def _ssim_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - ssim(a, b)


def _lpips_or_nan(a: Tensor, b: Tensor) -> Tensor:
    return lpips(a, b) if lpips_is_present() else torch.full((len(a),), torch.nan, device=a.device)


METRICS: Registry[ImageMetric] = Registry("metric")
METRICS.add("ssim", ImageMetric("1 − SSIM", _ssim_distance))
METRICS.add("lpips", ImageMetric("LPIPS", _lpips_or_nan))
METRICS.add("mse", ImageMetric("squared error per pixel", mse))
# and what is told by a classifier (`lrnb.models.classifier`)
_labels = {name: metric.label for name, metric in METRICS.items()}
DAMAGES = Registry("metric", _labels | {"flips": "label flips"})


def distances(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Every distance of `METRICS` of each pair of images, by name: [N, C, H, W] → [N]."""
    return {name: metric.distance(a, b) for name, metric in METRICS.items()}


def vendi(images: Tensor, *, scale: float) -> float:
    """The Vendi score (Friedman & Dieng 2023) of images [N, C, H, W]: how many differ, 1 to N.

    The exponential of the entropy of the eigenvalues of K/N, K_ij = exp(−mse_ij / (2·scale)).

    >>> vendi(torch.zeros(3, 1, 8, 8), scale=0.1)
    1.0
    """
    check_tensor("images", images, ndim=4)
    flat = images.flatten(1).double()
    kernel = (-torch.cdist(flat, flat).square() / flat.shape[1] / (2 * scale)).exp()
    values = torch.linalg.eigvalsh(kernel / len(flat)).clamp_min(0)
    return round(float(torch.special.entr(values).sum().exp()), 6)


def diversity(images: Tensor) -> dict[str, float]:
    """Mean distance over all pairs of images [N, C, H, W], N ≥ 2: "lpips" (or NaN) and "mse".

    >>> diversity(torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]))["mse"]
    1.0
    """
    if len(images) < 2:
        raise ValueError(f"images must have at least 2 images, got {len(images)}")
    first, second = torch.triu_indices(len(images), len(images), 1, device=images.device)
    pairs = zip(first.split(64), second.split(64), strict=True)
    perceptual = torch.cat([_lpips_or_nan(images[a], images[b]) for a, b in pairs])
    squared = mse(images[first], images[second])
    return {"lpips": float(perceptual.mean()), "mse": float(squared.mean())}


def _check_pair(a: Tensor, b: Tensor) -> Tensor:
    """Check two batches of images; return b on the device of a."""
    check_tensor("a", a, ndim=4)
    check_tensor("b", b, ndim=4)
    check_same_shape("a", a, "b", b)
    return b.to(a.device)


def _weights(net: str) -> Path:
    """Where torch's hub keeps the weights of a backbone, in ``TORCH_HOME``."""
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[check_name("net", net, LPIPS_NETS)]


@functools.cache
def _intact(file: Path, changed: int) -> bool:
    try:  # (torchvision would execute a pickle)
        return bool(torch.load(file, weights_only=True))
    except (EOFError, RuntimeError, pickle.UnpicklingError):
        return False


@functools.cache
def _lpips_model(net: str, weights: str, device: torch.device) -> nn.Module:
    import lpips as authors

    with warnings.catch_warnings():  # the package calls torchvision in a deprecated way
        warnings.simplefilter("ignore")
        model: nn.Module = authors.LPIPS(net=net, verbose=False)
    return model.requires_grad_(False).to(device)
