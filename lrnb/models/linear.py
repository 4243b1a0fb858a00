"""The linear VAE, whose optimum is known: what anisotropy alone predicts (probabilistic PCA)."""

from __future__ import annotations

import math

from torch import Tensor

from lrnb._validation import check_integer, check_number, check_tensor


def singular_values(
    eigenvalues: Tensor,
    *,
    latent: int,
    beta: float = 1.0,
    adv_eps: float = 0.0,
    adv_weight: float = 1.0,
) -> Tensor:
    """Singular values [d] of the decoder of an optimal linear VAE, descending.

    For data of covariance eigenvalues λ_j [p] and the loss of this book, squared error + β·KL: with
    b = β/2, σ_j² = λ_j − b where λ_j > b, else 0, a collapsed dimension (Tipping & Bishop 1999;
    Lucas et al. 2019; b is the decoder's variance ½ times β).

    With ``adv_eps`` > 0 the worst damage of a perturbation of this length, ε²·σ_1², is added with
    the weight ``adv_weight``: then the n largest are cut to one value σ², of which
    (wε²/b)·t² + n·t = λ_1 + … + λ_n with t = σ² + b.

    >>> import torch
    >>> singular_values(torch.tensor([4.5, 2.5, 0.2]), latent=3).tolist()
    [2.0, 1.4142135381698608, 0.0]
    """
    check_integer("latent", latent, 1)
    b = check_number("beta", beta, 0, above=True) / 2
    penalty = (
        check_number("adv_weight", adv_weight, 0) * check_number("adv_eps", adv_eps, 0) ** 2 / b
    )
    found = check_tensor("eigenvalues", eigenvalues, ndim=1).double().sort(descending=True).values
    kept = found[:latent].clamp_min(b)  # (t_j = λ_j where not collapsed, b where it is)
    for n in range(1, len(kept) + 1) if penalty else ():
        t = (math.sqrt(n**2 + 4 * float(kept[:n].sum()) * penalty) - n) / (2 * penalty)
        if n == len(kept) or t >= kept[n]:
            kept[:n] = max(t, b)
            break
    return (kept - b).sqrt().float()


def predictions(eigenvalues: Tensor, *, latent: int, beta: float = 1.0) -> dict[str, float]:
    """What an optimal linear VAE is like.

    Returns:
        "sigma", σ_1; "attack_over_noise", d·σ_1²/Σσ², how much more the worst δ damages than one of
        a random direction, at any ε; "spread", s_μ; "aggregate", s_q, which is 1; "active", the
        dimensions that have not collapsed; "squared_error", of an image.

    >>> import torch
    >>> found = predictions(torch.tensor([4.5, 2.5, 0.2]), latent=3)
    >>> round(found["attack_over_noise"], 2), found["active"]
    (2.0, 2.0)
    """
    sigma = singular_values(eigenvalues, latent=latent, beta=beta).double()
    found, b = eigenvalues.double().sort(descending=True).values, beta / 2
    variance = b / (sigma.square() + b)  # of the posterior, by dimension
    # of the mean code's decoding: what the gain σ/(σ² + b) leaves, and what no dimension holds
    left = (found[: len(sigma)] * variance.square()).sum() + found[len(sigma) :].sum()
    power = sigma.square()
    return {
        "sigma": float(sigma[0]),
        "attack_over_noise": float(len(sigma) * power[0] / power.sum()),
        "spread": float((1 - variance).mean().sqrt()),
        "aggregate": 1.0,
        "active": float((sigma > 0).sum()),
        "squared_error": float(left),
    }
