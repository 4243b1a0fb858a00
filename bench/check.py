"""Whether the peers attack as they should: on a linear decoder the worst damage is known."""

from __future__ import annotations

import pandas as pd
import torch

from bench.peers import PEERS, installed
from lrnb.attacks import squared_distance


def check_peers(*, steps: int = 100, tolerance: float = 1e-3) -> pd.DataFrame:
    """Attack D(z) = zW, whose worst damage is (ε σ)² with σ the largest singular value of W.

    Args:
        steps: gradient steps of each restart.
        tolerance: by which share of (ε σ)² a peer may fall short.

    Returns:
        One row a peer: "peer", "share", the least of loss / (ε σ)² over ε and codes, and "length",
        the largest of ‖δ‖ / ε.

    Raises:
        AssertionError: a peer falls short, leaves the ball, or misreports its loss.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 40, generator=generator)
    codes = torch.randn(5, 6, generator=generator)
    eps = [0.5, 2.0]
    radii = torch.tensor(eps)[:, None]
    worst = (radii * torch.linalg.svdvals(weight)[0]) ** 2

    def decode(z: torch.Tensor) -> torch.Tensor:
        return (z @ weight).view(-1, 1, 5, 8)

    rows = []
    for name in installed():
        found = PEERS[name](decode, codes, eps=eps, restarts=2, steps=steps, step=0.25, seed=0)
        again = torch.stack(
            [squared_distance(decode(codes + d), decode(codes)) for d in found.delta]
        )
        share = float((found.loss / worst).min())
        length = float((found.delta.norm(dim=2) / radii).max())
        assert torch.allclose(found.loss, again, rtol=1e-3), f"{name} misreports its loss"
        assert 1 - tolerance < share < 1 + 1e-3, f"{name} reaches {share} of the worst damage"
        assert length < 1 + 1e-4, f"{name} leaves the ball: ‖δ‖ = {length}·ε"
        rows.append({"peer": name, "share": share, "length": length, "decodes": found.decodes})
    return pd.DataFrame(rows)
