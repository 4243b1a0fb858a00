"""Why a small δ does so much: how steep the decoder is, and how probable the codes it leads to.

Two explanations of damage are set side by side. Holes: between the codes of data lie places that
training never saw, and the attack finds them. Steepness: the decoder's Jacobian stretches a few
directions much, wherever they lead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lrnb import checks, metrics
from lrnb.balls import length, over, random_on_sphere
from lrnb.experiments import Profile, Recipe, data_of, eps_grid, get_model, get_profile
from lrnb.intervals import LEAST_SEEDS, MODEL, interval
from lrnb.jacobian import Decode, spectrum
from lrnb.models import Autoencoder, Posterior
from lrnb.progress import track
from lrnb.robustness import (
    KINDS,
    Rows,
    attacked_images,
    encode,
    identity_of,
    stored_rows,
    table_spec,
    untargeted_samples,
)

Density = Callable[[Tensor], Tensor]
Correlations = Mapping[Any, Mapping[Any, float]]
# the two estimates of log q
DENSITIES = ("log_density", "kernel")
# training images whose posteriors make up the aggregate
AGGREGATED = 2000
# multiples of δ at which the path along it is looked at
SHARES = tuple(k / 4 for k in range(9))


def log_density(points: Tensor, codes: Tensor, *, logvar: Tensor | None) -> Tensor:
    """log q(z) of the aggregate posterior, the mean of the posteriors of K images.

    Args:
        points: [M, d], where it is evaluated.
        codes: [K, d], means of the posteriors.
        logvar: [K, d] of the posteriors; None for codes without a variance, in whose stead stands
            a Gaussian kernel of Scott's bandwidth in each dimension, K^(−1/(d+4)) times its
            standard deviation (Scott 1992).

    Returns:
        [M], in nats, double precision.

    Raises:
        ValueError: shapes do not fit; or ``logvar`` is None and fewer than two codes, or codes
            constant in a dimension, are given.

    >>> round(log_density(torch.zeros(1, 1), torch.zeros(1, 1), logvar=torch.zeros(1, 1)).item(), 4)
    -0.9189
    """
    points = checks.finite_batch("points", points, dims=2)
    codes = checks.finite_batch("codes", codes, dims=2).double()
    d = codes.shape[1]
    if points.shape[1] != d:
        raise ValueError(f"points has shape {tuple(points.shape)}; ('M', {d}) is accepted")
    if logvar is None:
        logvar = _scott(codes)
    checks.same_shape("codes", codes, "logvar", logvar)
    # (x − m)² is multiplied out into matrix products; double precision and a common origin keep
    # them from cancelling
    centre, logvar = codes.mean(0), logvar.to(codes)
    means, precision = codes - centre, (-logvar).exp()
    constant = (means.square() * precision + logvar).sum(1) + d * math.log(2 * math.pi)  # [K]
    found = []
    for chunk in points.split(2048):
        x = chunk.to(codes) - centre
        squares = x.square() @ precision.T - 2 * x @ (means * precision).T
        found.append(torch.logsumexp(-0.5 * (squares + constant), dim=1))
    return torch.cat(found) - math.log(len(codes))


def geometry_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """How steep the decoder is at each attacked code, how much is damaged, and where δ leads.

    The attack is the untargeted one on the raw L2 grid of ε; noise is as long as its δ, in a random
    direction.

    Columns: those of the model; sample; sigma (σ_max of the Jacobian); share (of the squared
    Frobenius norm that the first singular value carries, 0 to 1); participation (ratio of the
    squared singular values, (Σσ²)²/Σσ⁴, 1 to d: how many directions are steep); eps_small and
    eps_large (the ends of the grid); linear_small and linear_large ((ε·σ_max)² per pixel, the
    largest damage if the decoder were linear); damage_small and damage_large (mean squared error
    per pixel under attack); log_density_clean, log_density_attack and log_density_noise (log q at
    the code, and at the largest ε under attack and under noise, in nats; `log_density` of at most
    `AGGREGATED` training images); kernel_clean, kernel_attack and kernel_noise (the same by Scott's
    kernels about one sample of each posterior, a smoother estimate; for a deterministic encoder
    both are one).
    """
    return _part("codes", recipes, profile)


def path_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """What happens on the straight way from a code along δ, and as far again (L2, largest ε).

    Columns: those of the model; direction ("attack", or "noise" for a random one of the same
    length); t (share of δ, 0 to 2; 1 is the attack itself); change (‖D(z + tδ) − D(z)‖² per
    pixel); log_density (log q(z + tδ) − log q(z), in nats) and kernel (the same by the kernel
    estimate); means over the attacked codes.
    """
    return _part("path", recipes, profile)


def spectrum_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """Singular values of the decoder's Jacobian by rank, means over the attacked codes.

    Columns: those of the model; rank (1 to d); sigma.
    """
    return _part("spectrum", recipes, profile)


def explanations(table: pd.DataFrame) -> pd.DataFrame:
    """What tells which codes are damaged, and whether the attack leads to improbable ones.

    Args:
        table: `geometry_table`.

    Returns:
        One row a model and seed. Beside the columns of the model, over its codes:

        - steepness_small, steepness_large: Spearman's ρ of sigma with the damage at the smallest
          and at the largest ε; steepness_alone: the latter with the fall of log q held fixed, as
          partial rank correlation; over_linear: mean damage at the largest ε over that of a linear
          decoder.
        - density_large: ρ of the fall of log q under attack with the damage, at the largest ε;
          density_alone: with sigma held fixed.
        - fall_attack, fall_noise: mean fall of log q, in nats; extra_fall: the first minus the
          second, positive where the attack leads to less probable codes than noise does.
        - percentile: mean share of the clean codes that are less probable than an attacked one;
          0.5 if attacked codes are as probable as clean ones.
        - kernel_large, kernel_alone, kernel_extra_fall, kernel_percentile: those of density by the
          kernel estimate.

        ρ is NaN where a column is constant.
    """
    rows = []
    for names, part in table.groupby([*MODEL, "seed"], sort=False):
        fall = {d: part[f"{d}_clean"] - part[f"{d}_attack"] for d in DENSITIES}
        extra = {d: part[f"{d}_noise"] - part[f"{d}_attack"] for d in DENSITIES}
        columns = {"sigma": "sigma", "damage_small": "small", "damage_large": "large"}
        observed = part[list(columns)].rename(columns=columns).assign(**fall)
        rho = observed.corr("spearman").to_dict()
        rows.append(
            dict(zip([*MODEL, "seed"], names, strict=True))
            | {
                "steepness_small": rho["sigma"]["small"],
                "steepness_large": rho["sigma"]["large"],
                "steepness_alone": _partial(rho, "sigma", "large", fixed="log_density"),
                "over_linear": part["damage_large"].mean() / part["linear_large"].mean(),
                "density_large": rho["log_density"]["large"],
                "density_alone": _partial(rho, "log_density", "large", fixed="sigma"),
                "fall_attack": fall["log_density"].mean(),
                "fall_noise": (fall["log_density"] - extra["log_density"]).mean(),
                "extra_fall": extra["log_density"].mean(),
                "percentile": _percentile(part, "log_density"),
                "kernel_large": rho["kernel"]["large"],
                "kernel_alone": _partial(rho, "kernel", "large", fixed="sigma"),
                "kernel_extra_fall": extra["kernel"].mean(),
                "kernel_percentile": _percentile(part, "kernel"),
            }
        )
    return pd.DataFrame(rows)


def verdict(explained: pd.DataFrame, *, decides: bool) -> str:
    """Which explanation the intervals over seeds bear out, in a sentence.

    Steepness stands if the 95% interval of steepness_alone lies above 0; holes if those of
    extra_fall, kernel_extra_fall, density_alone and kernel_alone all do.

    Args:
        explained: rows of `explanations`, the seeds of one kind of model.
        decides: whether the run that made them is large enough (`lrnb.Profile.decides`).

    >>> verdict(pd.DataFrame({"steepness_alone": [0.9]}), decides=True)
    'Too small a run to say.'
    """
    if not decides or len(explained) < LEAST_SEEDS:
        return "Too small a run to say."

    def above(name: str) -> bool:
        return interval(explained[name])[1] > 0

    of_holes = ("extra_fall", "kernel_extra_fall", "density_alone", "kernel_alone")
    return {
        (True, True): "Damage follows steepness, and holes as well.",
        (True, False): "Damage follows steepness; of holes there is no clear sign.",
        (False, True): "Damage follows holes; of steepness there is no clear sign.",
        (False, False): "Neither explanation stands by these intervals.",
    }[above("steepness_alone"), all(above(name) for name in of_holes)]


def _scott(codes: Tensor) -> Tensor:
    """Log variance of Scott's kernels about codes [K, d]."""
    k, d = codes.shape
    if k < 2 or bool((codes == codes[0]).all(0).any()):
        raise ValueError(
            f"codes has shape {(k, d)}; without logvar two or more that differ in each dimension are"
            " accepted"
        )
    bandwidth: Tensor = k ** (-1 / (d + 4)) * codes.std(0)
    return (2 * bandwidth.log()).expand(k, d)


