"""Models × attacks × metrics → one tidy table: damage over ε, and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrnb import metrics, objectives, provenance, store
from lrnb.attacks import Attack, attack
from lrnb.balls import length, random_on_sphere
from lrnb.data import ImageSet
from lrnb.experiments import (
    ATTACK_CODE,
    Profile,
    Recipe,
    data_of,
    eps_grid,
    get_model,
    get_profile,
    latent_of,
    spec_of,
)
from lrnb.intervals import MODEL
from lrnb.models import Autoencoder
from lrnb.progress import track

METRICS = ("ssim", "lpips", "mse")
SCALES = ("raw", "spread")
KINDS = ("attack", "noise")
Rows = list[dict[str, Any]]
# the code that the numbers in a table depend on, beside that of the models
ROOMS = (*ATTACK_CODE, "folding", "metrics", "robustness")
# and the packages
PACKAGES = ("lpips", "torchmetrics")
# a dimension of the code is active if its variance is larger (Burda et al. 2016)
ACTIVE = 0.01


@dataclass(frozen=True)
class CodeStatistics:
    """How the codes of a model lie.

    Attributes:
        spread: s = sqrt(mean over dimensions of Var[μ_j]), the unit of "ε in spread units".
        active: number of dimensions with Var[μ_j] > `ACTIVE`.
        deviations: [d], sqrt(Var[μ_j]) of each dimension.
    """

    spread: float
    active: int
    deviations: Tensor


def encode(model: Autoencoder, images: Tensor, *, batch: int = 500) -> Tensor:
    """Codes of images, the means of their posteriors, [N, d] on the model's device."""
    with torch.no_grad():
        return torch.cat([model.encode(chunk).mean for chunk in images.split(batch)])


def code_statistics(codes: Tensor) -> CodeStatistics:
    """Spread and active dimensions of codes [N, d].

    >>> wide = code_statistics(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    >>> wide.active, round(wide.spread, 3)      # variances 4 and 0, so s = √2
    (1, 1.414)
    """
    variances = codes.double().var(0, unbiased=False)
    return CodeStatistics(
        spread=float(variances.mean().sqrt()),
        active=int((variances > ACTIVE).sum()),
        deviations=variances.sqrt().float(),
    )


def clean_table(recipes: Iterable[Recipe], profile: str | Profile) -> pd.DataFrame:
    """What each model is like without an attack, one row a recipe.

    Columns: those of the model (dataset, family, beta, latent, adv_form, adv_eps, adv_weight, seed),
    spread, active, squared_error (per image, summed over pixels, on test images), ssim (of
    reconstruction and image), kl (per image, NaN where the encoder is deterministic).
    """
    return stored_table("clean", recipes, profile, _clean_rows, label="clean images")


def training_codes(recipe: Recipe, profile: str | Profile) -> Tensor:
    """Codes of (at most 10,000 of) the images a model was trained on, [N, d]."""
    profile = get_profile(profile)
    n = min(profile.n_train or 10_000, 10_000)
    return encode(get_model(recipe, profile), data_of(recipe.dataset, "train", n).images)


def attacked_images(dataset: str, profile: str | Profile) -> ImageSet:
    """The test images whose codes are attacked."""
    return data_of(dataset, "test", get_profile(profile).n_attack)


def untargeted_table(
    recipes: Iterable[Recipe],
    profile: str | Profile,
    *,
    norm: str = "l2",
    scales: Sequence[str] = SCALES,
) -> pd.DataFrame:
    """Damage over ε under the untargeted attack and under noise of the same norm.

    The damage is that of D(z + δ) against the clean reconstruction D(z). One row for each recipe,
    scale, ε, kind of perturbation and metric; an ε of "spread" scale is in units of the code's own
    spread s, so the ball's radius is ε·s.

    Columns: those of the model, norm, scale, eps, radius, kind ("attack" or "noise"),
    metric ("ssim" for 1 − SSIM, "lpips", "mse"), damage (mean over samples), deviation (standard
    deviation over samples), samples. LPIPS is NaN where its weights are not on the machine.
    """
    profile = get_profile(profile)
    rows: Rows = []
    for recipe in track(list(recipes), "untargeted attacks"):
        for scale in scales:
            found = untargeted_samples(recipe, profile, norm=norm, scale=scale)
            about = identity_of(recipe) | {"norm": norm, "scale": scale}
            for e, eps in enumerate(eps_grid(recipe.dataset, profile)):
                at = about | {"eps": eps, "radius": float(found["radius"][e])}
                for kind in KINDS:
                    for metric in METRICS:
                        damage = _summary("damage", found[f"{kind} {metric}"][e])
                        rows.append(at | {"kind": kind, "metric": metric} | damage)
    return pd.DataFrame(rows)


