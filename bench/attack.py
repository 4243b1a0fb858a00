"""Damage and cost of `lrnb.attack` beside the peers' attacks, on trained decoders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import lrnb
from bench.check import check_peers
from bench.measure import Measured, device, matmul_gflops, measure
from bench.peers import PEERS, installed
from lrnb import attacks, data
from lrnb.attacks import squared_distance
from lrnb.models import FAMILIES, Autoencoder, eps_grid, load_images

# (restarts, steps) of lrnb.attack, from the cheapest to the dearest
LADDER = [
    (2, 4), (2, 8), (2, 12), (4, 8), (4, 10), (4, 12), (6, 10), (6, 12), (6, 14), (6, 16), (8, 16),
    (10, 20), (16, 40),
]  # fmt: skip
LIBRARIES = (
    "rai_toolbox.perturbations",
    "foolbox.attacks",
    "art.attacks.evasion",
    "art.estimators.classification",
)
NEARLY = 1 - 1e-4  # the share of the best peer's loss at an ε that counts as equal


@dataclass(frozen=True)
class Size:
    """How big the benchmark is.

    Attributes:
        datasets, families: of the decoders; `profile`: of their training and of the grid of ε.
        n: test codes that are attacked.
        restarts, steps: of the peers.
        lengths: of their step, as multiples of ε; the peers take that with which the plain loop
            does most damage.
        customary: the families on whose decoders they also take the customary 2.5/steps.
    """

    datasets: tuple[str, ...]
    families: tuple[str, ...]
    profile: str
    n: int
    restarts: int
    steps: int
    lengths: tuple[float, ...]
    customary: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """One decoder and the codes at which it is attacked, as a fresh process can be told of it.

    Attributes:
        recipe, profile: of the model.
        codes: [N, d] float32.
        eps: E radii.
    """

    recipe: lrnb.Recipe
    profile: str
    codes: np.ndarray
    eps: tuple[float, ...]

    def load(self) -> tuple[Autoencoder, Tensor]:
        """The model, and the codes on its device."""
        model = lrnb.get_model(self.recipe, self.profile, device=device())
        return model, torch.from_numpy(self.codes).to(model.device)


def full_size() -> Size:
    """The three real data sets where they are present, else the embedded ones."""
    real = tuple(d for d in ("mnist", "fashion_mnist", "celeba") if data.is_present(d))
    return Size(
        real or ("digits", "shapes"),
        tuple(FAMILIES),
        "quick",
        n=16,
        restarts=4,
        steps=20,
        lengths=(0.25, 0.5, 1.0, 2.0),
        customary=("vae",),
    )


def small_size() -> Size:
    """One decoder of embedded data, a few steps."""
    return Size(
        ("digits",), ("vae",), "smoke", n=4, restarts=2, steps=5, lengths=(1.0,), customary=("vae",)
    )


def run(*, small: bool, threads: int) -> dict[str, pd.DataFrame]:
    """Benchmark the attack.

    Returns:
        "attack", one row a decoder and attack: "dataset", "family", "attack", "step" (multiple of
        ε; of the peers only), "restarts", "steps", "decodes", "seconds", "peak_memory_mb", "loss"
        (mean over ε and codes), "share_of_best" (of the best loss on that decoder) and
        "matmul_share" (floating-point operations a second relative to matrix multiplication).
        "attack_summary", one row a decoder: the best peer and lrnb at no more evaluations, the
        fastest peer and lrnb's seconds to the best peer's mean loss, and to its loss at every ε.
    """
    size = small_size() if small else full_size()
    checked = measure(_prepare_check, 40 if small else 100, threads=threads).result
    print(checked.to_string(index=False), flush=True)
    gflops = matmul_gflops(threads=threads)
    recipes = [lrnb.Recipe(d, family) for d in size.datasets for family in size.families]
    lrnb.train_all(recipes, size.profile)
    tables, summaries = [], []
    for recipe in recipes:
        table, summary = _one_decoder(_problem(recipe, size), size, gflops=gflops, threads=threads)
        tables.append(table)
        summaries.append(summary)
        margin, times = summary["margin_percent"], summary["times_faster"]
        said = f"margin {margin:.2f} %, {times:.2f} times faster"
        print(f"attack: {recipe}: {said}", file=sys.stderr, flush=True)
    return {
        "attack": pd.concat(tables, ignore_index=True),
        "attack_summary": pd.DataFrame(summaries),
    }


def decoder_flops(model: Autoencoder) -> int:
    """Floating-point operations of decoding one code, two for each multiply–add of its layers."""
    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            counted.append(2 * layer.in_features * layer.out_features)
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            # each pixel of the smaller side meets each weight once, up to what padding cuts off
            small = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
            counted.append(2 * layer.weight.numel() * small.shape[2] * small.shape[3])

    hooks = [layer.register_forward_hook(count) for layer in model.decoder.modules()]
    try:
        with torch.no_grad():
            model.decode(torch.zeros(1, model.latent, device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def _problem(recipe: lrnb.Recipe, size: Size) -> Problem:
    model = lrnb.get_model(recipe, size.profile, device=device())
    images = load_images(recipe.dataset, "test", size.n).images
    with torch.no_grad():
        codes = model.encode(images).mean.cpu().numpy()
    return Problem(recipe, size.profile, codes, tuple(eps_grid(recipe.dataset, size.profile)))


def _one_decoder(
    problem: Problem, size: Size, *, gflops: float, threads: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    model, codes = problem.load()
    flops = 2 * decoder_flops(model)  # forward, and back to the code
    rows: list[dict[str, Any]] = []
    curves: list[np.ndarray] = []  # of each row, its loss at each ε, a mean over codes

    def add(
        name: str, measured: Measured, *, restarts: int, steps: int, step: float = np.nan
    ) -> None:
        delta, decodes = measured.result
        loss = _loss(model, codes, torch.from_numpy(delta), problem.eps)
        curves.append(loss)
        rows.append(
            {
                "dataset": problem.recipe.dataset,
                "family": problem.recipe.family,
                "attack": name,
                "step": step,
                "restarts": restarts,
                "steps": steps,
                "decodes": decodes,
                "seconds": measured.seconds,
                "peak_memory_mb": measured.peak_memory_mb,
                "loss": loss.mean(),
                "matmul_share": flops * decodes / measured.seconds / 1e9 / gflops,
            }
        )

    effort = {"restarts": size.restarts, "steps": size.steps}
    lengths = [_best_step(model, codes, problem.eps, size)]
    if problem.recipe.family in size.customary:
        lengths.append(2.5 / size.steps)
    for step in lengths:
        for name in installed():
            measured = measure(_prepare_peer, problem, name, step, size, threads=threads)
            add(name, measured, step=step, **effort)
    peers = len(rows)
    best_curve = max(curves, key=np.mean)
    fewest = min(row["decodes"] for row in rows)
    equal, reached, everywhere = _climb(model, codes, problem.eps, fewest, best_curve)

    kinds = [
        ("lrnb, equal evaluations", equal, {}),
        ("lrnb, equal loss", reached, {}),
        ("lrnb, equal loss at every ε", everywhere, {}),
    ]
    kinds += [
        (f"lrnb {method}", (size.restarts, size.steps), {"method": method})
        for method in ("pgd", "apgd")
        if problem.recipe.family in size.customary
    ]
    if torch.cuda.is_available():
        kinds.append(("lrnb, compiled", equal, {"compiled": True}))
    for name, rung, options in kinds:
        if rung is not None:
            measured = measure(_prepare_lrnb, problem, *rung, options, threads=threads)
            add(name, measured, restarts=rung[0], steps=rung[1])

    table = pd.DataFrame(rows)
    place = table.columns.get_loc("loss") + 1
    table.insert(place, "share_of_best", table["loss"] / table["loss"].max())
    return table, _summary(table, peers)


def _summary(table: pd.DataFrame, peers: int) -> dict[str, Any]:
    """One row of the summary, from a decoder's rows, the peers' first."""
    theirs, ours = table[:peers], table[peers:].set_index("attack")
    best, fastest = theirs.loc[theirs["loss"].idxmax()], theirs.loc[theirs["seconds"].idxmin()]
    nothing = pd.Series(np.nan, index=table.columns)
    at_equal, reached, everywhere = (
        ours.loc[name] if name in ours.index else nothing
        for name in ("lrnb, equal evaluations", "lrnb, equal loss", "lrnb, equal loss at every ε")
    )
    return {
        "dataset": best["dataset"],
        "family": best["family"],
        "best_peer": best["attack"],
        "peer_loss": best["loss"],
        "lrnb_loss": at_equal["loss"],
        "margin_percent": 100 * (at_equal["loss"] / best["loss"] - 1),
        "fastest_peer": fastest["attack"],
        "peer_seconds": fastest["seconds"],
        "lrnb_seconds_to_equal": reached["seconds"],
        "times_faster": fastest["seconds"] / reached["seconds"],
        "times_faster_every_eps": fastest["seconds"] / everywhere["seconds"],
        "restarts_to_equal": reached["restarts"],
        "steps_to_equal": reached["steps"],
    }


def _best_step(model: Autoencoder, codes: Tensor, eps: Sequence[float], size: Size) -> float:
    """Of the lengths to be tried, the one with which the plain loop does most damage."""
    effort = {"restarts": size.restarts, "steps": size.steps}
    reached = {
        step: float(PEERS["plain"](model.decode, codes, eps=eps, step=step, seed=0, **effort).loss.mean())
        for step in size.lengths
    }  # fmt: skip
    return max(reached, key=lambda step: reached[step])


def _climb(
    model: Autoencoder, codes: Tensor, eps: Sequence[float], decodes: int, curve: np.ndarray
) -> tuple[tuple[int, int] | None, ...]:
    """Three rungs: the last within so many decodes; the first to reach a curve's mean, and all of it."""
    within = reached = everywhere = None
    for restarts, steps in LADDER:
        hit = lrnb.attack(model.decode, codes, eps=eps, restarts=restarts, steps=steps, seed=0)
        if hit.decodes <= decodes:
            within = restarts, steps
        found = hit.loss.mean(1).cpu().numpy()
        if reached is None and found.mean() >= curve.mean():
            reached = restarts, steps
        if everywhere is None and (found >= NEARLY * curve).all():
            everywhere = restarts, steps
        if everywhere is not None and hit.decodes > decodes:
            break
    return within, reached, everywhere


