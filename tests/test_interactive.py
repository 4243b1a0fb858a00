"""Pictures on pages are those of the attack, their texts computed."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lrnb import attack, metrics
from lrnb.plotting import epsilon_sliders, side_by_side


@pytest.fixture(scope="module")
def hit():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 32 * 32, generator=generator)
    codes = torch.randn(10, 4, generator=generator)
    return attack(lambda z: (z @ weight).sigmoid().view(-1, 1, 32, 32), codes, eps=[0.5, 1.0])


def pictures(page):
    sources = re.findall(r"<img[^>]*base64,([^\"]+)\"", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(s)))) for s in sources]


def test_pictures_are_the_clean_and_the_attacked_images(hit):
    above, *steps = pictures(epsilon_sliders({"digits": hit})._repr_html_())
    assert np.array_equal(above, steps[0]) and len(steps) == 1 + len(hit.eps)
    for step, images in zip(steps[1:], hit.images, strict=True):
        assert step.shape == (32, 8 * 32)
        third = (images[2, 0].numpy() * 255).round()
        assert np.abs(step[:, 64:96] - third).max() <= 1


def test_one_step_is_shown_and_told_in_numbers_of_the_run(hit):
    page = epsilon_sliders({"digits": hit})._repr_html_()
    shown = [tag for tag in re.findall(r"<img[^>]*data-step[^>]*?src", page) if "hidden" not in tag]
    assert len(shown) == 1
    damage = float((1 - metrics.ssim(hit.images[0, :8], hit.clean[:8])).mean())
    assert f"attacked decodings at ε = 0.5, 1 − SSIM = {damage:.2f}" in shown[0]
    assert f"<output>ε = 0.5, 1 − SSIM = {damage:.2f}</output>" in page


def test_a_slider_for_each_data_set_and_nothing_from_elsewhere(hit):
    page = epsilon_sliders({"digits": hit, "shapes": hit})._repr_html_()
    assert page.count('type="range"') == 2 and "Shapes" in page
    assert "http" not in page and "<script" not in page


def test_side_by_side_shows_each_row_and_tells_its_damage(hit):
    rows = {"clean": hit.clean, "attack, ε = 1": hit.images[-1]}
    shown = side_by_side({"digits": rows})
    assert "rendered page" in repr(shown)
    page = shown._repr_html_()
    clean, attacked = pictures(page)
    assert clean.shape == (32, 5 * 32) and not np.array_equal(clean, attacked)
    damage = float((1 - metrics.ssim(hit.images[-1, :5], hit.clean[:5])).mean())
    assert page.count(f"attack, ε = 1, 1 − SSIM = {damage:.2f}") == 2  # beside it and as its alt
    assert "Digits, clean" in page


def test_photographs_stay_near_to_what_they_were():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=64, mode="bilinear").clamp(0, 1)
    (shown,) = pictures(side_by_side({"celeba": {"clean": images}})._repr_html_())
    assert shown.shape == (64, 5 * 64, 3)
    first = images[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(shown[:, :64].astype(float) - first).mean() < 2
