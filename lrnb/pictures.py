"""Pictures of decodings as HTML: side by side, or under a slider over ε. No server, no library."""

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

_SHOWN, _BESIDE, _WIDEST = 8, 5, 720  # images in a row, and in one of several blocks; pixels
_TURN = (
    "const s=this.closest('.lrnb-scrubber');"
    "s.querySelectorAll('img[data-step]').forEach(i=>{i.hidden=i.dataset.step!==this.value});"
    "s.querySelector('output').value=this.dataset.told.split('|')[this.value];"
    "this.setAttribute('aria-valuetext',s.querySelector('output').value)"
)


@dataclass(frozen=True)
class Page:
    """HTML that a notebook displays; `told` stands for it where HTML is not shown."""

    html: str
    told: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.told


def side_by_side(decodings: Mapping[str, Mapping[str, Tensor]]) -> Page:
    """A block a data set, in it a row of images for each name; the first row is the reference.

    Beside a name, and in the alternative text of its row, stands the mean damage, 1 − SSIM, of the
    images shown.

    Args:
        decodings: data set → row name → images [N, C, S, S] in [0, 1] of the same codes.
    """
    blocks = "".join(_block(DATASET_NAMES[d], rows) for d, rows in decodings.items())
    page = f'<div style="display:flex;flex-wrap:wrap;gap:1em;margin:1em 0">{blocks}</div>'
    return Page(page, "Decodings side by side, on the rendered page.")


def scrubbers(hits: Mapping[str, Attack]) -> Page:
    """One slider a data set: above the clean decodings, below the attacked ones at the ε chosen.

    The arrow keys move it, too. Every picture is in the page itself and has an alternative text
    with the mean damage, 1 − SSIM, of the images shown.

    Args:
        hits: by data set, with images [E, N, C, S, S] in [0, 1].
    """
    page = "\n".join(_scrubber(DATASET_NAMES[d], hit) for d, hit in hits.items())
    return Page(page, "A slider over ε for each data set, on the rendered page.")


def _block(name: str, rows: Mapping[str, Tensor]) -> str:
    shown = {row: images[:_BESIDE] for row, images in rows.items()}
    first = next(iter(shown))
    lines = []
    for row, images in shown.items():
        damage = f", 1 − SSIM = {_damage(images, shown[first]):.2f}"
        told = row if row == first else row + damage
        lines += [f"<div>{html.escape(told)}</div>", _strip(images, f"{name}, {told}")]
    inside = "".join(lines)
    heading = f"<strong>{html.escape(name)}</strong>"
    return f'<div style="flex:1 1 13em;min-width:0;max-width:24em">{heading}{inside}</div>'


def _damage(images: Tensor, reference: Tensor) -> float:
    return float((1 - metrics.ssim(images, reference)).mean())


def _scrubber(name: str, hit: Attack) -> str:
    clean = hit.clean[:_SHOWN]
    steps = [clean, *(images[:_SHOWN] for images in hit.images)]
    eps = [0.0, *hit.eps.tolist()]
    told = [
        f"ε = {e:.3g}, 1 − SSIM = {_damage(images, clean):.2f}"
        for e, images in zip(eps, steps, strict=True)
    ]
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
    if pixels.shape[2] == 1:
        kind = "png"
        Image.fromarray(pixels[..., 0]).save(stream, kind, optimize=True)
    else:  # photographs, which PNG makes several times larger
        kind = "jpeg"
        Image.fromarray(pixels).save(stream, kind, quality=95, subsampling=0)
    source = base64.b64encode(stream.getvalue()).decode()
    of_step = "" if step is None else f' data-step="{step}"'
    return (
        f'<img class="dark-light" alt="{html.escape(alt)}"{of_step}{" hidden" * hidden}'
        ' style="width:100%;image-rendering:pixelated;margin:2px 0"'
        f' src="data:image/{kind};base64,{source}">'
    )
