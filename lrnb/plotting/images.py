"""Images: grids of them as figures, decodings as HTML side by side or under a slider over ε."""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lrnb import metrics
from lrnb.attacks import Attack
from lrnb.data import DATASETS

_SHOWN, _SHOWN_IN_BLOCK = 8, 5  # images in a row of HTML
_SELECT = (
    "const s=this.closest('.lrnb-slider');"
    "s.querySelectorAll('img[data-step]').forEach(i=>{i.hidden=i.dataset.step!==this.value});"
    "s.querySelector('output').value=this.dataset.captions.split('|')[this.value];"
    "this.setAttribute('aria-valuetext',s.querySelector('output').value)"
)


def image_grids(grids: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Draw rows of images, as many as fit: data set → row name → [N, C, H, W]."""
    rows, columns = max(map(len, grids.values())), {1: 10, 2: 6}.get(len(grids), 4)
    image, gap, names, title = 0.62, 0.02, 0.85, 0.28  # inches
    block, side = names + columns * image, image - gap
    width, height = block * len(grids), title + rows * image
    fig = plt.figure(figsize=(width, height))
    for b, (dataset, grid) in enumerate(grids.items()):
        left = b * block + names
        fig.text(left / width, 1 - 0.2 / height, DATASETS[dataset].label, fontsize=10)
        for row, (name, images) in enumerate(grid.items()):
            bottom = height - title - (row + 1) * image
            at = (left - 0.06) / width, (bottom + image / 2) / height
            fig.text(*at, name, fontsize=8.5, ha="right", va="center")
            for column, shown in enumerate(images[:columns].detach().cpu()):
                x = left + column * image
                ax = fig.add_axes((x / width, bottom / height, side / width, side / height))
                pixels = shown.permute(1, 2, 0).numpy().clip(0, 1)
                ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, vmin=0, vmax=1)
                ax.axis("off")
    return fig


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
    """Show data set → row name → images [N, C, S, S] in [0, 1] of the same codes, the first clean.

    Captions and alternative texts hold the mean damage, 1 − SSIM, of the images shown.
    """
    blocks = []
    for dataset, rows in decodings.items():
        name, (first, *_) = DATASETS[dataset].label, rows
        clean = rows[first][:_SHOWN_IN_BLOCK]
        lines = [f"<strong>{html.escape(name)}</strong>"]
        for row, images in rows.items():
            shown = images[:_SHOWN_IN_BLOCK]
            caption = row if row == first else f"{row}, {_damage(shown, clean)}"
            lines += [f"<div>{html.escape(caption)}</div>", _strip(shown, f"{name}, {caption}")]
        blocks += ['<div style="flex:1 1 13em;min-width:0;max-width:24em">', *lines, "</div>"]
    style = "display:flex;flex-wrap:wrap;gap:1em;margin:1em 0"
    page = f'<div style="{style}">{"".join(blocks)}</div>'
    return Page(page, "Decodings side by side, on the rendered page.")


def epsilon_sliders(hits: Mapping[str, Attack]) -> Page:
    """Show a slider a data set, between clean decodings and those attacked with the chosen ε.

    All images, of `Attack` [E, N, C, S, S] in [0, 1], are in the page: it works without a server.
    """
    page = "\n".join(_slider(DATASETS[dataset].label, hit) for dataset, hit in hits.items())
    return Page(page, "A slider over ε for each data set, on the rendered page.")


def _slider(name: str, hit: Attack) -> str:
    clean = hit.clean[:_SHOWN]
    steps = {0.0: clean} | dict(zip(hit.eps.tolist(), hit.images[:, :_SHOWN], strict=True))
    captions = [f"ε = {eps:.3g}, {_damage(images, clean)}" for eps, images in steps.items()]
    shown = captions[start := len(steps) // 2]
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
 aria-valuetext="{shown}" data-captions="{"|".join(captions)}" oninput="{_SELECT}"></label>
<output>{shown}</output>
</div>"""


def _damage(images: Tensor, reference: Tensor) -> str:
    return f"1 − SSIM = {float((1 - metrics.ssim(images, reference)).mean()):.2f}"


def _strip(images: Tensor, alt: str, *, step: int | None = None, hidden: bool = False) -> str:
    """Return the tag of one image that holds the given ones side by side."""
    row = torch.cat(list(images.detach().cpu()), dim=2).clamp(0, 1).mul(255).round().byte()
    pixels, stream = row.permute(1, 2, 0).numpy(), io.BytesIO()
    if len(row) == 1:
        Image.fromarray(pixels[..., 0]).save(stream, kind := "png", optimize=True)
    else:  # photographs are several times larger as PNG
        Image.fromarray(pixels).save(stream, kind := "jpeg", quality=95, subsampling=0)
    source = base64.b64encode(stream.getvalue()).decode()
    of_step = "" if step is None else f' data-step="{step}"'
    return (
        f'<img class="dark-light" alt="{html.escape(alt)}"{of_step}{" hidden" * hidden}'
        ' style="width:100%;image-rendering:pixelated;margin:2px 0"'
        f' src="data:image/{kind};base64,{source}">'
    )
