"""The minimal-norm attack, on decoders whose shortest perturbation is known, and on a network."""

import pytest
import torch

from lrnb.attacks import BALLS, attack, minimum_norm, squared_distance
from lrnb.models import Autoencoder


def identity(z):
    return z


def linear(rows=12, d=5):
    matrix = torch.randn(rows, d, generator=torch.Generator().manual_seed(0))
    return matrix, lambda z: z @ matrix.T


class TestClosedForms:
    def test_damage_on_a_linear_decoder(self):
        # the shortest way to ‖Aδ‖² = goal is along the first singular direction
        matrix, decode = linear()
        found = minimum_norm(decode, torch.randn(6, 5), goal=2.0, largest=5.0)
        expected = 2**0.5 / torch.linalg.matrix_norm(matrix, 2)
        torch.testing.assert_close(found.length, expected.expand(6), rtol=2e-3, atol=0)
        assert found.reached.all() and (found.score >= 2.0).all()

    def test_closeness_to_a_target_on_the_identity(self):
        # the nearest point within r of the target lies on the line to it
        z, target = torch.zeros(4, 3), 3 * torch.randn(4, 3)
        found = minimum_norm(identity, z, target=target, goal=-0.25, largest=20.0)
        expected = (target.norm(dim=1) - 0.5).clamp_min(0)
        torch.testing.assert_close(found.length, expected, rtol=2e-3, atol=1e-4)

    def test_closeness_to_a_target_through_a_linear_decoder(self):
        # min ‖δ‖ with ‖Aδ − b‖ ≤ r: δ = (AᵀA + μ)⁻¹Aᵀb with μ such that the bound is met
        matrix, decode = linear(rows=5, d=5)
        target = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
        r = 0.3 * float(target.norm())
        low, high = 0.0, 1e4
        for _ in range(200):
            mu = (low + high) / 2
            delta = torch.linalg.solve(matrix.T @ matrix + mu * torch.eye(5), matrix.T @ target[0])
            far = (matrix @ delta - target[0]).norm() > r
            low, high = (low, mu) if far else (mu, high)
        found = minimum_norm(
            decode, torch.zeros(1, 5), target=target, goal=-(r**2), largest=50.0, steps=200
        )
        assert found.length.item() == pytest.approx(delta.norm().item(), rel=1e-2)

    def test_a_custom_objective(self):
        found = minimum_norm(
            identity, torch.zeros(2, 4), goal=0.7, largest=5.0, objective=lambda a, b: a[:, 0]
        )
        torch.testing.assert_close(found.length, torch.full((2,), 0.7), rtol=2e-3, atol=0)


def test_goals_of_each_code_and_what_cannot_be_reached():
    goals = torch.tensor([0.0, 1.0, 4.0, 1e6])
    found = minimum_norm(identity, torch.randn(4, 3), goal=goals, largest=10.0)
    torch.testing.assert_close(found.length[:3], torch.tensor([0.0, 1.0, 2.0]), rtol=2e-3, atol=0)
    assert found.length[3].isinf() and found.reached.tolist() == [True, True, True, False]
    assert not found.delta[3].any() and not found.delta[0].any()


def test_on_a_network_it_is_no_longer_than_the_smallest_ball_in_which_an_attack_does_it():
    torch.manual_seed(0)
    decode = Autoencoder(latent=6, width=4).eval().requires_grad_(False).decode
    z, eps = torch.randn(5, 6), torch.linspace(0.05, 4, 80)
    hit = attack(decode, z, eps=eps, steps=20)
    goal = 0.5 * float(hit.loss[-1].min())
    smallest = torch.stack([eps[(hit.loss[:, n] >= goal)].min() for n in range(5)])
    found = minimum_norm(decode, z, goal=goal, largest=4.0)
    assert (found.length <= smallest * (1 + 1e-3)).all()
    assert (found.length >= smallest - 0.05 - 0.02).all()  # nor much shorter: the grid is that fine
    torch.testing.assert_close(found.length, BALLS["l2"].length(found.delta))
    torch.testing.assert_close(
        found.score, squared_distance(decode(z + found.delta), decode(z)), rtol=1e-3, atol=1e-6
    )


def test_the_bisection_shortens_what_the_balls_gave():
    # the best δ of a ball, shortened, is not the shortest that reaches a goal
    torch.manual_seed(3)
    decode = Autoencoder(latent=16, width=4).eval().requires_grad_(False).decode
    z = torch.randn(6, 16)
    goal = 0.3 * attack(decode, z, eps=4.0).loss[0].min().item()
    little, more = (
        minimum_norm(decode, z, goal=goal, largest=30.0, rounds=r, steps=s).length.mean()
        for r, s in [(1, 1), (6, 40)]
    )
    assert more < 0.999 * little


def test_goals_that_the_first_attack_missed_are_searched_for():
    torch.manual_seed(0)
    weights, z = torch.randn(8, 8), torch.randn(24, 8)
    many, once = (
        minimum_norm(
            lambda c: torch.sin(2 * (c @ weights)), z, goal=16.0, largest=2.0, restarts=1, **effort
        ).reached.sum()
        for effort in ({}, {"rounds": 1, "steps": 1})
    )
    assert many > once


def test_decodes_are_counted_and_chunks_do_not_matter():
    calls = []

    def decode(z):
        calls.append(len(z))
        return z.sin()

    z = torch.randn(5, 3)
    whole = minimum_norm(decode, z, goal=0.5, largest=2.0, rounds=2, steps=5, restarts=1, batch=99)
    assert whole.decodes == sum(calls)
    calls.clear()
    pairs = minimum_norm(decode, z, goal=0.5, largest=2.0, rounds=2, steps=5, restarts=2, batch=99)
    assert pairs.decodes == sum(calls) + 5 * 5  # five JVPs a code, which decode nothing
    parts = minimum_norm(decode, z, goal=0.5, largest=2.0, rounds=2, steps=5, restarts=1, batch=3)
    torch.testing.assert_close(whole.length, parts.length, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("goal", float("nan")),
        ("goal", torch.zeros(3)),
        ("largest", 0.0),
        ("largest", float("inf")),
        ("rounds", 0),
        ("steps", 0),
        ("restarts", 0),
        ("codes", torch.full((2, 3), float("nan"))),
        ("target", torch.zeros(2, 4)),
    ],
)
def test_bad_input(argument, given):
    arguments = {"codes": torch.zeros(2, 3), "goal": 1.0, "largest": 2.0} | {argument: given}
    with pytest.raises(ValueError, match=argument):
        minimum_norm(identity, **arguments)
