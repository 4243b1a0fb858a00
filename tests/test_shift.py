"""Where adversarial codes lie: both statistics on codes whose value is known, and on a real attack."""

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lrnb.experiments import PROFILES, Recipe, eps_grid
from lrnb.shift import shift_table, told_apart, top_share

TINY = replace(
    PROFILES["smoke"], n_train=64, n_test=16, width=4, n_attack=12, eps_count=2, steps=4, epochs=1
)


def test_two_samples_of_one_distribution_are_told_apart_by_chance():
    generator = torch.Generator().manual_seed(0)
    clean, other = torch.randn(2, 1500, 3, generator=generator)
    assert told_apart(clean, other) == pytest.approx(0.5, abs=0.04)


def test_a_short_move_is_not_found_by_its_own_origin():
    clean = torch.arange(20.0)[:, None] * 10
    moved = clean + 0.01
    # without its origin, the nearest neighbours are a clean and a moved code side by side
    assert told_apart(clean, moved) < 0.8
    assert told_apart(clean, clean + 1e4) == 1.0


def test_it_agrees_with_scikit_learns_neighbours():
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(40, 2, generator=generator)
    moved = clean + torch.randn(40, 2, generator=generator) * 0.7
    both, kind = torch.cat([clean, moved]).numpy(), [0] * 40 + [1] * 40
    order = NearestNeighbors(n_neighbors=3).fit(both).kneighbors(both, return_distance=False)
    hits = 0
    for i, row in enumerate(order):
        nearest = next(j for j in row if j not in (i, (i + 40) % 80))
        hits += kind[nearest] == kind[i]
    assert told_apart(clean, moved) == hits / 80


def test_unpaired_codes_are_refused():
    with pytest.raises(ValueError, match="clean and moved"):
        told_apart(torch.zeros(3, 2), torch.zeros(4, 2))


def test_share_of_the_dimensions_is_rounded_up():
    delta = torch.tensor([[3.0, 1.0, 1.0, 1.0, 2.0]])  # ⌈5/4⌉ = 2 dimensions: 9 + 4 of 16
    assert top_share(delta) == pytest.approx(13 / 16)
    assert top_share(delta, share=1.0) == pytest.approx(1.0)


def test_table_of_a_real_attack():
    table = shift_table([Recipe("digits")], TINY)
    assert sorted(set(table["eps"])) == pytest.approx(eps_grid("digits", TINY))
    assert table.groupby("kind").size().to_dict() == {"attack": 2, "noise": 2}
    assert table["told_apart"].between(0, 1).all()
    # the attack of an untrained-like decoder still prefers some directions to others
    wide = table.pivot(index="eps", columns="kind", values="top_share")
    assert (wide["attack"] > wide["noise"]).all() and (wide["noise"] >= 0.25).all()
