"""A straight step towards the target's code: what it covers is known of a linear decoder."""

from dataclasses import replace

import pytest
import torch

from lrnb.models import PROFILES, Posterior, Recipe
from lrnb.studies import tables, targeted

TINY = replace(
    PROFILES["smoke"], n_train=128, n_test=16, width=4, n_attack=12, eps_count=3, epochs=2
)


class Linear:
    """Reconstructs every image exactly: the code is the image."""

    device = torch.device("cpu")

    def encode(self, images):
        return Posterior(images, None)

    def decode(self, codes):
        return codes


def test_of_a_linear_decoder_a_share_t_of_the_way_covers_two_t_minus_its_square(monkeypatch):
    monkeypatch.setattr(tables, "get_model", lambda recipe, profile: Linear())
    row, *_ = targeted.straight_table([Recipe("digits")], TINY).to_dict("records")
    test = tables.attacked_images("digits", TINY)
    way = test.images[targeted.target_of(test.labels)] - test.images
    share = (row["eps"] / way.flatten(1).norm(dim=1)).clamp_max(1)
    covered = 2 * share - share.square()
    assert row["relative"] == pytest.approx(float((1 - covered).median()), rel=1e-4)
    assert row["pairs"] == TINY.n_attack


def test_the_attack_is_no_worse_than_a_straight_step():
    recipe = Recipe("digits")
    straight = targeted.straight_table([recipe], TINY).set_index("eps")["relative"]
    attacked = targeted.table([recipe], TINY).query("metric == 'mse'")
    reached = attacked.set_index("eps")["relative"]
    assert (straight.index == reached.index).all()
    assert (reached.dropna() <= straight.dropna() + 1e-3).all()
