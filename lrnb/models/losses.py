"""The terms of the training losses: reconstruction error and penalties on the code."""

import math

import torch
from torch import Tensor

from lrnb.models.autoencoder import Posterior


def reconstruction(images: Tensor, outputs: Tensor) -> Tensor:
    """Squared error, a sum over pixels, [N]: a Gaussian likelihood of variance ½."""
    return (images - outputs).flatten(1).square().sum(1)


def kl(posterior: Posterior) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) summed over dimensions, [N] (Kingma & Welling 2014, appendix B).

    >>> kl(Posterior(torch.zeros(1, 3), torch.zeros(1, 3)))
    tensor([0.])
    """
    mean, logvar = posterior.mean, _logvar(posterior)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)


def moment_kl(codes: Tensor) -> Tensor:
    """KL between the Gaussian with the moments of a batch of codes [N, d] and N(0, I), a scalar."""
    # a deterministic code has no posterior; matching the batch's moments is this project's choice
    mean, var = codes.mean(0), codes.var(0, unbiased=False).clamp_min(1e-8)
    return 0.5 * (mean.square() + var - 1 - var.log()).sum()


def mmd(codes: Tensor, prior: Tensor) -> Tensor:
    """Squared maximum mean discrepancy, unbiased within samples (Tolstikhin et al. 2018).

    Inverse multiquadric kernels C / (C + ‖a − b‖²) are summed over C = 2·d·c, c from 0.1 to 10, for
    two samples [N, d]. Being unbiased, it can fall slightly below 0.
    """
    n, d = codes.shape
    within, cross = torch.zeros_like(codes[0, 0]), torch.zeros_like(codes[0, 0])
    pairs = (codes, codes), (prior, prior), (codes, prior)
    # (not cdist: its gradient at distance 0 is not finite)
    cc, pp, cp = ((a[:, None] - b[None]).square().sum(2) for a, b in pairs)
    for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
        scale = 2 * d * c
        # the diagonal of a within-term is the kernel at distance 0, which is 1: n in all
        within = within + (scale / (scale + cc)).sum() + (scale / (scale + pp)).sum() - 2 * n
        cross = cross + (scale / (scale + cp)).sum()
    return within / (n * n - n) - 2 * cross / (n * n)


def sliced_wasserstein(codes: Tensor, prior: Tensor, directions: Tensor) -> Tensor:
    """Squared sliced Wasserstein-2 distance of two samples [N, d] (Kolouri et al. 2018).

    A mean over unit directions [L, d] and pairs, sorted along each.
    """
    a, b = ((sample @ directions.T).sort(dim=0).values for sample in (codes, prior))
    return (a - b).square().mean()


def kl_decomposition(
    codes: Tensor, posterior: Posterior, n_data: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information, total correlation and dimension-wise KL (Chen et al. 2018, eq. 2).

    From samples [B, d] of the posterior of a batch out of ``n_data`` = N ≥ B ≥ 3 images. The
    aggregate posterior is estimated with minibatch stratified weights; the three scalars sum to an
    estimate of the KL of the VAE.
    """
    mean, logvar = posterior.mean, _logvar(posterior)
    batch = len(codes)
    if n_data < batch or batch < 3:
        raise ValueError(f"n_data and the batch must satisfy N ≥ B ≥ 3, got {n_data} and {batch}")
    pairwise = _log_normal(codes[:, None], mean[None], logvar[None])  # [B, B, d]
    log_weights = stratified_log_weights(batch, n_data).to(codes)
    log_q_z_x = _log_normal(codes, mean, logvar).sum(1)
    log_p_z = _log_normal(codes, torch.zeros_like(codes), torch.zeros_like(codes)).sum(1)
    log_q_z = torch.logsumexp(log_weights + pairwise.sum(2), dim=1)
    log_q_z_product = torch.logsumexp(log_weights[..., None] + pairwise, dim=1).sum(1)
    parts = (log_q_z_x - log_q_z, log_q_z - log_q_z_product, log_q_z_product - log_p_z)
    return parts[0].mean(), parts[1].mean(), parts[2].mean()


def stratified_log_weights(batch: int, n_data: int) -> Tensor:
    """Logarithm of the minibatch stratified weights, [B, B]; each row of weights sums to 1.

    With M = B − 1: 1/N on the diagonal, (N − M)/(N·M) for one other entry of the row, else 1/M.

    >>> [round(total, 4) for total in stratified_log_weights(4, 100).exp().sum(1).tolist()]
    [1.0, 1.0, 1.0, 1.0]
    """
    m, rows = batch - 1, torch.arange(batch)
    weights = torch.full((batch, batch), 1 / m)
    weights[rows, (rows + 1) % batch] = (n_data - m) / (n_data * m)
    weights[rows, rows] = 1 / n_data
    return weights.log()


def _logvar(posterior: Posterior) -> Tensor:
    if posterior.logvar is None:
        raise ValueError("posterior must have a variance, got a deterministic one")
    return posterior.logvar


def _log_normal(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi))
