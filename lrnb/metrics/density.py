"""Where the codes lie: spread, active dimensions, density and dependence of the aggregate posterior.

The aggregate posterior q(z) is the mean of the posteriors N(μ(x), diag σ²(x)) of some images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from lrnb._validation import check_same_shape, check_tensor

# a dimension of the code is active if its variance is larger (Burda et al. 2016)
ACTIVE_VARIANCE = 0.01
# floats in one tensor of densities, [chunk, N, d]: 4 MB, of which a few exist at a time
_CHUNK = 2**20


@dataclass(frozen=True)
class CodeStatistics:
    """How the codes of a model are spread.

    Attributes:
        spread: s = sqrt(mean over dimensions of Var[μ_j]), the unit of "ε in spread units".
        active: number of dimensions with Var[μ_j] > `ACTIVE_VARIANCE`, in double precision.
        deviations: [d] float32, sqrt(Var[μ_j]) of each dimension.
        is_active: [d] bool, from the float32 deviations: by rounding it can differ from `active`.
    """

    spread: float
    active: int
    deviations: Tensor
    is_active: Tensor


def code_statistics(codes: Tensor) -> CodeStatistics:
    """Spread and active dimensions of codes [N, d].

    >>> wide = code_statistics(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    >>> wide.active, round(wide.spread, 3)      # variances 4 and 0, so s = √2
    (1, 1.414)
    """
    variances = codes.double().var(0, unbiased=False)
    spread, active = float(variances.mean().sqrt()), int((variances > ACTIVE_VARIANCE).sum())
    deviations = variances.sqrt().float()
    return CodeStatistics(spread, active, deviations, deviations.square() > ACTIVE_VARIANCE)


def log_density(points: Tensor, means: Tensor, *, logvar: Tensor | None = None) -> Tensor:
    """log q(z) of the aggregate posterior of K images.

    Args:
        points: [M, d], where it is evaluated.
        means, logvar: [K, d] of the posteriors. For codes without a variance logvar is None: each
            has a Gaussian kernel of Scott's bandwidth in each dimension, K^(−1/(d+4)) times its
            standard deviation (Scott 1992), which needs two codes that differ.

    Returns:
        [M], in nats, double precision.

    >>> round(log_density(torch.zeros(1, 1), torch.zeros(1, 1), logvar=torch.zeros(1, 1)).item(), 4)
    -0.9189
    """
    points = check_tensor("points", points, ndim=2)
    means = check_tensor("means", means, ndim=2).double()
    d = means.shape[1]
    if points.shape[1] != d:
        raise ValueError(f"points must have shape ('M', {d}), got {tuple(points.shape)}")
    if logvar is None:
        if len(means) < 2 or bool((means == means[0]).all(0).any()):
            shape = tuple(means.shape)
            raise ValueError(
                f"means must differ in each dimension without logvar, got shape {shape}"
            )
        logvar = (2 * (len(means) ** (-1 / (d + 4)) * means.std(0)).log()).expand_as(means)
    check_same_shape("means", means, "logvar", logvar)
    # (x − m)² is expanded into matrix products; double precision and a common origin keep them
    # from cancelling
    center, logvar = means.mean(0), logvar.to(means)
    means, precision = means - center, (-logvar).exp()
    constant = (means.square() * precision + logvar).sum(1) + d * math.log(2 * math.pi)  # [K]
    found = []
    for chunk in points.split(2048):
        x = chunk.to(means) - center
        squares = x.square() @ precision.T - 2 * x @ (means * precision).T
        found.append(torch.logsumexp(-0.5 * (squares + constant), dim=1))
    return torch.cat(found) - math.log(len(means))


def total_correlation(codes: Tensor, means: Tensor, logvar: Tensor) -> float:
    """KL(q(z) ‖ Π_j q(z_j)) in nats, of the aggregate posterior of N images (Chen et al. 2018).

    The mean over samples of the log ratio of densities. Where posteriors are narrow, q(z) is N
    separate peaks, whose coordinates tell about each other even if the means are independent: with
    I_j the information of dimension j about the image, the value is at least Σ_j I_j − log N.
    `gaussian_total_correlation` has no such lower bound.

    Args:
        codes: [S, d], samples of q(z); means, logvar: [N, d] of the posteriors.

    >>> far = 100 * torch.eye(2)                                    # two peaks far apart
    >>> round(total_correlation(far, far, torch.zeros(2, 2)), 4)    # one coordinate tells the other
    0.6931
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
    """Total correlation, in nats, of the Gaussian with the covariance of the aggregate posterior.

    ½(Σ_j log Σ_jj − log det Σ) with Σ = Cov[μ] + E[diag σ²]: what correlation alone accounts for
    (Locatello et al. 2019). Means and logvar are [N, d], of the posteriors.

    >>> means = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])            # Σ = [[2, 1], [1, 2]]
    >>> round(gaussian_total_correlation(means, torch.zeros(2, 2)), 4)
    0.1438
    """
    check_same_shape("means", means, "logvar", logvar)
    variances = logvar.double().exp().mean(0)
    centered = means.double() - means.double().mean(0)
    covariance = centered.T @ centered / len(centered) + variances.diag()
    return float(0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)))
