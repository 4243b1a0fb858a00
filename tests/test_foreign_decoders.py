"""The attack on decoders that are not ours: another library's VAE, and the examples of the book."""

import re
from pathlib import Path

import pytest
import torch

import lrnb

PAGE = Path(__file__).parents[1] / "book" / "attack-your-own.md"


@pytest.fixture(scope="module")
def pythae_vae():
    from pythae.models import VAE, VAEConfig

    torch.manual_seed(0)
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=8))
    images = torch.rand(128, 1, 28, 28, generator=torch.Generator().manual_seed(1)).round()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(30):  # its own loss, a few steps
        loss = model({"data": images}).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), images


def test_a_vae_of_pythae(pythae_vae):
    model, images = pythae_vae

    def decode(z):
        return model.decoder(z)["reconstruction"]

    codes = model.encoder(images[:6])["embedding"].detach()
    hit = lrnb.attack(decode, codes, eps=[0.1, 0.5, 1.0])
    noise = torch.nn.functional.normalize(torch.randn(20, 6, 8), dim=2)
    clean = decode(codes)
    for e, eps in enumerate([0.1, 0.5, 1.0]):
        reached = torch.stack(
            [(decode(codes + eps * u) - clean).square().sum((1, 2, 3)) for u in noise]
        )
        assert (hit.loss[e] > reached.amax(0)).all()
    towards = lrnb.attack(decode, codes, target=images[6:12], eps=[0.5, 1.0])
    start = -(clean - images[6:12]).square().sum((1, 2, 3))
    assert (towards.loss[0] > start).all() and (towards.loss[1] > towards.loss[0]).all()
    goal = float(hit.loss[1].min())
    found = lrnb.minimum_norm(decode, codes, goal=goal, largest=4.0)
    assert (found.length <= 0.5 * (1 + 1e-3)).any() and found.reached.all()


def test_the_examples_of_the_page_run(pythae_vae):
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    # the examples after pythae's speak of images; LPIPS needs weights that may not be there
    code = code.replace("hit = lrnb.attack(decode, codes, eps=1.0, objective=metrics.lpips)", "")
    code = code.replace("torch.randn(100, 5)", "torch.randn(6, 5)")
    space = {"images": pythae_vae[1][:6]}
    exec(compile(code, str(PAGE), "exec"), space)
    assert space["hit"].images.shape == (1, 6, 1, 28, 28)
    assert space["found"].length.shape == (6,)
    ratio = space["small"].loss[0].sqrt() / (1e-3 * space["sigma"])
    assert ((ratio > 0.9) & (ratio < 1.1)).all()
