"""Recipes, profiles, and load-or-train."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrnb import _store as store
from lrnb.models import PROFILES, Recipe, get_history, get_model, train_all, zoo
from lrnb.models.zoo import model_spec, new_model

TINY = replace(PROFILES["smoke"], n_train=64, n_test=16, width=4)
VAE = Recipe(dataset="digits")


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


def test_trained_once_then_loaded(monkeypatch):
    first = get_model(VAE, TINY)
    monkeypatch.setattr(zoo, "train", None)  # a second training would fail
    second = get_model(VAE, TINY)
    assert torch.equal(weights(first), weights(second))
    assert not second.training and not any(p.requires_grad for p in second.parameters())
    assert len(get_history(VAE, TINY)) == TINY.epochs


def test_the_checkpoint_is_gone_once_the_model_is_stored():
    get_model(VAE, TINY)
    assert [entry.kind for entry in store.entries()] == ["models"]


def test_a_damaged_model_is_trained_again(caplog):
    first = get_model(VAE, TINY)
    (file,) = (store.store_root() / "models" / store.key(model_spec(VAE, TINY))).glob(
        "*.safetensors"
    )
    file.write_bytes(b"broken")
    assert torch.equal(weights(get_model(VAE, TINY)), weights(first))
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        Recipe(dataset="shapes"),
        Recipe(dataset="digits", family="ae"),
        Recipe(dataset="digits", beta=2.0),
        Recipe(dataset="digits", seed=1),
    ],
)
def test_another_recipe_is_another_artefact(other):
    assert store.key(model_spec(other, TINY)) != store.key(model_spec(VAE, TINY))


def test_what_does_not_concern_training_does_not_change_the_address():
    same = replace(TINY, n_attack=3, steps=1, restarts=7, eps_count=2)
    assert model_spec(VAE, same) == model_spec(VAE, TINY)
    assert model_spec(replace(VAE, adv_eps=0.9), TINY) == model_spec(VAE, TINY)
    adversarial = replace(VAE, family="vae_adv")
    assert model_spec(replace(adversarial, adv_eps=0.9), TINY) != model_spec(adversarial, TINY)


def test_side_by_side_equals_one_by_one(tmp_path, monkeypatch):
    recipes = [Recipe(dataset="digits", family=f) for f in ("vae", "dae_kl")]
    together = train_all(recipes, TINY, jobs=2)
    monkeypatch.setenv("LRNB_HOME", str(tmp_path / "other"))
    alone = train_all(recipes, TINY, jobs=1)
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(weights(a), weights(b))


def test_a_killed_process_goes_on_where_it_was(tmp_path, monkeypatch):
    """SIGKILL in mid-training, start again: the same model, and no epoch is trained twice."""
    long = replace(PROFILES["smoke"], n_train=256, epochs=15)
    undisturbed = get_model(VAE, long)

    home = tmp_path / "other"
    script = (
        "from dataclasses import replace; from lrnb.models import *;"
        "long = replace(PROFILES['smoke'], n_train=256, epochs=15);"
        "get_model(Recipe(dataset='digits'), long)"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"LRNB_HOME": str(home)}
    )
    deadline = time.monotonic() + 120
    while not list(home.rglob("checkpoint.pt")):
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not list((home / "store" / "models").glob("[!.]*"))  # it was not finished

    monkeypatch.setenv("LRNB_HOME", str(home))
    trained = []
    monkeypatch.setattr(store, "write_checked", lambda *args: trained.append(args))
    assert torch.equal(weights(get_model(VAE, long)), weights(undisturbed))
    assert 0 < len(trained) < 15
    assert len(get_history(VAE, long)) == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "minst"}, "dataset must be.*'minst'.*'mnist'"),
        ({"family": "tcave"}, "family must be.*'tcave'.*'tcvae'"),
        ({"beta": -1.0}, "beta must be .*-1"),
        ({"beta": float("nan")}, "beta must be .*nan"),
        ({"seed": -1}, "seed must be .*-1"),
        ({"family": "vae_adv", "adv_eps": 0.0}, "adv_eps must be .* > 0, got 0.0"),
        ({"adv_form": "trade"}, "adv_form must be.*'trade'.*'trades'"),
    ],
)
def test_bad_recipes(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"dataset": "digits"} | changes)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"batch_size": 2}, {"datasets": ("minst",)}])
def test_bad_profiles(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(TINY, **changes)


def test_unknown_profile():
    with pytest.raises(LookupError, match="profile must be.*'quik'.*'quick'"):
        get_model(VAE, "quik")


def test_new_model_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    new_model(VAE, TINY)
    assert torch.equal(torch.rand(3), expected)


def test_threads_make_the_weights_that_each_makes_alone(tmp_path, monkeypatch):
    chosen = [Recipe("digits", f, seed=s) for f in ("vae", "dae_swt") for s in range(4)]
    quick = replace(TINY, epochs=1)
    expected = [weights(model) for model in train_all(chosen, quick, jobs=1)]
    monkeypatch.setenv("LRNB_HOME", str(tmp_path / "threads"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda recipe: weights(get_model(recipe, quick)), chosen))
    assert all(map(torch.equal, found, expected))


def test_untrained_weights_do_not_depend_on_other_threads():
    chosen = [Recipe("digits", seed=seed) for seed in range(40)]
    alone = [weights(new_model(recipe, TINY)) for recipe in chosen]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda recipe: weights(new_model(recipe, TINY)), chosen))
    assert all(map(torch.equal, together, alone))


def test_one_model_has_one_recipe_however_its_numbers_are_given():
    given = Recipe("digits", beta=np.float32(1), seed=np.int64(2), adv_eps=1)
    assert given == Recipe("digits", beta=1.0, seed=2, adv_eps=1.0)
    assert store.key(model_spec(given, TINY)) == store.key(
        model_spec(Recipe("digits", seed=2), TINY)
    )


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Recipe("digits", seed=-1), "seed must be an integer ≥ 0, got -1"),
        (lambda: Recipe("digits", seed=2**64), "seed must be an integer < 2⁶³"),
        (lambda: Recipe("digits", beta="1"), "beta must be a finite number ≥ 0, got '1'"),
        (lambda: Recipe("digits", beta=None), "beta must be a finite number ≥ 0, got None"),
        (lambda: Recipe("digits", adv_eps=0), "adv_eps must be a finite number > 0, got 0"),
        (lambda: replace(TINY, learning_rate=-1), "learning_rate must be a finite number > 0"),
        (lambda: replace(TINY, seeds=("a",)), "seeds must be an integer ≥ 0, got 'a'"),
    ],
)
def test_what_cannot_be_trained_is_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()
