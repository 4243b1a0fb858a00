"""The step rules, fed with a made-up course of the loss."""

import pytest
import torch

from lrnb.attacks.balls import L2Ball
from lrnb.attacks.step_rules import AdaptiveStep, Backtracking, Point


class TestAdaptiveStep:
    """APGD."""

    def steps(self, losses, steps=20):
        point = [
            Point(torch.tensor([[0.1 * i]]), torch.tensor([loss]), torch.ones(1, 1))
            for i, loss in enumerate(losses)
        ]
        best = point[0]
        rule = AdaptiveStep(best, torch.tensor([1.0]), ball=L2Ball(), steps=steps)
        seen, where = [], []
        for now in point[1:]:
            rule.propose(now)
            best = best.replaced(now.loss > best.loss, now)
            where.append(rule.accept(now, best).delta.item())
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


class TestBacktracking:
    """The step across the ball, and its cuts."""

    def rule(self, **options):
        self.now = self.point([0.0, 0.0], 0.0, **options)
        return Backtracking(self.now, torch.tensor([2.0]), ball=L2Ball(), steps=10)

    def point(self, delta, loss, gradient=(0.3, 0.4)):
        return Point(torch.tensor([delta]), torch.tensor([loss]), torch.tensor([gradient]))

    def test_the_first_step_leads_to_the_sphere_along_the_gradient(self):
        moved = self.rule().propose(self.now)
        torch.testing.assert_close(moved, torch.tensor([[1.2, 1.6]]))

    def test_a_fall_is_undone_and_cut_to_a_fraction_of_the_ball(self):
        rule = self.rule()
        for step in (1.2, 0.36, 0.108):  # of ε, which is 2
            rule.propose(self.now)
            back = rule.accept(self.point([1.2, 1.6], -1.0), self.now)
            assert torch.equal(back.delta, self.now.delta)
            expected = min(2.0, 2 * step) * torch.tensor([[0.6, 0.8]])
            torch.testing.assert_close(rule.propose(self.now), expected)

    def test_a_share_of_the_last_move_is_added_that_grows_with_each_rise(self):
        rule = self.rule()
        before = self.now
        for rises in (1, 2, 3):
            rule.propose(before)
            x = 0.5 * rises
            higher = self.point([x, 0.0], float(rises), gradient=(0.0, 1.0))
            assert rule.accept(higher, higher) is higher
            moved = rule.propose(higher)
            # along ε·(0, 1) + rises/(rises + 3)·(0.5, 0)
            share = rises / (rises + 3) * 0.5 / 2
            assert (moved[0, 0] / moved[0, 1]).item() == pytest.approx(share, rel=1e-2)
            assert moved.norm().item() == pytest.approx(2)
            before = higher
        rule.accept(self.point([0.0, 2.0], 0.0), higher)
        moved = rule.propose(higher)  # a fall forgets it: from (1.5, 0) by 1.2ε along (0, 1)
        assert (moved[0, 0] / moved[0, 1]).item() == pytest.approx(1.5 / 2.4)

    def test_a_vanished_gradient_stays(self):
        flat = self.point([0.0, 0.0], 0.0, gradient=(0.0, 0.0))
        assert self.rule(gradient=(0.0, 0.0)).propose(flat).tolist() == [[0.0, 0.0]]