@torch.no_grad()
def _loss(model: Autoencoder, codes: Tensor, delta: Tensor, eps: Sequence[float]) -> np.ndarray:
    """Mean loss at each ε, [E], of perturbations [E, N, d]: every attack is scored by this."""
    delta = delta.to(codes)
    longest = delta.norm(dim=2).amax(1).cpu().numpy() / np.array(eps)
    if longest.max() > 1 + 1e-4:
        raise AssertionError(f"an attack left the ball: ‖δ‖ = {longest.max()}·ε")
    clean = model.decode(codes)
    means = [float(squared_distance(model.decode(codes + d), clean).mean()) for d in delta]
    return np.array(means)


def _prepare_check(steps: int) -> tuple[Callable[[], Any], Callable[[], pd.DataFrame]]:
    return lambda: None, lambda: check_peers(steps=steps, tolerance=1e-2)


def _prepare_peer(
    problem: Problem, name: str, step: float, size: Size
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    model, codes = problem.load()
    peer = PEERS[name]

    def warm_up() -> None:
        peer(model.decode, codes[:2], eps=problem.eps[:1], restarts=1, steps=2, step=step, seed=0)

    def call() -> tuple[np.ndarray, int]:
        found = peer(
            model.decode,
            codes,
            eps=problem.eps,
            restarts=size.restarts,
            steps=size.steps,
            step=step,
            seed=0,
        )
        return found.delta.cpu().numpy(), found.decodes

    return warm_up, call


def _prepare_lrnb(
    problem: Problem, restarts: int, steps: int, options: dict[str, Any]
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    model, codes = problem.load()
    options = dict(options)
    decode, compiled = model.decode, options.pop("compiled", False)
    if compiled:
        fast = torch.compile(model.decoder, mode="reduce-overhead")

        def decode(codes: Tensor) -> Tensor:
            return fast(codes).clone()  # its next call writes over what this one returned

    def solve(codes: Tensor, eps: Sequence[float], restarts: int, steps: int) -> attacks.Attack:
        return lrnb.attack(
            decode, codes, eps=eps, restarts=restarts, steps=steps, seed=0, **options
        )

    def call() -> tuple[np.ndarray, int]:
        hit = solve(codes, problem.eps, restarts, steps)
        return hit.delta.cpu().numpy(), hit.decodes

    def warm_up() -> None:
        solve(codes[:2], problem.eps[:2], 2, 2)

    # what is compiled is compiled for a batch of a certain size
    return call if compiled else warm_up, call
