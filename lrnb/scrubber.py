"""A slider over ε for a page: drag it, and watch decodings break. No server, no library."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from lrnb import metrics
from lrnb.attacks import Attack
from lrnb.names import DATASET_NAMES

_SHOWN, _WIDEST = 8, 720  # images in a row; pixels of the page
_TURN = (
    "const s=this.closest('.lrnb-scrubber');"
    "s.querySelectorAll('img[data-step]').forEach(i=>{i.hidden=i.dataset.step!==this.value});"
    "s.querySelector('output').value=this.dataset.told.split('|')[this.value];"
    "this.setAttribute('aria-valuetext',s.querySelector('output').value)"
)


@dataclass(frozen=True)
class Scrubbers:
    """HTML that a notebook displays."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return "A slider over ε for each data set, on the rendered page."


def scrubbers(hits: Mapping[str, Attack]) -> Scrubbers:
    """One slider a data set: above the clean decodings, below the attacked ones at the ε chosen.

    The arrow keys move it, too. Every picture is in the page itself and has an alternative text
    with the mean damage, 1 − SSIM, of the images shown.

    Args:
        hits: by data set, with images [E, N, C, S, S] in [0, 1].
    """
    return Scrubbers("\n".join(_scrubber(DATASET_NAMES[d], hit) for d, hit in hits.items()))


def _scrubber(name: str, hit: Attack) -> str:
    clean = hit.clean[:_SHOWN]
    steps = [clean, *(images[:_SHOWN] for images in hit.images)]
    eps = [0.0, *hit.eps.tolist()]
    damage = [float((1 - metrics.ssim(images, clean)).mean()) for images in steps]
    told = [f"ε = {e:.3g}, 1 − SSIM = {m:.2f}" for e, m in zip(eps, damage, strict=True)]
    start = len(eps) // 2
    rows = [
        _strip(images, f"{name}, attacked decodings at {text}", step=k, hidden=k != start)
        for k, (images, text) in enumerate(zip(steps, told, strict=True))
    ]
    return f"""<div class="lrnb-scrubber" style="max-width:{_WIDEST}px;margin:1em 0">
<div><strong>{html.escape(name)}</strong>: clean above, attacked below</div>
{_strip(clean, f"{name}, clean decodings of {len(clean)} test images")}
{"".join(rows)}
<label>ε <input type="range" min="0" max="{len(eps) - 1}" step="1" value="{start}"
 style="width:60%;vertical-align:middle" aria-label="ε of the attack on {html.escape(name)}"
 aria-valuetext="{told[start]}" data-told="{"|".join(told)}" oninput="{_TURN}"></label>
<output>{told[start]}</output>
</div>"""


def _strip(images: Tensor, alt: str, *, step: int | None = None, hidden: bool = False) -> str:
    """Images side by side as one picture, in the page."""
    row = torch.cat(list(images.detach().cpu()), dim=2).clamp(0, 1).mul(255).round().byte()
    pixels = row.permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.save(stream, "PNG", optimize=True)
    source = base64.b64encode(stream.getvalue()).decode()
    of_step = "" if step is None else f' data-step="{step}"'
    return (
        f'<img class="dark-light" alt="{html.escape(alt)}"{of_step}{" hidden" * hidden}'
        ' style="width:100%;image-rendering:pixelated;margin:2px 0"'
        f' src="data:image/png;base64,{source}">'
    )
