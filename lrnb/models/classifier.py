"""An independent classifier of real images, which says whether a decoding still shows the same."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnb import _store, _work
from lrnb._provenance import code_hash
from lrnb.data import DATASETS, data_root
from lrnb.models.autoencoder import Autoencoder
from lrnb.models.profiles import Profile, get_profile
from lrnb.models.zoo import data_fingerprint, default_device, load_images

_BATCH, _WIDTH = 64, 16


def get_classifier(dataset: str, profile: str | Profile) -> tuple[nn.Sequential, float]:
    """A classifier, images [N, C, S, S] → scores [N, classes], and its balanced test accuracy.

    The encoder's architecture with an output for each label, trained on the profile's training
    images: so it knows nothing of any autoencoder. Loaded from the store, or trained and stored.
    """
    work = classifier_work(dataset, profile)
    make = functools.partial(_train, dataset, profile)
    weights, record = _store.get(work.kind, work.spec, make, work.about)
    network = _untrained(dataset, record["classes"])
    network.load_state_dict(weights)
    return network.to(default_device()).eval().requires_grad_(False), record["accuracy"]


def classifier_work(dataset: str, profile: str | Profile) -> _work.Work:
    """The training of a classifier, to be done by whoever has a core."""
    profile = get_profile(profile)
    size = {"n_train": profile.n_train, "n_test": profile.n_test, "steps": _steps(profile)}
    data = data_fingerprint(dataset, data_root())
    code = [code_hash(part) for part in (_train, DATASETS[dataset])]
    recipe = {"family": "classifier", "dataset": dataset}
    spec = {"recipe": recipe, "size": size, "data": data, "code": code}
    images = _BATCH * _steps(profile)
    about = {"kind": "model", "what": "classifier", "dataset": dataset, "size": images}
    make = functools.partial(get_classifier, dataset, profile)
    return _work.Work("models", spec, about, make, images)


@torch.no_grad()
def named(classifier: nn.Module, images: Tensor, *, batch: int = 1000) -> Tensor:
    """The label that a classifier gives each image, [N, C, S, S] → [N]."""
    return torch.cat([classifier(chunk).argmax(1) for chunk in images.split(batch)])


def _steps(profile: Profile) -> int:
    return min(1500, 2 * (profile.n_train or 1500))


def _untrained(dataset: str, classes: int) -> nn.Sequential:
    shape = DATASETS[dataset].image_shape
    with torch.random.fork_rng():
        whole = Autoencoder(image_shape=shape, latent=classes, width=_WIDTH, stochastic=False)
    return whole.encoder


def _train(dataset: str, profile: str | Profile) -> tuple[dict[str, Tensor], dict[str, Any]]:
    device, profile = default_device(), get_profile(profile)
    seen = load_images(dataset, "train", profile.n_train)
    test = load_images(dataset, "test", profile.n_test)
    images, labels = seen.images.to(device), seen.labels.to(device)
    generator, classes = torch.Generator().manual_seed(0), int(labels.max()) + 1
    network = _untrained(dataset, classes)
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weight = nn.init.kaiming_uniform_(torch.empty(layer.weight.shape), generator=generator)
            layer.weight.data.copy_(weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    network.to(device).train()
    steps = _steps(profile)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (_BATCH,), generator=generator).to(device)
        loss = functional.cross_entropy(network(images[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    found = named(network.eval(), test.images.to(device)).cpu()
    of_class = [(found[test.labels == c] == c).float().mean() for c in test.labels.unique()]
    accuracy = float(torch.stack(of_class).mean())
    return network.state_dict(), {"accuracy": accuracy, "classes": classes}
