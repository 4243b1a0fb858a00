"""What training minimises: reconstruction plus a regulariser of the code towards N(0, I)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lrnb import checks
from lrnb.models import Posterior

STOCHASTIC = ("vae", "tcvae", "vae_adv")
FAMILIES = ("ae", "vae", "tcvae", "dae_kl", "dae_mmd", "dae_swt", "vae_adv")

# MMD and SWT are means over pairs and over directions, so they are orders of magnitude smaller
# than a KL summed over dimensions; these factors put β = 1 on a comparable footing.
STANDARD_WEIGHT = {"dae_kl": 10.0, "dae_mmd": 100.0, "dae_swt": 100.0}


def reconstruction(images: Tensor, outputs: Tensor) -> Tensor:
    """Squared error summed over pixels, [N]: a Gaussian likelihood of variance ½, up to a constant.

    >>> reconstruction(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))
    tensor([4., 4.])
    """
    return (images - outputs).flatten(1).square().sum(1)


def kl(posterior: Posterior) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) summed over dimensions, [N] (Kingma & Welling 2014, appendix B).

    Raises:
        ValueError: the posterior has no variance.

    >>> kl(Posterior(torch.zeros(1, 3), torch.zeros(1, 3)))
    tensor([0.])
    """
    mean, logvar = posterior.mean, _logvar(posterior)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)


def moment_kl(codes: Tensor) -> Tensor:
    """KL between N(0, I) and the Gaussian with the batch's mean and variance in each dimension.

    A deterministic code has no posterior to take a KL of; matching the moments of the batch is
    this project's choice for the deterministic autoencoder with KL.

    Args:
        codes: [N, d], N ≥ 2.

    Returns:
        A scalar, summed over dimensions.
    """
    mean, var = codes.mean(0), codes.var(0, unbiased=False).clamp_min(1e-8)
    return 0.5 * (mean.square() + var - 1 - var.log()).sum()


def mmd(codes: Tensor, prior: Tensor) -> Tensor:
    """Squared maximum mean discrepancy, unbiased within samples (Tolstikhin et al. 2018).

    Inverse multiquadric kernels C / (C + ‖a − b‖²) are summed over C = 2·d·c, with c from 0.1
    to 10, for a prior of unit variance.

    Args:
        codes, prior: [N, d] each, N ≥ 2.

    Returns:
        A scalar; it can fall slightly below 0, since it is unbiased.
    """
    n, d = codes.shape
    within, cross = torch.zeros_like(codes[0, 0]), torch.zeros_like(codes[0, 0])
    cc, pp, cp = (
        _squared_distances(a, b) for a, b in [(codes, codes), (prior, prior), (codes, prior)]
    )
    for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
        scale = 2 * d * c
        # the diagonal of a within-term is the kernel at distance 0, which is 1: n in all
        within = within + (scale / (scale + cc)).sum() + (scale / (scale + pp)).sum() - 2 * n
        cross = cross + (scale / (scale + cp)).sum()
    return within / (n * n - n) - 2 * cross / (n * n)


def sliced_wasserstein(codes: Tensor, prior: Tensor, directions: Tensor) -> Tensor:
    """Squared sliced Wasserstein-2 distance between two samples (Kolouri et al. 2018).

    Args:
        codes, prior: [N, d] each.
        directions: [L, d], of unit length.

    Returns:
        A scalar: the mean over directions and sorted pairs of the squared difference.
    """
    a = (codes @ directions.T).sort(dim=0).values
    b = (prior @ directions.T).sort(dim=0).values
    return (a - b).square().mean()


def kl_decomposition(
    codes: Tensor, posterior: Posterior, n_data: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information, total correlation and dimension-wise KL (Chen et al. 2018, eq. 2).

    The aggregate posterior is estimated from the batch with minibatch stratified weights: with
    M = B − 1, 1/N for the sample's own posterior (the diagonal), (N − M)/(N·M) for one other entry
    of the row and 1/M for the rest.

    Args:
        codes: [B, d], samples of the posterior.
        posterior: of the batch.
        n_data: N, the size of the training set, N ≥ B.

    Returns:
        Three scalars that sum to an estimate of the KL of the VAE.
    """
    mean, logvar = posterior.mean, _logvar(posterior)
    batch = len(codes)
    if n_data < batch or batch < 3:
        raise ValueError(f"n_data={n_data} and a batch of {batch} are not accepted: N ≥ B ≥ 3 is")
    pairwise = _log_normal(codes[:, None], mean[None], logvar[None])  # [B, B, d]
    log_weights = stratified_log_weights(batch, n_data).to(codes)
    log_q_z_x = _log_normal(codes, mean, logvar).sum(1)
    log_p_z = _log_normal(codes, torch.zeros_like(codes), torch.zeros_like(codes)).sum(1)
    log_q_z = torch.logsumexp(log_weights + pairwise.sum(2), dim=1)
    log_q_z_product = torch.logsumexp(log_weights[..., None] + pairwise, dim=1).sum(1)
    mutual_information = (log_q_z_x - log_q_z).mean()
    total_correlation = (log_q_z - log_q_z_product).mean()
    dimension_wise_kl = (log_q_z_product - log_p_z).mean()
    return mutual_information, total_correlation, dimension_wise_kl


def stratified_log_weights(batch: int, n_data: int) -> Tensor:
    """Logarithm of the minibatch stratified weights, [B, B]; each row of weights sums to 1.

    >>> [round(total, 4) for total in stratified_log_weights(4, 100).exp().sum(1).tolist()]
    [1.0, 1.0, 1.0, 1.0]
    """
    m = batch - 1
    weights = torch.full((batch, batch), 1 / m)
    rows = torch.arange(batch)
    weights[rows, (rows + 1) % batch] = (n_data - m) / (n_data * m)
    weights[rows, rows] = 1 / n_data
    return weights.log()


def regulariser(
    family: str,
    codes: Tensor,
    posterior: Posterior,
    *,
    beta: float,
    n_data: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The weighted term that a family adds to the mean reconstruction error, a scalar.

    Args:
        family: one of `FAMILIES`.
        codes: [B, d], drawn from the posterior.
        posterior: of the batch.
        beta: weight; 1 is the family's standard.
        n_data: size of the training set (for "tcvae").
        generator: source of the prior's samples and the directions, on the device of the codes.
    """
    checks.one_of("family", family, FAMILIES)
    if family == "ae":
        return torch.zeros_like(codes[0, 0])
    if family in ("vae", "vae_adv"):
        return beta * kl(posterior).mean()
    if family == "tcvae":
        mutual_information, total_correlation, dimension_wise = kl_decomposition(
            codes, posterior, n_data
        )
        return mutual_information + beta * total_correlation + dimension_wise
    weight = beta * STANDARD_WEIGHT[family]
    if family == "dae_kl":
        return weight * moment_kl(codes)
    prior = torch.empty_like(codes).normal_(generator=generator)
    if family == "dae_mmd":
        return weight * mmd(codes, prior)
    directions = torch.empty(50, codes.shape[1], device=codes.device).normal_(generator=generator)
    return weight * sliced_wasserstein(codes, prior, functional.normalize(directions, dim=1))


def _logvar(posterior: Posterior) -> Tensor:
    if posterior.logvar is None:
        raise ValueError("posterior has no variance; this term needs a stochastic encoder")
    return posterior.logvar


def _log_normal(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    # (not cdist: its gradient at distance 0 is not finite)
    return (a[:, None] - b[None]).square().sum(2)
