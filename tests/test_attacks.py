"""The attack, on decoders whose worst perturbation is known in closed form, and on networks."""

import gc
import weakref

import pytest
import torch

from lrnb import metrics
from lrnb.attacks import BALLS, STEP_RULES, attack, noise, squared_distance
from lrnb.attacks.pgd import ascend, evaluate
from lrnb.attacks.problem import Problem
from lrnb.models import Autoencoder

EPS = [0.1, 0.5, 2.0]


def identity(z):
    return z


def linear(seed=0, rows=12, d=5):
    matrix = torch.randn(rows, d, generator=torch.Generator().manual_seed(seed))
    return matrix, lambda z: z @ matrix.T


@pytest.mark.parametrize("method", STEP_RULES)
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
            # the customary step turns δ by 2.5 radians at most and may stop short
            assert hit.loss[e].min() > (0.9 if method == "pgd" else 0.999) * worst
            assert hit.loss[e].max() < 1.0001 * worst
            cosine = (hit.delta[e] @ directions[0]).abs() / eps
            assert cosine.min() > (0.8 if method == "pgd" else 0.99)

    def test_linear_linf_is_the_best_corner(self, method):
        matrix, decode = linear(d=6)
        hit = attack(decode, torch.zeros(3, 6), eps=0.5, norm="linf", restarts=40, method=method)
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


def test_custom_objective_is_maximized():
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


@pytest.mark.parametrize("method", STEP_RULES)
@pytest.mark.parametrize("norm", BALLS)
class TestOnANetwork:
    def test_stays_inside_the_ball_and_reports_what_it_did(self, decoder, norm, method):
        z = torch.randn(5, 6)
        hit = attack(decoder, z, eps=EPS, norm=norm, method=method, steps=8, restarts=2)
        assert hit.delta.shape == (3, 5, 6) and hit.images.shape == (3, 5, 1, 32, 32)
        for e, eps in enumerate(EPS):
            assert BALLS[norm].length(hit.delta[e]).max() <= eps * (1 + 1e-5)
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
        random = noise((20, 5, 6), torch.full((20,), 0.5), norm=norm, seed=1)
        losses = torch.stack([squared_distance(decoder(z + u), hit.clean) for u in random])
        assert (hit.loss[0] >= losses.amax(0)).all()


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

    hit = attack(counting, torch.zeros(3, 2), eps=EPS, steps=4, restarts=1)
    assert hit.decodes == sum(calls)
    calls.clear()
    hit = attack(counting, torch.zeros(3, 2), eps=EPS, steps=4, restarts=2)
    jvps = 3 * 5  # five power iterations for each code decode nothing and count all the same
    assert hit.decodes == sum(calls) + jvps


def test_nothing_is_read_back_from_the_device_while_it_climbs():
    # on fake tensors, which have no values, reading one is an error
    from torch._subclasses.fake_tensor import FakeTensorMode

    weights = torch.rand(3, 6)
    problem = Problem(lambda z: (z @ weights).tanh(), torch.rand(4, 3), batch=6)
    for rule in STEP_RULES.values():
        with FakeTensorMode(allow_non_fake_inputs=True):
            start = evaluate(problem, torch.empty(8, 3))
            steps = rule(start, torch.ones(8), ball=BALLS["l2"], steps=30)
            best = ascend(problem, start, steps, 30, lambda: None)
            assert best.delta.shape == (8, 3)
            with pytest.raises(Exception, match="local_scalar_dense"):
                best.loss.sum().item()


def test_opposite_basins_are_both_tried():
    # tanh saturates on one side: only moving the first entry down does much damage
    def decode(z):
        return torch.where(z[:, :1] > 0, 0.01 * z[:, :1], z[:, :1])

    hit = attack(decode, torch.full((3, 4), 1e-3), eps=1.0, steps=4, restarts=2)
    assert hit.loss.min() > 0.99


def test_memory_bounds_the_codes_decoded_at_once():
    sizes = []

    def decode(z):  # keeps 2**16 floats for each code, 256 KiB
        sizes.append(len(z))
        return z.repeat(1, 2**15).square().sigmoid()

    attack(decode, torch.rand(64, 2), eps=EPS, steps=2, restarts=8)
    per_code = 2 * 2**16 * 4  # what square and sigmoid keep
    assert 2**24 / per_code / 2 <= max(sizes) <= 2**24 / per_code


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (z,) = ctx.saved_tensors
        return 2 * z * gradient