def untargeted_samples(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2", scale: str = "raw"
) -> dict[str, Tensor]:
    """What the untargeted attack and noise of its norm do to each code, computed once.

    Returns:
        "radius" [E], that of the balls; "delta" [E, N, d], the attack's; and under the name of
        each kind and metric, such as "attack ssim", the damage [E, N]. On the processor.
    """
    profile = get_profile(profile)
    spec = table_spec("untargeted", recipe, profile, norm=norm, scale=scale)
    tensors, _ = store.get(
        "tables", spec, lambda: (_untargeted_samples(recipe, profile, norm=norm, scale=scale), {})
    )
    return dict(tensors)


def untargeted_attack(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2", scale: str = "raw"
) -> Attack:
    """The untargeted attack on a recipe's model over the ε of its data set."""
    profile = get_profile(profile)
    model = get_model(recipe, profile)
    codes = encode(model, attacked_images(recipe.dataset, profile).images)
    return attack(
        model.decode,
        codes,
        eps=_radii(recipe, profile, scale),
        norm=norm,
        steps=profile.steps,
        restarts=profile.restarts,
        progress=f"attacking {recipe}",
    )


def targeted_attack(
    recipe: Recipe, profile: str | Profile, *, norm: str = "l2", scale: str = "raw"
) -> tuple[Attack, Tensor]:
    """The targeted attack on a recipe's model; also the index of each source's target, [N].

    The target of a source is the next test image with another label, wrapping around.
    """
    profile = get_profile(profile)
    model, test = get_model(recipe, profile), attacked_images(recipe.dataset, profile)
    partner = target_of(test.labels)
    hit = attack(
        model.decode,
        encode(model, test.images),
        target=test.images[partner],
        eps=_radii(recipe, profile, scale),
        norm=norm,
        steps=profile.steps,
        restarts=profile.restarts,
        progress=f"steering {recipe}",
    )
    return hit, partner


def target_of(labels: Tensor) -> Tensor:
    """For each sample the next one, cyclically, with another label, [N] → [N].

    Raises:
        ValueError: all labels are equal.

    >>> target_of(torch.tensor([0, 0, 1]))
    tensor([2, 2, 0])
    """
    if len(labels.unique()) < 2:
        raise ValueError(
            f"labels are all {labels[:1].tolist()}; at least two different are accepted"
        )
    n = len(labels)
    ahead = (torch.arange(n)[:, None] + torch.arange(1, n)) % n  # [N, N − 1]
    differs = labels[ahead] != labels[:, None]
    return ahead[torch.arange(n), differs.int().argmax(1)]


def targeted_table(
    recipes: Iterable[Recipe], profile: str | Profile, *, norm: str = "l2"
) -> pd.DataFrame:
    """Distance to the target over ε under the targeted attack.

    Columns: those of the model, norm, eps, metric, distance (of the attacked decoding to
    the target image, mean over samples), start (that of the clean reconstruction), floor (that of
    the target's own reconstruction), noise (that under noise of the same norm), relative (median
    over samples of `lrnb.metrics.relative_distance`), distortion (mean ‖δ‖₂ / ‖z_source − z_target‖₂),
    auddc (mean over samples, the same for each ε), pairs (samples for which relative is defined, the
    others left out of it and of auddc), samples.
    """
    compute = partial(_targeted_rows, norm=norm)
    return stored_table("targeted", recipes, profile, compute, label="targeted attacks", norm=norm)


