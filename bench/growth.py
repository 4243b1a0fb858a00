"""How the seconds of `lrnb.attack` grow with the problem: codes, ε, restarts, latent size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch

import lrnb
from bench.measure import device, measure
from lrnb.models import Autoencoder

LIBRARIES = ()
BASE = {"codes": 64, "eps": 4, "restarts": 2, "latent": 16}
STEPS = 10
SWEEPS = {
    "codes": (16, 32, 64, 128, 256),
    "eps": (1, 2, 4, 8, 16),
    "restarts": (1, 2, 4, 8, 16),
    "latent": (2, 4, 8, 16, 32, 64, 128, 256),
}
SMALL_BASE = {"codes": 4, "eps": 2, "restarts": 1, "latent": 4}
SMALL_SWEEPS = {"codes": (4, 8)}


def run(*, small: bool, threads: int) -> dict[str, pd.DataFrame]:
    """Attack freshly initialised decoders of 32×32 images, one thing growing at a time.

    Returns:
        "growth", one row an attack: "sweep" (what grows), "value", "decodes", "seconds",
        "peak_memory_mb", "size" (the value relative to the first of its sweep) and "times" (the
        seconds relative to it): growth is linear or better where times does not exceed size.
    """
    base, sweeps = (SMALL_BASE, SMALL_SWEEPS) if small else (BASE, SWEEPS)
    rows: list[dict[str, Any]] = []
    for sweep, grown in sweeps.items():
        first: float | None = None
        for value in grown:
            measured = measure(_prepare, base | {sweep: value}, threads=threads)
            first = first or measured.seconds
            rows.append(
                {
                    "sweep": sweep,
                    "value": value,
                    "decodes": measured.result,
                    "seconds": measured.seconds,
                    "peak_memory_mb": measured.peak_memory_mb,
                    "size": value / grown[0],
                    "times": measured.seconds / first,
                }
            )
    return {"growth": pd.DataFrame(rows)}


def _prepare(problem: dict[str, int]) -> tuple[Callable[[], Any], Callable[[], int]]:
    torch.manual_seed(0)
    model = Autoencoder(latent=problem["latent"], width=16).eval().requires_grad_(False)
    model, codes = model.to(device()), torch.randn(problem["codes"], problem["latent"])
    eps = [(i + 1) / problem["eps"] for i in range(problem["eps"])]

    def call() -> int:
        restarts = problem["restarts"]
        hit = lrnb.attack(model.decode, codes, eps=eps, restarts=restarts, steps=STEPS)
        return hit.decodes

    def warm_up() -> None:
        lrnb.attack(model.decode, codes[:2], eps=eps[:2], restarts=2, steps=2)

    return warm_up, call
