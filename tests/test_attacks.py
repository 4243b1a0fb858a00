"""The attack, on decoders whose worst perturbation is known in closed form, and its projections."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lrnb import attacks
from lrnb.attacks import (
    METHODS,
    NORMS,
    attack,
    length,
    project,
    random_in_ball,
    random_on_sphere,
    squared_distance,
    steepest,
)
from lrnb.models import Autoencoder

EPS = [0.1, 0.5, 2.0]


def identity(z):
    return z


def linear(seed=0, rows=12, d=5):
    matrix = torch.randn(rows, d, generator=torch.Generator().manual_seed(seed))
    return matrix, lambda z: z @ matrix.T


@pytest.mark.parametrize("method", METHODS)
class TestClosedForms:
    def test_identity_l2(self, method):
        hit = attack(identity, torch.randn(6, 5), eps=EPS, method=method)
        for loss, eps in zip(hit.loss, EPS, strict=True):
            torch.testing.assert_close(loss, torch.full((6,), eps**2))

    def test_identity_linf(self, method):
        # the worst point is a corner of the cube, at squared distance d·ε²
        hit = attack(identity, torch.randn(6, 5), eps=EPS, norm="linf", method=method)
        for loss, eps in zip(hit.loss, EPS, strict=True):
            torch.testing.assert_close(loss, torch.full((6,), 5 * eps**2))

    def test_linear_l2_is_the_first_singular_direction(self, method):
        matrix, decode = linear()
        hit = attack(decode, torch.randn(4, 5), eps=EPS, steps=200, method=method)
        _, values, directions = torch.linalg.svd(matrix)
        for e, eps in enumerate(EPS):
            worst = (values[0] * eps) ** 2
            assert hit.loss[e].min() > 0.999 * worst
            assert hit.loss[e].max() < 1.0001 * worst
            cosine = (hit.delta[e] @ directions[0]).abs() / eps
            assert cosine.min() > 0.99

    def test_linear_linf_is_the_best_corner(self, method):
        matrix, decode = linear(d=6)
        hit = attack(decode, torch.zeros(3, 6), eps=0.5, norm="linf", restarts=20, method=method)
        corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 6)
        worst = (corners @ matrix.T).square().sum(1).max()
        torch.testing.assert_close(hit.loss[0], worst.expand(3), rtol=1e-4, atol=0)

    def test_targeted_on_the_identity(self, method):
        # towards a target outside the ball: the nearest point lies on the line to it
        z, target = torch.zeros(4, 3), torch.randn(4, 3) + 5
        hit = attack(identity, z, target=target, eps=EPS, steps=100, method=method)
        for e, eps in enumerate(EPS):
            expected = (target.norm(dim=1) - eps) ** 2
            torch.testing.assert_close(-hit.loss[e], expected, rtol=1e-3, atol=1e-4)

    def test_targeted_inside_the_ball_reaches_it(self, method):
        z = torch.zeros(4, 3)
        target = torch.nn.functional.normalize(torch.randn(4, 3), dim=1) * 0.3
        hit = attack(identity, z, target=target, eps=1.0, steps=200, method=method)
        assert (-hit.loss).max() < 1e-3


def test_custom_objective_is_maximised():
    # push the first output down: the worst δ is −ε along it
    def first_down(outputs, reference):
        return -outputs[:, 0]

    hit = attack(identity, torch.zeros(2, 4), eps=0.5, objective=first_down, steps=100)
    torch.testing.assert_close(hit.loss[0], torch.full((2,), 0.5), rtol=1e-3, atol=0)


def test_objective_with_a_target_gets_it_as_reference():
    target = torch.full((2, 3), 2.0)
    hit = attack(identity, torch.zeros(2, 3), eps=1.0, target=target, objective=squared_distance)
    assert hit.loss[0] == pytest.approx((12**0.5 + 1) ** 2, rel=1e-3)


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return Autoencoder(latent=6, width=4).eval().requires_grad_(False).decode


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
class TestOnANetwork:
    def test_stays_inside_the_ball_and_reports_what_it_did(self, decoder, norm, method):
        z = torch.randn(5, 6)
        hit = attack(decoder, z, eps=EPS, norm=norm, method=method, steps=8, restarts=2)
        assert hit.delta.shape == (3, 5, 6) and hit.images.shape == (3, 5, 1, 32, 32)
        for e, eps in enumerate(EPS):
            assert length(hit.delta[e], norm).max() <= eps * (1 + 1e-5)
            torch.testing.assert_close(hit.images[e], decoder(z + hit.delta[e]))
            torch.testing.assert_close(
                hit.loss[e], squared_distance(hit.images[e], hit.clean), rtol=1e-3, atol=1e-7
            )
        assert (hit.loss.diff(dim=0) >= 0).all()

    def test_is_deterministic_and_follows_the_seed(self, decoder, norm, method):
        z = torch.randn(3, 6)
        a, b, c = (
            attack(decoder, z, eps=0.5, norm=norm, method=method, steps=3, restarts=1, seed=s)
            for s in (1, 1, 2)
        )
        assert torch.equal(a.delta, b.delta) and not torch.equal(a.delta, c.delta)

    def test_batch_size_does_not_matter(self, decoder, norm, method):
        z = torch.randn(7, 6)
        whole, parts = (
            attack(decoder, z, eps=EPS, norm=norm, method=method, steps=5, restarts=2, batch=b)
            for b in (1000, 4)
        )
        torch.testing.assert_close(whole.loss, parts.loss, rtol=1e-3, atol=1e-6)

    def test_beats_noise(self, decoder, norm, method):
        z = torch.randn(5, 6)
        hit = attack(decoder, z, eps=[0.5], norm=norm, method=method, steps=40, restarts=8)
        unit = random_on_sphere((20, 5, 6), norm=norm, generator=torch.Generator().manual_seed(1))
        noise = torch.stack([squared_distance(decoder(z + 0.5 * u), hit.clean) for u in unit])
        assert (hit.loss[0] >= noise.amax(0)).all()


def test_more_steps_and_restarts_do_not_lower_the_loss(decoder):
    z = torch.randn(5, 6)
    few, many = (
        attack(decoder, z, eps=1.0, steps=s, restarts=r).loss.mean() for s, r in [(2, 1), (40, 4)]
    )
    assert many >= few


def test_exhaustive_search_in_two_dimensions():
    torch.manual_seed(1)
    decode = Autoencoder(latent=2, width=4).eval().requires_grad_(False).decode
    z = torch.randn(3, 2)
    hit = attack(decode, z, eps=1.0, steps=100, restarts=8)
    radius, angle = torch.meshgrid(
        torch.linspace(0, 1, 41), torch.linspace(0, 2 * torch.pi, 181), indexing="ij"
    )
    disc = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).reshape(-1, 2)
    for n in range(3):
        best = squared_distance(decode(z[n] + disc), hit.clean[n : n + 1]).max()
        assert hit.loss[0, n] >= 0.999 * best


def test_first_order_limit_is_the_jacobians_largest_singular_value(decoder):
    z = torch.randn(3, 6, dtype=torch.float32)
    eps = 1e-2
    hit = attack(decoder, z, eps=eps, steps=100)
    for n in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda c: decoder(c[None]).flatten(), z[n])
        sigma = torch.linalg.matrix_norm(jacobian, 2)
        assert (hit.loss[0, n].sqrt() / (eps * sigma)).item() == pytest.approx(1, abs=0.02)


def test_codes_of_any_shape():
    hit = attack(lambda z: z.square(), torch.rand(3, 2, 4), eps=[0.1, 0.2])
    assert hit.delta.shape == (2, 3, 2, 4)


def test_radii_need_not_be_sorted(decoder):
    z = torch.randn(3, 6)
    forward, backward = (attack(decoder, z, eps=e, steps=5) for e in ([0.1, 1.0], [1.0, 0.1]))
    torch.testing.assert_close(forward.loss, backward.loss.flip(0))


def test_decodes_are_counted():
    calls = []

    def counting(z):
        calls.append(len(z))
        return 2 * z

    hit = attack(counting, torch.zeros(3, 2), eps=EPS, steps=4, restarts=2)
    assert hit.decodes == sum(calls)


def test_the_decoders_weights_get_no_gradient():
    layer = torch.nn.Linear(3, 3)
    attack(layer, torch.randn(2, 3), eps=0.5, steps=2)
    assert all(p.grad is None for p in layer.parameters())


finite = st.floats(-1e3, 1e3, width=32)
deltas = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite
)


@given(deltas, st.floats(0.015625, 100, width=32), st.sampled_from(NORMS))
@settings(deadline=None)
def test_projection_properties(array, eps, norm):
    delta, radius = torch.from_numpy(array), torch.full((len(array),), eps)
    inside = project(delta, radius, norm=norm)
    assert (length(inside, norm) <= eps * (1 + 1e-5)).all()  # in the ball
    torch.testing.assert_close(project(inside, radius, norm=norm), inside)  # idempotent
    keep = length(delta, norm) <= eps
    assert torch.equal(inside[keep], delta[keep])  # what is inside stays
    other = project(torch.zeros_like(delta) + 0.5, radius, norm=norm)
    gap = (delta - inside).flatten(1) * (other - inside).flatten(1)
    # the obtuse angle that marks the nearest point of a convex set
    assert (gap.sum(1) <= 1e-3 * (1 + delta.flatten(1).norm(dim=1) * eps)).all()


@given(deltas, st.sampled_from(NORMS))
@settings(deadline=None)
def test_the_step_is_steepest_among_unit_steps(array, norm):
    gradient = torch.from_numpy(array)
    step = steepest(gradient, norm=norm)
    dual = gradient.flatten(1).abs().sum(1) if norm == "linf" else gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close((step * gradient).flatten(1).sum(1), dual, rtol=1e-4, atol=1e-6)
    assert (length(step, norm) <= 1 + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball_evenly(norm):
    points = random_in_ball((4, 5000, 3), norm=norm, seed=0).flatten(0, 1)
    radius = length(points, norm)
    assert radius.max() <= 1
    # the share of the volume within radius r is r³
    for r in (0.3, 0.6, 0.9):
        assert (radius <= r).float().mean().item() == pytest.approx(r**3, abs=0.01)
    assert points.mean(0).abs().max() < 0.02


class TestAdaptiveStep:
    """The step rule of APGD, fed with a made-up course of the loss."""

    def steps(self, losses, steps=20):
        rule = attacks._AdaptiveStep(torch.tensor([1.0]), norm="l2", steps=steps)
        point = [
            attacks._Point(torch.tensor([[0.1 * i]]), torch.tensor([loss]), torch.ones(1, 1))
            for i, loss in enumerate(losses)
        ]
        best = point[0]
        rule.start(best)
        seen, where = [], []
        for now in point[1:]:
            rule.move(now.delta, now.gradient)
            best = best.replaced(now.loss > best.loss, now)
            where.append(rule.look(now, best).delta.item())
            seen.append(rule.step.item())
        return seen, where

    @pytest.mark.parametrize("steps", [5, 10, 20, 100])
    def test_a_loss_that_always_rises_keeps_the_step(self, steps):
        seen, _ = self.steps([float(i) for i in range(steps + 1)], steps)
        assert seen == [2.0] * steps

    def test_a_loss_that_falls_halves_the_step_at_each_checkpoint_and_goes_back(self):
        # 20 steps: checkpoints after .22·20 = 4, then 3, 2, 1 and always 1
        seen, where = self.steps([float(-i) for i in range(21)])
        assert seen[:10] == [2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.25, 0.125]
        assert where[3] == 0 and where[2] == pytest.approx(0.3)

    def test_rises_that_reach_no_new_best_halve_the_step(self):
        # after a fall below the start the loss rises in every step and still stays below it
        seen, _ = self.steps([0.0, -9.0, *[-9 + 0.1 * i for i in range(1, 20)]])
        assert seen[3] == 1.0


class TestBadInput:
    z = torch.zeros(2, 3)

    @pytest.mark.parametrize(
        "eps", [0.0, -1.0, [], [0.5, float("nan")], float("inf"), None, "large"]
    )
    def test_eps(self, eps):
        with pytest.raises(ValueError, match="eps"):
            attack(identity, self.z, eps=eps)

    @pytest.mark.parametrize(
        "codes",
        [
            torch.full((2, 3), float("nan")),
            torch.zeros(2, 3, dtype=torch.long),
            torch.zeros(0, 3),
            torch.zeros(3),
            [1.0],
        ],
    )
    def test_codes(self, codes):
        with pytest.raises(ValueError, match="codes"):
            attack(identity, codes, eps=1.0)

    def test_names(self):
        with pytest.raises(ValueError, match="norm='l1'"):
            attack(identity, self.z, eps=1.0, norm="l1")
        with pytest.raises(ValueError, match="method='pdg'.*'pgd'"):
            attack(identity, self.z, eps=1.0, method="pdg")

    @pytest.mark.parametrize("argument", ["steps", "restarts", "batch"])
    def test_counts(self, argument):
        with pytest.raises(ValueError, match=f"{argument}=0"):
            attack(identity, self.z, eps=1.0, **{argument: 0})

    def test_target_of_another_shape(self):
        with pytest.raises(ValueError, match=r"target has shape \(2, 4\)"):
            attack(identity, self.z, eps=1.0, target=torch.zeros(2, 4))

    def test_decoder_that_is_not_differentiable(self):
        with pytest.raises(ValueError, match="decode is not differentiable"):
            attack(lambda z: z.detach(), self.z, eps=1.0)

    def test_decoder_that_changes_the_batch_size(self):
        with pytest.raises(ValueError, match="decode returned"):
            attack(lambda z: z[:1], self.z, eps=1.0)

    def test_decoder_that_returns_nan(self):
        with pytest.raises(ValueError, match="decoder's output has 6 values that are NaN"):
            attack(lambda z: z / 0 * 0, self.z, eps=1.0)
        with pytest.raises(ValueError, match="NaN wherever"):
            # defined at the code itself and nowhere around it
            attack(lambda z: torch.where(z == 0, z, z * torch.nan), self.z, eps=1.0)

    def test_objective_that_is_not_per_sample(self):
        with pytest.raises(ValueError, match="objective"):
            attack(identity, self.z, eps=1.0, objective=lambda a, b: (a - b).square().mean())