def _partial(rho: Correlations, x: str, y: str, *, fixed: str) -> float:
    """Correlation of x and y with a third column held fixed, from the pairwise ones."""
    xy, xz, yz = (rho[a][b] for a, b in ((x, y), (x, fixed), (y, fixed)))
    left = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(left) if left > 0 else math.nan


def _percentile(part: pd.DataFrame, density: str) -> float:
    clean, attacked = (part[f"{density}_{at}"].to_numpy() for at in ("clean", "attack"))
    return float((clean[:, None] < attacked).mean())


def _part(name: str, recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """One of the tables that are computed together and stored as one."""
    profile = get_profile(profile)
    rows: Rows = []
    for recipe in track(list(recipes), "geometry of decoders"):
        spec = table_spec("geometry", recipe, profile, rooms=["geometry"])
        (tables,) = stored_rows(spec, partial(_geometry, recipe, profile))
        rows += [identity_of(recipe) | row for row in tables[name]]
    return pd.DataFrame(rows)


def _geometry(recipe: Recipe, profile: Profile) -> Rows:
    model, found = get_model(recipe, profile), untargeted_samples(recipe, profile)
    codes = encode(model, attacked_images(recipe.dataset, profile).images)
    delta = found["delta"][-1].to(codes)
    moves = dict(zip(KINDS, (delta, _noise_like(delta)), strict=True))
    sigma, densities = spectrum(model.decode, codes), _densities(model, recipe, profile)

    power, pixels = sigma.square(), math.prod(model.image_shape)
    columns = {
        "sigma": sigma[:, 0],
        "share": power[:, 0] / power.sum(1),
        "participation": power.sum(1).square() / power.square().sum(1),
    }
    grid = eps_grid(recipe.dataset, profile)
    for at, e in (("small", 0), ("large", -1)):
        columns[f"eps_{at}"] = torch.full_like(sigma[:, 0], grid[e])
        columns[f"linear_{at}"] = grid[e] ** 2 * power[:, 0] / pixels
        columns[f"damage_{at}"] = found["attack mse"][e]
    for name, density in densities.items():
        columns[f"{name}_clean"] = density(codes)
        for kind, move in moves.items():
            columns[f"{name}_{kind}"] = density(codes + move)
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    of_codes = [
        {"sample": n} | dict(zip(columns, row, strict=True)) for n, row in enumerate(values)
    ]
    of_ranks = [{"rank": k, "sigma": s} for k, s in enumerate(sigma.mean(0).tolist(), start=1)]
    path = _path(model.decode, codes, moves, densities)
    return [{"codes": of_codes, "spectrum": of_ranks, "path": path}]


def _path(
    decode: Decode, codes: Tensor, moves: dict[str, Tensor], densities: dict[str, Density]
) -> Rows:
    with torch.no_grad():
        clean = decode(codes)
        start = {name: density(codes) for name, density in densities.items()}
        rows = []
        for kind, move in moves.items():
            for t in SHARES:
                point = codes + t * move
                row = {"direction": kind, "t": t}
                row["change"] = float(metrics.mse(decode(point), clean).mean())
                for name, density in densities.items():
                    row[name] = float((density(point) - start[name]).mean())
                rows.append(row)
    return rows


def _noise_like(delta: Tensor) -> Tensor:
    """Perturbations of the same lengths in random directions, [N, d] → [N, d]."""
    generator = torch.Generator().manual_seed(0)
    unit = random_on_sphere((1, *delta.shape), norm="l2", generator=generator)[0].to(delta)
    return over(length(delta, "l2"), delta) * unit


def _densities(model: Autoencoder, recipe: Recipe, profile: Profile) -> dict[str, Density]:
    """log q by the posteriors of training images, and by kernels about one sample of each."""
    n = min(profile.n_train or AGGREGATED, AGGREGATED)
    images = data_of(recipe.dataset, "train", n).images
    with torch.no_grad():
        parts = [model.encode(chunk) for chunk in images.split(500)]
    logvars = [part.logvar for part in parts if part.logvar is not None]
    every = Posterior(
        torch.cat([part.mean for part in parts]), torch.cat(logvars) if logvars else None
    )
    drawn = every.sample(torch.Generator(every.mean.device).manual_seed(0))
    of_posteriors = partial(log_density, codes=every.mean, logvar=every.logvar)
    of_kernels = partial(log_density, codes=drawn, logvar=None)
    return dict(zip(DENSITIES, (of_posteriors, of_kernels), strict=True))
