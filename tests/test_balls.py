"""The balls: projection, steepest step and random points, by their defining properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lrnb.attacks.balls import BALLS

# of each norm, the dual norm of rows [B, k]: a new norm needs its row
DUALS = {"l2": lambda rows: rows.norm(dim=1), "linf": lambda rows: rows.abs().sum(1)}
finite = st.floats(-1e3, 1e3, width=32)
deltas = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite
)


@given(deltas, st.floats(0.015625, 100, width=32), st.sampled_from(list(BALLS)))
@settings(deadline=None)
def test_projection_properties(array, eps, norm):
    delta, radius = torch.from_numpy(array), torch.full((len(array),), eps)
    inside = BALLS[norm].project(delta, radius)
    assert (BALLS[norm].length(inside) <= eps * (1 + 1e-5)).all()  # in the ball
    torch.testing.assert_close(BALLS[norm].project(inside, radius), inside)  # idempotent
    keep = BALLS[norm].length(delta) <= eps
    assert torch.equal(inside[keep], delta[keep])  # what is inside stays
    other = BALLS[norm].project(torch.zeros_like(delta) + 0.5, radius)
    gap = (delta - inside).flatten(1) * (other - inside).flatten(1)
    # the obtuse angle that marks the nearest point of a convex set
    assert (gap.sum(1) <= 1e-3 * (1 + delta.flatten(1).norm(dim=1) * eps)).all()


@given(deltas, st.sampled_from(list(BALLS)))
@settings(deadline=None)
def test_the_step_is_steepest_among_unit_steps(array, norm):
    gradient = torch.from_numpy(array)
    step = BALLS[norm].steepest(gradient)
    dual = DUALS[norm](gradient.flatten(1))
    torch.testing.assert_close((step * gradient).flatten(1).sum(1), dual, rtol=1e-4, atol=1e-6)
    assert (BALLS[norm].length(step) <= 1 + 1e-5).all()


@pytest.mark.parametrize("norm", BALLS)
def test_random_starts_fill_the_ball_evenly(norm):
    points = BALLS[norm].random_in_ball((4, 5000, 3), seed=0).flatten(0, 1)
    radius = BALLS[norm].length(points)
    assert radius.max() <= 1
    # the share of the volume within radius r is r³
    for r in (0.3, 0.6, 0.9):
        assert (radius <= r).float().mean().item() == pytest.approx(r**3, abs=0.01)
    assert points.mean(0).abs().max() < 0.02
