"""Where the codes lie: their spread, and density and dependence of the aggregate posterior.

That is q(z), the mean of the posteriors of some images, given by means and logvar, [N, d] each.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from lrnb._validation import check_same_shape, check_tensor

# units of ε: what ε is multiplied by
UNITS = {
    "raw": "raw", "spread": "spread of the means", "aggregate": "spread of the aggregate posterior",
    "whitened": "whitened",
}  # fmt: skip
# a dimension of the code is active if its variance is larger (Burda et al. 2016)
ACTIVE_VARIANCE = 0.01
# floats in one tensor of densities, [chunk, N, d]: 4 MB, of which a few exist at a time
_CHUNK = 2**20


@dataclass(frozen=True)
class CodeStatistics:
    """How the codes of a model are spread, by the variance Var[μ_j] of each dimension."""

    spread: float  # s_μ = sqrt(mean over j of Var[μ_j]), of the means
    aggregate: float  # s_q = sqrt(mean over j of Var[μ_j] + E[σ_j²]), of the aggregate posterior
    active: int  # how many j have Var[μ_j] > `ACTIVE_VARIANCE`, in double precision
    deviations: Tensor  # [d] float32, sqrt(Var[μ_j])
    is_active: Tensor  # [d] bool, from these deviations: by rounding it can differ from `active`


def code_statistics(means: Tensor, logvar: Tensor | None = None) -> CodeStatistics:
    """Spread and active dimensions of codes [N, d]; without logvar they are deterministic.

    >>> round(code_statistics(torch.tensor([[0.0, 0.0], [4.0, 0.0]])).spread, 3)  # √((4 + 0) / 2)
    1.414
    """
    variances = means.double().var(0, unbiased=False)
    noise = torch.zeros_like(variances) if logvar is None else logvar.double().exp().mean(0)
    spread, aggregate = (float(v.mean().sqrt()) for v in (variances, variances + noise))
    active = int((variances > ACTIVE_VARIANCE).sum())
    deviations = variances.sqrt().float()
    is_active = deviations.square() > ACTIVE_VARIANCE
    return CodeStatistics(spread, aggregate, active, deviations, is_active)


def whitening(means: Tensor, logvar: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean [d] and root A [d, k], A·Aᵀ = Σ, of the aggregate posterior of means [N, d].

    In coordinates u of the code m + A·u the aggregate posterior has unit covariance, however the
    code is parametrized. Directions with less than 1e-4 of the largest variance are left out.

    >>> _, root = whitening(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    >>> root
    tensor([[2.],
            [0.]])
    """
    center = means.double().mean(0)
    covariance = (means.double() - center).T @ (means.double() - center) / len(means)
    if logvar is not None:
        covariance = covariance + logvar.double().exp().mean(0).diag()
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-4 * values[-1]
    vectors = vectors[:, kept]
    # (the sign of an eigenvector is arbitrary: its largest entry is made positive)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    root = vectors * largest.sign() * values[kept].sqrt()
    return center.to(means), root.to(means)


def log_density(points: Tensor, means: Tensor, *, logvar: Tensor | None = None) -> Tensor:
    """log q(z) in nats at the points [M, d], [M] in double precision.

    Without logvar each code has a Gaussian kernel of Scott's bandwidth in each dimension,
    N^(−1/(d+4)) times its standard deviation (Scott 1992), for which two codes must differ.

    >>> round(log_density(torch.zeros(1, 1), torch.zeros(1, 1), logvar=torch.zeros(1, 1)).item(), 4)
    -0.9189
    """
    points = check_tensor("points", points, ndim=2)
    means = check_tensor("means", means, ndim=2).double()
    n, d = means.shape
    if points.shape[1] != d:
        raise ValueError(f"points must have shape ('M', {d}), got {tuple(points.shape)}")
    if logvar is None:
        if n < 2 or bool((means == means[0]).all(0).any()):
            raise ValueError(
                f"means must differ in each dimension without logvar, got shape {(n, d)}"
            )
        logvar = (2 * (n ** (-1 / (d + 4)) * means.std(0)).log()).expand_as(means)
    check_same_shape("means", means, "logvar", logvar)
    # (x − m)² by matrix products, which double precision and a common origin keep from cancelling
    center, logvar = means.mean(0), logvar.to(means)
    means, precision = means - center, (-logvar).exp()
    constant = (means.square() * precision + logvar).sum(1) + d * math.log(2 * math.pi)  # [N]
    found = []
    for chunk in points.split(2048):
        x = chunk.to(means) - center
        squares = x.square() @ precision.T - 2 * x @ (means * precision).T
        found.append(torch.logsumexp(-0.5 * (squares + constant), dim=1))
    return torch.cat(found) - math.log(n)


def total_correlation(codes: Tensor, means: Tensor, logvar: Tensor) -> float:
    """KL(q(z) ‖ Π_j q(z_j)) in nats (Chen et al. 2018), from samples of q(z), codes [S, d].

    Where posteriors are narrow, q(z) is N separate peaks, whose coordinates tell about each other
    even if the means are independent: with I_j the information of dimension j about the image, the
    value is at least Σ_j I_j − log N, unlike that of `gaussian_total_correlation`.
    """
    check_tensor("codes", codes, ndim=2)
    check_same_shape("means", means, "logvar", logvar)
    n, d = means.shape
    if codes.shape[1] != d:
        raise ValueError(f"codes must have shape ('S', {d}), got {tuple(codes.shape)}")
    each = Normal(means, torch.exp(0.5 * logvar))
    ratios = []
    for chunk in codes.split(max(1, _CHUNK // (n * d))):
        density = each.log_prob(chunk[:, None])  # [chunk, N, d]
        joint = torch.logsumexp(density.sum(2), dim=1) - math.log(n)
        product = (torch.logsumexp(density, dim=1) - math.log(n)).sum(1)
        ratios.append(joint - product)
    return float(torch.cat(ratios).double().mean())


def gaussian_total_correlation(means: Tensor, logvar: Tensor) -> float:
    """What correlation alone accounts for, in nats (Locatello et al. 2019).

    ½(Σ_j log Σ_jj − log det Σ) with Σ = Cov[μ] + E[diag σ²].
    """
    check_same_shape("means", means, "logvar", logvar)
    variances = logvar.double().exp().mean(0)
    centered = means.double() - means.double().mean(0)
    covariance = centered.T @ centered / len(centered) + variances.diag()
    return float(0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)))