def test_nothing_that_was_decoded_is_held_afterwards():
    # a training loop attacks every batch: what one attack held would add up
    matrix, _ = linear()
    decoded = []

    def decode(z):
        outputs = torch.sigmoid(z @ matrix.T)
        decoded.append(weakref.ref(outputs))
        return outputs

    attack(decode, torch.randn(3, 5), eps=EPS, steps=4, restarts=2)
    gc.collect()
    assert len(decoded) > 4 and not any(outputs() is not None for outputs in decoded)


def test_decoder_that_can_be_differentiated_only_once():
    z = torch.rand(3, 4)
    own, plain = (
        attack(decode, z, eps=[0.1, 0.5]) for decode in (OnceDifferentiable.apply, torch.square)
    )
    torch.testing.assert_close(own.loss, plain.loss, rtol=1e-4, atol=1e-6)


class TestObjectives:
    """Any image distance can be attacked directly, and is then damaged more than by way of MSE."""

    def damage(self, decoder, distance):
        z = torch.randn(4, 6)
        by_way, direct = (
            attack(decoder, z, eps=1.0, restarts=6, objective=objective)
            for objective in (None, distance)
        )
        reached = distance(by_way.images[0], by_way.clean).mean()
        assert direct.loss[0].mean() > reached > 0
        torch.testing.assert_close(direct.loss[0], distance(direct.images[0], direct.clean))

    def test_ssim(self, decoder):
        self.damage(decoder, lambda a, b: 1 - metrics.ssim(a, b))

    def test_lpips(self, decoder):
        if not metrics.lpips_is_present():
            pytest.skip("the weights of LPIPS are not on this machine")
        self.damage(decoder, metrics.lpips)


def test_the_decoders_weights_get_no_gradient():
    layer = torch.nn.Linear(3, 3)
    attack(layer, torch.randn(2, 3), eps=0.5, steps=2)
    assert all(p.grad is None for p in layer.parameters())


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
        with pytest.raises(ValueError, match="norm must be one of l2, linf, got 'l1'"):
            attack(identity, self.z, eps=1.0, norm="l1")
        with pytest.raises(ValueError, match="method must be .*'pdg'.*'pgd'"):
            attack(identity, self.z, eps=1.0, method="pdg")

    @pytest.mark.parametrize("argument", ["steps", "restarts", "batch"])
    def test_counts(self, argument):
        with pytest.raises(ValueError, match=f"{argument} must be an integer ≥ 1, got 0"):
            attack(identity, self.z, eps=1.0, **{argument: 0})

    def test_target_of_another_shape(self):
        with pytest.raises(ValueError, match=r"target must have the shape of .*, got \(2, 4\)"):
            attack(identity, self.z, eps=1.0, target=torch.zeros(2, 4))

    def test_decoder_that_is_not_differentiable(self):
        for batch in (None, 2):
            with pytest.raises(ValueError, match="decode must be differentiable"):
                attack(lambda z: z.detach(), self.z, eps=1.0, batch=batch)

    def test_decoder_that_changes_the_batch_size(self):
        with pytest.raises(ValueError, match="decode must return"):
            attack(lambda z: z[:1], self.z, eps=1.0)

    def test_decoder_that_returns_nan(self):
        with pytest.raises(ValueError, match="decoder's output must be finite, got 6"):
            attack(lambda z: z / 0 * 0, self.z, eps=1.0)
        with pytest.raises(ValueError, match="NaN wherever"):
            # defined at the code itself and nowhere around it
            attack(lambda z: torch.where(z == 0, z, z * torch.nan), self.z, eps=1.0)

    def test_objective_that_is_not_differentiable(self):
        with pytest.raises(ValueError, match="objective must be differentiable"):
            attack(identity, self.z, eps=1.0, objective=lambda a, b: (a > b).float().sum(1))

    def test_objective_that_is_not_per_sample(self):
        with pytest.raises(ValueError, match="objective"):
            attack(identity, self.z, eps=1.0, objective=lambda a, b: (a - b).square().mean())
