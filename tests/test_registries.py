"""A toy family, data set and norm, added through the registries alone, run a chapter's tables."""

from dataclasses import replace

import pytest
import torch

from lrnb.attacks.balls import BALLS, L2Ball
from lrnb.data import DATASETS, Dataset, ImageSet
from lrnb.models import FAMILIES, PROFILES, Family, Recipe, recipes
from lrnb.models.zoo import model_spec
from lrnb.studies import clean, families, targeted, untargeted

TINY = replace(
    PROFILES["smoke"], name="tiny", n_train=48, n_test=16, width=4, epochs=1, n_attack=6,
    eps_count=2, steps=3, restarts=2,
)  # fmt: skip


class HalfBall(L2Ball):
    """‖δ‖₂ ≤ ε / 2."""

    name, label = "half", "half of L2"

    def length(self, delta):
        return 2 * super().length(delta)

    def project(self, delta, eps):
        return super().project(delta, eps / 2)

    def steepest(self, gradient):
        return super().steepest(gradient) / 2

    def random_in_ball(self, shape, *, seed):
        return super().random_in_ball(shape, seed=seed) / 2

    def random_on_sphere(self, shape, *, seed):
        return super().random_on_sphere(shape, seed=seed) / 2


def stripes(split, n):
    count = 64 if n is None else n
    phase = torch.arange(count) + (1000 if split == "test" else 0)
    x = torch.linspace(0, 12, 32)
    wave = 0.5 + 0.5 * torch.sin(x[None] + phase[:, None])
    images = wave[:, None, None].expand(-1, 1, 32, -1).contiguous()
    return ImageSet("stripes", split, images, phase % 3)


def l1_penalty(batch, beta):
    return beta * batch.codes.abs().sum(1).mean()


@pytest.fixture
def toys():
    before = model_spec(Recipe("digits"), TINY)
    DATASETS.add("stripes", Dataset(
        "stripes", "Stripes", order=99, image_shape=(1, 32, 32), latent=4, eps_max=1.0, color=7,
        load=stripes,
    ))  # fmt: skip
    FAMILIES.add("sparse", Family("sparse", "sparse AE", 7, False, l1_penalty))
    BALLS.add("half", HalfBall())
    yield before
    for registry, name in ((DATASETS, "stripes"), (FAMILIES, "sparse"), (BALLS, "half")):
        del registry[name]


def test_toys_run_through_the_tables(toys):
    assert model_spec(Recipe("digits"), TINY) == toys  # no other address has changed
    chosen = recipes(["stripes"], ["vae", "sparse"], [0])
    assert set(clean.table(chosen, TINY)["family"]) == {"vae", "sparse"}
    damages = untargeted.table(chosen, TINY, norm="half")
    assert set(damages["norm"]) == {"half"} and damages["damage"].notna().any()
    delta = untargeted.samples(chosen[0], TINY, norm="half")["delta"]
    assert (delta[-1].norm(dim=1) <= 0.5 * (1 + 1e-5)).all()
    assert len(targeted.table(chosen[:1], TINY)) == 2 * 3
    assert set(families.frontier_table(chosen, TINY)["family"]) == {"vae", "sparse"}


def test_a_name_is_added_once_and_an_unknown_one_is_an_error():
    with pytest.raises(ValueError, match="family must be a new name, got 'vae'"):
        FAMILIES.add("vae", FAMILIES["vae"])
    for registry in (DATASETS, FAMILIES, BALLS):
        with pytest.raises(LookupError, match="got 'nothing'"):
            registry["nothing"]
