"""The model families: what each adds to the reconstruction error, and how it is shown."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from lrnb._validation import Registry
from lrnb.models import losses
from lrnb.models.autoencoder import Posterior


@dataclass(frozen=True)
class Batch:
    """What a penalty is computed from: codes [B, d] drawn from the posterior of a batch."""

    codes: Tensor
    posterior: Posterior
    n_data: int  # size of the training set
    generator: torch.Generator | None = None  # of samples of the prior
    outputs: Tensor | None = None  # [B, …], what the codes are decoded to

    def prior(self) -> Tensor:
        """As many samples of N(0, I) as there are codes."""
        return torch.empty_like(self.codes).normal_(generator=self.generator)


@dataclass(frozen=True)
class Family:
    """A family of autoencoders: the loss is reconstruction error + penalty(batch, β)."""

    name: str
    label: str = field(compare=False)
    color: int = field(compare=False)  # index into the color-blind palette
    stochastic: bool  # whether the encoder has a variance
    penalty: Callable[[Batch, float], Tensor]  # β = 1 is the family's standard weight
    adversarial: bool = False  # whether it is trained against a latent attack
    swept_label: str | None = field(default=None, compare=False)  # where β is varied


def no_penalty(batch: Batch, beta: float) -> Tensor:
    """Zero: the plain autoencoder."""
    return torch.zeros_like(batch.codes[0, 0])


def kl_penalty(batch: Batch, beta: float) -> Tensor:
    """β·KL(q(z|x) ‖ N(0, I)) (Kingma & Welling 2014; Higgins et al. 2017)."""
    return beta * losses.kl(batch.posterior).mean()


def tc_penalty(batch: Batch, beta: float) -> Tensor:
    """The KL in three parts, β on the total correlation (Chen et al. 2018)."""
    information, correlation, dimension_wise = losses.kl_decomposition(
        batch.codes, batch.posterior, batch.n_data
    )
    return information + beta * correlation + dimension_wise


# MMD and SWT are means, over pairs and over directions, and far smaller than a KL, a sum over
# dimensions; the factors 10 and 100 make β = 1 comparable


def moment_penalty(batch: Batch, beta: float) -> Tensor:
    """10·β times the KL of the Gaussian with the batch's moments."""
    return beta * 10.0 * losses.moment_kl(batch.codes)


def mmd_penalty(batch: Batch, beta: float) -> Tensor:
    """100·β times the maximum mean discrepancy to N(0, I) (Tolstikhin et al. 2018)."""
    return beta * 100.0 * losses.mmd(batch.codes, batch.prior())


def swt_penalty(batch: Batch, beta: float) -> Tensor:
    """100·β times the sliced Wasserstein distance to N(0, I) (Kolouri et al. 2018)."""
    codes, prior = batch.codes, batch.prior()
    directions = torch.empty(50, codes.shape[1], device=codes.device)
    directions = functional.normalize(directions.normal_(generator=batch.generator), dim=1)
    return beta * 100.0 * losses.sliced_wasserstein(codes, prior, directions)


def norm_penalty(batch: Batch, beta: float) -> Tensor:
    """β·½‖z‖²: what is left of the KL of a VAE whose variance is fixed (Ghosh et al. 2020)."""
    return beta * 0.5 * batch.codes.square().sum(1).mean()


def gradient_penalty(batch: Batch, beta: float) -> Tensor:
    """β·(½‖z‖² + 0.1·‖∂D/∂z‖²), the RAE with gradient penalty (Ghosh et al. 2020).

    E‖Jᵀu‖² over u ~ N(0, I) is the squared norm of the Jacobian J; one u a code is drawn.
    """
    assert batch.outputs is not None
    u = torch.empty_like(batch.outputs).normal_(generator=batch.generator)
    (pulled,) = torch.autograd.grad((batch.outputs * u).sum(), batch.codes, create_graph=True)
    return norm_penalty(batch, beta) + beta * 0.1 * pulled.square().sum(1).mean()


_families = (
    Family("ae", "AE", 0, False, no_penalty),
    Family("vae", "VAE", 1, True, kl_penalty, swept_label="β-VAE"),
    Family("tcvae", "β-TCVAE", 2, True, tc_penalty, swept_label="β-TCVAE"),
    Family("dae_kl", "DAE-KL", 9, False, moment_penalty),
    Family("dae_mmd", "DAE-MMD", 4, False, mmd_penalty),
    Family("dae_swt", "DAE-SWT", 7, False, swt_penalty),
    Family("rae", "DAE-½‖z‖²", 5, False, norm_penalty),
    Family("rae_gp", "RAE-GP", 6, False, gradient_penalty),
    Family("vae_adv", "VAE, adversarial", 3, True, kl_penalty, adversarial=True),
)
FAMILIES = Registry("family", {family.name: family for family in _families})
