"""Distances between images, and scores that summarise a damage curve over ε."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnb import checks

LPIPS_NETS = ("squeeze", "alex")
BACKBONE = {"squeeze": "squeezenet1_1-b8a52dc0.pth", "alex": "alexnet-owt-7be5be79.pth"}


class MissingWeights(FileNotFoundError):
    """The backbone of LPIPS is not on this machine; the message says how to get it."""


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per pixel of each pair of images, [N, C, H, W] → [N].

    >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
    tensor([0.2500, 0.2500])
    """
    b = _pair(a, b)
    return (a - b).flatten(1).square().mean(1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each pair of images (Wang et al. 2004), [N, C, H, W] → [N].

    Gaussian weights with σ = 1.5 over 11×11 pixels, a data range of 1, averaged over channels and
    over the pixels whose window lies inside the image: scikit-image's ``structural_similarity``
    with ``gaussian_weights=True, use_sample_covariance=False``. Differentiable.

    Args:
        a, b: images in [0, 1], at least 11 pixels wide and high.

    Returns:
        [N] in [−1, 1]; 1 for equal images.

    >>> image = torch.rand(2, 1, 16, 16)
    >>> [round(similarity, 4) for similarity in ssim(image, image).tolist()]
    [1.0, 1.0]
    """
    b = _pair(a, b)
    if min(a.shape[2:]) < 11:
        raise ValueError(f"a has shape {tuple(a.shape)}; at least 11×11 pixels are accepted")
    # (imported here: it takes two seconds)
    from torchmetrics.functional.image import structural_similarity_index_measure

    # variances are differences of means here: TF32, on by default on GPUs, would lose them
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        _, similarity = structural_similarity_index_measure(
            a, b, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
        )
    # nearer than 5 pixels to the border the window leaves the image
    return similarity[..., 5:-5, 5:-5].flatten(1).mean(1)


def lpips(a: Tensor, b: Tensor, net: str = "squeeze") -> Tensor:
    """Learned perceptual distance of each pair of images (Zhang et al. 2018), [N, C, H, W] → [N].

    Computed by the authors' package on images repeated to three channels, resized to 64×64 and
    mapped to [−1, 1]. Its backbone was trained on photographs: on digits it is indicative only.

    Args:
        a, b: images in [0, 1] with 1 or 3 channels.
        net: "squeeze" or "alex".

    Raises:
        MissingWeights: the backbone's weights are not on this machine.
    """
    b = _pair(a, b)
    if a.shape[1] not in (1, 3):
        raise ValueError(f"a has {a.shape[1]} channels; 1 or 3 are accepted")
    model = _lpips_model(checks.one_of("net", net, LPIPS_NETS), str(lpips_weights(net)), a.device)
    distance: Tensor = model(_for_lpips(a), _for_lpips(b))
    return distance.flatten()


def lpips_weights(net: str = "squeeze") -> Path:
    """Path of the backbone's weights, in torch's hub folder (``TORCH_HOME``).

    Raises:
        MissingWeights: they are not there.
    """
    checks.one_of("net", net, LPIPS_NETS)
    file = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE[net]
    if not file.is_file():
        raise MissingWeights(
            f"LPIPS ({net}): its weights were looked for at {file} and are not there. "
            f"Fetch them with `lrnb fetch lpips`, or set TORCH_HOME to a folder that holds "
            f"hub/checkpoints/{BACKBONE[net]}."
        )
    return file


def lpips_is_present(net: str = "squeeze") -> bool:
    """Whether LPIPS can be computed without a download."""
    try:
        return bool(lpips_weights(net))
    except MissingWeights:
        return False


def fetch_lpips(net: str = "squeeze") -> Path:
    """Download the backbone's weights with torchvision; return their path.

    Raises:
        OSError: the download failed.
    """
    from torchvision import models

    checks.one_of("net", net, LPIPS_NETS)
    weights: models.Weights = {
        "squeeze": models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
        "alex": models.AlexNet_Weights.IMAGENET1K_V1,
    }[net]
    weights.get_state_dict(progress=True, check_hash=True)
    return lpips_weights(net)


def aaddc(eps: Tensor, damage: Tensor) -> float:
    """Area above the damage curve, in [0, 1]; LARGER means MORE robust.

    1 − (1/ε_max) ∫₀^ε_max m(ε) dε with the damage m clipped to [0, 1], by the trapezoid rule with
    m(0) = 0. The formula of Lu & Chen (2023) is not available; this definition is ours.

    Args:
        eps: [E], increasing, > 0 (an ε of 0 may lead).
        damage: [E], for instance 1 − SSIM or LPIPS, averaged over samples.

    >>> aaddc(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 1.0]))
    0.5
    """
    x, y = _curve("eps", eps, "damage", damage)
    if bool((x < 0).any()) or bool((x.diff() <= 0).any()) or float(x[-1]) <= 0:
        raise ValueError(f"eps={x.tolist()} is not accepted: increasing numbers ≥ 0 are")
    if x[0] > 0:
        x, y = functional.pad(x, (1, 0)), functional.pad(y, (1, 0))
    return 1 - float(torch.trapezoid(y.clamp(0, 1), x) / x[-1])


def auddc(distortion: Tensor, distance: Tensor) -> float:
    """Area under the distortion–distance curve of targeted attacks; LARGER means MORE robust.

    Gondim-Ribeiro, Tabacof & Valle (2018): points are sorted by distortion, those in [0, 1] kept,
    (1, the least distance) appended, and integrated by the trapezoid rule.

    Args:
        distortion: [P], ‖δ‖₂ relative to the distance between source and target.
        distance: [P], of the attacked decoding to the target, 1 for the source's own
            reconstruction and 0 for the target's (see `relative_distance`).

    >>> auddc(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0]))
    0.25
    """
    x, y = _curve("distortion", distortion, "distance", distance)
    order = x.argsort()
    x, y = x[order], y[order]
    inside = (x >= 0) & (x <= 1)
    if not bool(inside.any()):
        raise ValueError(
            f"distortion={x.tolist()} is not accepted: at least one value in [0, 1] is"
        )
    x, y = x[inside], y[inside]
    x, y = torch.cat([x, x.new_ones(1)]), torch.cat([y, y.min()[None]])
    return float(torch.trapezoid(y, x))


def relative_distance(adversarial: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """(d_adv − d_target) / (d_source − d_target), each the distance of a decoding to the target.

    Args:
        adversarial: [..., N], distance of the attacked decodings to the target images.
        source: [N], of the clean decodings of the sources.
        target: [N], of the clean decodings of the targets themselves.

    Returns:
        [..., N]; 1 where the attack changed nothing, 0 where it did as well as the target's own
        reconstruction. NaN for pairs in which the target's own reconstruction is not at least a
        tenth nearer to the target than the source's: there is no way to go, and the ratio of two
        small differences would say anything.
    """
    span = source - target
    return torch.where(span > 0.1 * source, (adversarial - target) / span, torch.nan)


def _pair(a: Tensor, b: Tensor) -> Tensor:
    """Check two batches of images; return the second on the device of the first."""
    checks.finite_batch("a", a, dims=4)
    checks.finite_batch("b", b, dims=4)
    checks.same_shape("a", a, "b", b)
    return b.to(a.device)


def _curve(name_x: str, x: Tensor, name_y: str, y: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.as_tensor(x, dtype=torch.float64).flatten()
    y = torch.as_tensor(y, dtype=torch.float64).flatten()
    checks.finite_batch(name_x, x)
    checks.finite_batch(name_y, y)
    checks.same_shape(name_x, x, name_y, y)
    return x, y


def _for_lpips(images: Tensor) -> Tensor:
    images = images.expand(-1, 3, -1, -1)
    if images.shape[2:] != (64, 64):
        images = functional.interpolate(images, size=(64, 64), mode="bilinear", align_corners=False)
    return images * 2 - 1


@functools.cache
def _lpips_model(net: str, weights: str, device: torch.device) -> nn.Module:
    import lpips as authors

    with warnings.catch_warnings():  # the package calls torchvision in a deprecated way
        warnings.simplefilter("ignore")
        model: nn.Module = authors.LPIPS(net=net, verbose=False)
    return model.eval().requires_grad_(False).to(device)
