"""Where adversarial codes lie: both statistics on codes whose value is known, and on a real attack."""

import math
from dataclasses import replace

import pytest
import torch

from lrnb.models import PROFILES, Recipe, eps_grid
from lrnb.studies import latent_shift
from lrnb.studies.latent_shift import classifier_accuracy, top_share

TINY = replace(
    PROFILES["smoke"], n_train=256, n_test=16, width=4, n_attack=12, eps_count=2, steps=4, epochs=8
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_two_samples_of_one_distribution_are_told_apart_by_chance():
    clean, other = normal(2, 1500, 3)
    assert classifier_accuracy(clean, other) == pytest.approx(0.5, abs=0.04)


def test_a_move_shorter_than_the_codes_lie_apart_is_not_found_by_its_own_origin():
    clean = normal(60, 4)
    assert classifier_accuracy(clean, clean + 0.01 * normal(60, 4, seed=1)) == pytest.approx(
        0.5, abs=0.05
    )


def test_a_shift_is_told_as_often_as_the_best_rule_could():
    # of two normal distributions d apart the best rule tells Φ(d/2) rightly
    clean, other = normal(2, 2000, 2)
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert classifier_accuracy(clean, other + torch.tensor([2.0, 0.0])) == pytest.approx(
        best, abs=0.02
    )


@pytest.mark.parametrize("d", [16, 64])
def test_a_scatter_outwards_is_told_as_well(d):
    clean, unit = normal(64, d), torch.nn.functional.normalize(normal(64, d, seed=1))
    assert classifier_accuracy(clean, clean + 20 * unit) > 0.95


def test_unpaired_codes_are_refused():
    with pytest.raises(ValueError, match="clean and moved"):
        classifier_accuracy(torch.zeros(3, 2), torch.zeros(4, 2))


def test_share_of_the_active_dimensions_is_rounded_up():
    delta = torch.tensor([[3.0, 1.0, 1.0, 1.0, 2.0, 7.0]])
    active = torch.tensor([True] * 5 + [False])  # ⌈5/4⌉ = 2 dimensions: 9 + 4 of 16
    assert top_share(delta, active) == pytest.approx(13 / 16)
    assert top_share(torch.ones(3, 6), active) == pytest.approx(2 / 5)
    none = torch.zeros(6, dtype=torch.bool)
    assert math.isnan(top_share(delta, none))


def test_table_of_a_real_attack():
    table = latent_shift.table([Recipe("digits")], TINY)
    assert sorted(set(table["eps"])) == pytest.approx(eps_grid("digits", TINY))
    assert table.groupby("kind").size().to_dict() == {"attack": 2, "noise": 2}
    assert table["told_apart"].between(0, 1).all()
    # even the attack of a decoder that was hardly trained prefers some directions to others
    wide = table.pivot(index="eps", columns="kind", values="top_share")
    assert wide["attack"].iloc[0] > wide["noise"].iloc[0] and (wide["noise"] >= 0.25).all()
