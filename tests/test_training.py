"""Training: it learns, it is deterministic, and a resumed run equals one that was not interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrnb import _store
from lrnb.attacks import attack
from lrnb.data import load_data
from lrnb.models import FAMILIES, Autoencoder, training
from lrnb.models.training import TrainingSettings, train, worst_perturbation


def fresh(family="vae"):
    torch.manual_seed(0)
    return Autoencoder(latent=4, width=4, stochastic=FAMILIES[family].stochastic)


@pytest.fixture(scope="module")
def images():
    return load_data("digits", "train", 96).images


def settings(family="vae", **changes):
    return replace(TrainingSettings(family=family, epochs=3, batch_size=32, adv_steps=2), **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns(family, images):
    model = fresh(family)
    history = train(model, images, settings(family, epochs=25), validation=images)
    assert history[-1]["validation"] < 0.8 * history[0]["validation"]
    assert [row["epoch"] for row in history] == list(range(1, 26))
    assert not model.training


class Killed(BaseException):
    pass


@pytest.mark.parametrize("family", ["vae", "dae_swt", "vae_adv"])
@pytest.mark.parametrize("after", [1, 2])
def test_resumed_equals_uninterrupted_bit_for_bit(family, after, images, tmp_path, monkeypatch):
    complete = fresh(family)
    expected = train(complete, images, settings(family))

    checkpoint, saved, save = tmp_path / "checkpoint.pt", [], _store.write_checked

    def save_then_die(*args):
        save(*args)
        saved.append(1)
        if len(saved) == after:
            raise Killed

    monkeypatch.setattr(_store, "write_checked", save_then_die)
    with pytest.raises(Killed):
        train(fresh(family), images, settings(family), checkpoint=checkpoint)
    monkeypatch.setattr(_store, "write_checked", save)

    torch.manual_seed(99)  # a new process has another global state
    resumed = fresh(family)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()  # whatever it starts from, the checkpoint counts
    history = train(resumed, images, settings(family), checkpoint=checkpoint)
    for name, value in complete.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for row in (*history, *expected):
        row.pop("seconds")
    assert history == expected


def test_a_finished_checkpoint_is_not_trained_further(images, tmp_path):
    checkpoint = tmp_path / "c.pt"
    first, second = fresh(), fresh()
    train(first, images, settings(), checkpoint=checkpoint)
    train(second, images, settings(), checkpoint=checkpoint)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_a_damaged_checkpoint_is_not_resumed_from(images, tmp_path, caplog):
    checkpoint = tmp_path / "c.pt"
    alone = fresh()
    train(alone, images, settings(epochs=2))
    train(fresh(), images, settings(epochs=2), checkpoint=checkpoint)
    content = checkpoint.read_bytes()
    other = tmp_path / "other.pt"
    train(fresh(), images, settings(epochs=2, seed=1), checkpoint=other)
    random = np.random.default_rng(0).integers(8 * len(content), size=5).tolist()
    flips = [bytearray(content) for _ in random]
    for damaged, bit in zip(flips, random, strict=True):
        damaged[bit // 8] ^= 1 << bit % 8
    for damaged in (b"\xff" * 100, b"", content[:-9], other.read_bytes(), *flips):
        checkpoint.write_bytes(damaged)
        model = fresh()
        train(model, images, settings(epochs=2), checkpoint=checkpoint)
        assert all(map(torch.equal, model.parameters(), alone.parameters()))
    assert "damaged or of another training" in caplog.text


def test_clean_and_attacked_codes_pass_through_one_normalization(images):
    model = fresh("vae_adv").train()
    entry = FAMILIES["vae_adv"]
    training.batch_losses(model, images[:8], settings("vae_adv"), entry, 96, torch.Generator())
    counts = {int(b) for n, b in model.named_buffers() if "num_batches" in n}
    assert counts == {1}


def test_seed_decides(images):
    a, b, c = (fresh() for _ in range(3))
    for model, seed in ((a, 1), (b, 1), (c, 2)):
        train(model, images, settings(seed=seed, epochs=1))
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (a, b, c)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_beta_pulls_the_code_to_the_prior(images):
    spreads = []
    for beta in (0.1, 30.0):
        model = fresh()
        train(model, images, settings(beta=beta, epochs=25))
        spreads.append(model.encode(images).mean.std(0).mean().item())
    assert spreads[0] > 2 * spreads[1]


def test_the_inner_attack_leaves_the_running_statistics_alone(images):
    model = fresh("vae_adv").train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    worst_perturbation(model, torch.randn(8, 4), images[:8], settings("vae_adv"), 0)
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    assert model.training


def test_adversarial_training_lowers_what_it_attacks(images):
    damage = []
    for family in ("vae", "vae_adv"):
        model = fresh(family)
        train(model, images, settings(family, epochs=15, adv_eps=1.0, adv_steps=4))
        codes = model.encode(images[:32]).mean.detach()
        damage.append(attack(model.decode, codes, eps=1.0, steps=20).loss.mean().item())
    assert damage[1] < damage[0]


class TestBadInput:
    @pytest.mark.parametrize(
        "changes", [{"family": "vaee"}, {"epochs": 0}, {"batch_size": 2}, {"adv_form": "x"}]
    )
    def test_settings(self, changes):
        with pytest.raises(ValueError, match=next(iter(changes))):
            settings(**changes)

    def test_images(self, images):
        with pytest.raises(ValueError, match="images must hold at least 3 images, got 2"):
            train(fresh(), images[:2], settings())
        with pytest.raises(ValueError, match="images must be a non-empty tensor of 4 axes"):
            train(fresh(), images[:, 0], settings())

    def test_a_loss_that_explodes_is_an_error(self, images):
        with pytest.raises(FloatingPointError, match="became nan|became inf"):
            train(fresh(), images, settings(learning_rate=1e30, epochs=2))