def distances(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Per-sample distances [N] of two batches of images: 1 − SSIM, LPIPS and MSE.

    LPIPS is NaN where its weights are not on the machine.
    """
    missing = torch.full((len(a),), torch.nan, device=a.device)
    return {
        "ssim": 1 - metrics.ssim(a, b),
        "lpips": metrics.lpips(a, b) if metrics.lpips_is_present() else missing,
        "mse": metrics.mse(a, b),
    }


def noise_like(hit: Attack, *, seed: int = 0) -> Tensor:
    """Random perturbations with ‖δ‖ = ε, [E, N, …], as a floor for what an attack does.

    One draw a code and ε, by default the same for every model, so that differences between models
    are not those of draws.
    """
    generator = torch.Generator().manual_seed(seed)
    unit = random_on_sphere(hit.delta.shape, norm=hit.norm, generator=generator).to(hit.delta)
    return unit * hit.eps.view(-1, *[1] * (unit.ndim - 1))


def aaddc_table(damages: pd.DataFrame) -> pd.DataFrame:
    """AADDC of each damage curve (`untargeted_table`); larger means more robust.

    Columns: those of the table without eps, radius, damage, deviation and samples; aaddc.
    """
    by = [*MODEL, "seed", "norm", "scale", "kind", "metric"]
    by = [name for name in by if name in damages]
    rows = []
    for names, curve in damages.groupby(by, sort=False):
        curve = curve.sort_values("eps")
        if curve["damage"].isna().any():
            score = math.nan
        else:
            score = metrics.aaddc(
                torch.tensor(curve["eps"].to_numpy()), torch.tensor(curve["damage"].to_numpy())
            )
        rows.append(dict(zip(by, names, strict=True)) | {"aaddc": score})
    return pd.DataFrame(rows)


def _radii(recipe: Recipe, profile: Profile, scale: str) -> list[float]:
    """The grid of ε in units of the code; of "spread" scale, times the code's spread."""
    eps = eps_grid(recipe.dataset, profile)
    if scale == "raw":
        return eps
    spread = code_statistics(training_codes(recipe, profile)).spread
    return [e * spread for e in eps]


def identity_of(recipe: Recipe) -> dict[str, Any]:
    """The columns that name a model in a table; the adversarial ones are 0 where they do not apply."""
    made_by = asdict(recipe) | {"latent": latent_of(recipe)}
    if recipe.family != "vae_adv":
        made_by |= {"adv_form": "none", "adv_eps": 0.0, "adv_weight": 0.0}
    return {name: made_by[name] for name in [*MODEL, "seed"]}


def _clean_rows(recipe: Recipe, profile: Profile) -> Rows:
    model = get_model(recipe, profile)
    images = data_of(recipe.dataset, "test", profile.n_test).images
    codes = code_statistics(training_codes(recipe, profile))
    error, similarity, divergence = [], [], []
    with torch.no_grad():
        for chunk in images.split(500):
            chunk = chunk.to(model.device)
            posterior = model.encode(chunk)
            outputs = model.decode(posterior.mean)
            error.append(objectives.reconstruction(chunk, outputs))
            similarity.append(metrics.ssim(chunk, outputs))
            if posterior.logvar is not None:
                divergence.append(objectives.kl(posterior))
    row = identity_of(recipe) | {
        "spread": codes.spread,
        "active": codes.active,
        "squared_error": float(torch.cat(error).mean()),
        "ssim": float(torch.cat(similarity).mean()),
        "kl": float(torch.cat(divergence).mean()) if divergence else math.nan,
    }
    return [row]


def _untargeted_samples(
    recipe: Recipe, profile: Profile, *, norm: str, scale: str
) -> dict[str, Tensor]:
    hit = untargeted_attack(recipe, profile, norm=norm, scale=scale)
    model = get_model(recipe, profile)
    codes = encode(model, attacked_images(recipe.dataset, profile).images)
    with torch.no_grad():
        noisy = torch.stack([model.decode(codes + d) for d in noise_like(hit)])
    found = {"radius": hit.eps, "delta": hit.delta}
    for kind, outputs in zip(KINDS, (hit.images, noisy), strict=True):
        damages = [distances(hit.clean, images) for images in outputs]
        for metric in METRICS:
            found[f"{kind} {metric}"] = torch.stack([d[metric] for d in damages])
    return {name: values.cpu() for name, values in found.items()}


def _targeted_rows(recipe: Recipe, profile: Profile, *, norm: str) -> Rows:
    hit, partner = targeted_attack(recipe, profile, norm=norm)
    model = get_model(recipe, profile)
    codes = encode(model, attacked_images(recipe.dataset, profile).images)
    target = attacked_images(recipe.dataset, profile).images[partner].to(hit.clean)
    with torch.no_grad():
        noisy = [distances(model.decode(codes + d), target) for d in noise_like(hit)]
    reached = [distances(images, target) for images in hit.images]
    start, floor = distances(hit.clean, target), distances(hit.clean[partner], target)
    apart = (codes - codes[partner]).flatten(1).norm(dim=1)
    distortion = torch.stack([length(d, "l2") for d in hit.delta]) / apart  # [E, N]
    rows = []
    for metric in METRICS:
        values = torch.stack([r[metric] for r in reached])
        relative = metrics.relative_distance(values, start[metric], floor[metric])
        area = _auddc(distortion, relative)
        for e, eps in enumerate(eps_grid(recipe.dataset, profile)):
            rows.append(
                identity_of(recipe)
                | {"norm": norm, "eps": eps, "metric": metric}
                | _summary("distance", values[e])
                | {
                    "start": float(start[metric].mean()),
                    "floor": float(floor[metric].mean()),
                    "noise": float(noisy[e][metric].mean()),
                    "relative": float(relative[e].nanmedian()),
                    "distortion": float(distortion[e].mean()),
                    "auddc": area,
                    "pairs": int(relative[e].isfinite().sum()),
                }
            )
    return rows


def _auddc(distortion: Tensor, relative: Tensor) -> float:
    """AUDDC per sample over its ε, with the clean start (0, 1), averaged over samples."""
    areas = []
    for x, y in zip(distortion.T.cpu(), relative.T.cpu(), strict=True):
        if bool(torch.isfinite(y).all()):
            areas.append(
                metrics.auddc(torch.cat([x.new_zeros(1), x]), torch.cat([y.new_ones(1), y]))
            )
    return float(np.mean(areas)) if areas else math.nan


def _summary(name: str, values: Tensor) -> dict[str, Any]:
    return {
        name: float(values.mean()),
        "deviation": float(values.std(unbiased=False)),
        "samples": len(values),
    }


def stored_table(
    name: str,
    recipes: Iterable[Recipe],
    profile: str | Profile,
    compute: Callable[[Recipe, Profile], Rows],
    *,
    label: str,
    rooms: Sequence[str] = (),
    packages: Sequence[str] = PACKAGES,
    **settings: str,
) -> pd.DataFrame:
    """A table whose rows are computed model by model, each once; with ``label`` on the terminal.

    Args:
        name: of the table.
        recipes, profile: of the models.
        compute: the rows of one.
        label: shown while it runs.
        rooms, packages, settings: as for `table_spec`.
    """
    profile = get_profile(profile)
    rows: Rows = []
    for recipe in track(list(recipes), label):
        spec = table_spec(name, recipe, profile, rooms=rooms, packages=packages, **settings)
        rows += stored_rows(spec, partial(compute, recipe, profile))
    return pd.DataFrame(rows)


def table_spec(
    table: str,
    recipe: Recipe,
    profile: Profile,
    *,
    rooms: Sequence[str] = (),
    packages: Sequence[str] = PACKAGES,
    **settings: str,
) -> dict[str, Any]:
    """What a table's rows for one model are made from: their address in the store.

    Args:
        table: its name.
        recipe, profile: of the model.
        rooms: the modules that compute it, beside `ROOMS`.
        packages: others whose version counts.
        settings: of this table alone.
    """
    size = {k: getattr(profile, k) for k in ("n_test", "n_attack", "steps", "restarts")}
    return {
        "table": table,
        "model": spec_of(recipe, profile),
        "size": size | {"eps": eps_grid(recipe.dataset, profile)},
        "settings": settings,
        "lpips": "lpips" in packages and metrics.lpips_is_present(),
        "packages": {name: provenance.version(name) for name in packages},
        "code": provenance.code_fingerprint(*ROOMS, *rooms),
    }


def stored_rows(spec: dict[str, Any], compute: Callable[[], Rows]) -> Rows:
    """Rows from the store, or computed now and stored, so an interrupted run goes on from here."""
    rows: Rows = store.get("tables", spec, lambda: ({}, {"rows": compute()}))[1]["rows"]
    return rows
