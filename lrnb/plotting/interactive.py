"""Images of decodings as HTML, side by side or under a slider over ε; works without a server."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from lrnb import metrics
from lrnb.data import DATASETS

if TYPE_CHECKING:
    from lrnb.attacks import Attack

_SHOWN, _SHOWN_IN_BLOCK = 8, 5  # images in a row
_SELECT = (
    "const s=this.closest('.lrnb-slider');"
    "s.querySelectorAll('img[data-step]').forEach(i=>{i.hidden=i.dataset.step!==this.value});"
    "s.querySelector('output').value=this.dataset.captions.split('|')[this.value];"
    "this.setAttribute('aria-valuetext',s.querySelector('output').value)"
)


@dataclass(frozen=True)
class Page:
    """HTML that a notebook displays; ``text`` replaces it where HTML is not shown."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def side_by_side(decodings: Mapping[str, Mapping[str, Tensor]]) -> Page:
    """Show a block a data set, in it a row of images for each name; the first is the reference.

    Captions and alternative texts hold the mean damage, 1 − SSIM, of the images shown.

    Args:
        decodings: data set → row name → images [N, C, S, S] in [0, 1] of the same codes.
    """
    blocks = []
    for dataset, rows in decodings.items():
        name, first = DATASETS[dataset].label, next(iter(rows))
        lines = [f"<strong>{html.escape(name)}</strong>"]
        for row, images in rows.items():
            shown, reference = images[:_SHOWN_IN_BLOCK], rows[first][:_SHOWN_IN_BLOCK]
            caption = row if row == first else f"{row}, {_damage(shown, reference)}"
            lines += [f"<div>{html.escape(caption)}</div>", _strip(shown, f"{name}, {caption}")]
        style = "flex:1 1 13em;min-width:0;max-width:24em"
        blocks.append(f'<div style="{style}">{"".join(lines)}</div>')
    style = "display:flex;flex-wrap:wrap;gap:1em;margin:1em 0"
    page = f'<div style="{style}">{"".join(blocks)}</div>'
    return Page(page, "Decodings side by side, on the rendered page.")


def epsilon_sliders(hits: Mapping[str, Attack]) -> Page:
    """Show a slider a data set, between clean decodings and those attacked with the chosen ε.

    All images are in the page; alternative texts hold the mean damage, 1 − SSIM, of those shown.

    Args:
        hits: by data set, with images [E, N, C, S, S] in [0, 1].
    """
    page = "\n".join(_slider(DATASETS[dataset].label, hit) for dataset, hit in hits.items())
    return Page(page, "A slider over ε for each data set, on the rendered page.")


def _slider(name: str, hit: Attack) -> str:
    clean = hit.clean[:_SHOWN]
    steps = {0.0: clean} | dict(zip(hit.eps.tolist(), hit.images[:, :_SHOWN], strict=True))
    captions = [f"ε = {eps:.3g}, {_damage(images, clean)}" for eps, images in steps.items()]
    start = len(steps) // 2
    rows = [
        _strip(images, f"{name}, attacked decodings at {text}", step=k, hidden=k != start)
        for k, (images, text) in enumerate(zip(steps.values(), captions, strict=True))
    ]
    return f"""<div class="lrnb-slider" style="max-width:720px;margin:1em 0">
<div><strong>{html.escape(name)}</strong>: clean above, attacked below</div>
{_strip(clean, f"{name}, clean decodings of {len(clean)} test images")}
{"".join(rows)}
<label>ε <input type="range" min="0" max="{len(steps) - 1}" step="1" value="{start}"
 style="width:60%;vertical-align:middle" aria-label="ε of the attack on {html.escape(name)}"
 aria-valuetext="{captions[start]}" data-captions="{"|".join(captions)}" oninput="{_SELECT}"></label>
<output>{captions[start]}</output>
</div>"""


def _damage(images: Tensor, reference: Tensor) -> str:
    return f"1 − SSIM = {float((1 - metrics.ssim(images, reference)).mean()):.2f}"


def _strip(images: Tensor, alt: str, *, step: int | None = None, hidden: bool = False) -> str:
    """Return the tag of one image that holds the given ones side by side."""
    row = torch.cat(list(images.detach().cpu()), dim=2).clamp(0, 1).mul(255).round().byte()
    pixels, stream = row.permute(1, 2, 0).numpy(), io.BytesIO()
    kind = "png" if pixels.shape[2] == 1 else "jpeg"  # photographs are several times larger as PNG
    if kind == "png":
        Image.fromarray(pixels[..., 0]).save(stream, kind, optimize=True)
    else:
        Image.fromarray(pixels).save(stream, kind, quality=95, subsampling=0)
    source = base64.b64encode(stream.getvalue()).decode()
    of_step = "" if step is None else f' data-step="{step}"'
    return (
        f'<img class="dark-light" alt="{html.escape(alt)}"{of_step}{" hidden" * hidden}'
        ' style="width:100%;image-rendering:pixelated;margin:2px 0"'
        f' src="data:image/{kind};base64,{source}">'
    )
