"""Answers as HTML for notebooks: every picture inside, nothing fetched by the browser, no script."""

import base64
import io
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING

from runtime.errors import VernierError
from runtime.preprocess.image import decode_image
from vernier.client.models import GroundAnswer, Hit, Item, ProofreadAnswer

if TYPE_CHECKING:
    from PIL import Image

_SHOWN_PX = 960  # twice what it is laid out for, as screens have it
_ROW = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start"
_FIGURE = "margin:0;width:220px;overflow-wrap:anywhere;font-size:13px"
_WIDE_FIGURE = "margin:0;max-width:480px;overflow-wrap:anywhere;font-size:13px"
_IMAGE = "max-width:100%;display:block;border-radius:4px"


def hits_html(hits: Iterable[Hit]) -> str:
    """Return hits side by side: picture with its regions, score, what the item says."""
    figures = [_figure(_hit_picture(hit), _hit_caption(hit)) for hit in hits]
    return f'<div style="{_ROW}">{"".join(figures)}</div>' if figures else "<em>Nothing found.</em>"


def ground_html(answer: GroundAnswer) -> str:
    """Return the picture with every box; where heat maps came, each phrase's beside it."""
    figures = [_figure(_drawn(answer.picture, answer), "", wide=True)]
    figures += [
        _figure(_drawn(answer.picture, answer, heat=grounding.phrase), escape(grounding.phrase))
        for grounding in answer.groundings
        if grounding.heatmap is not None
    ]
    return f'<div style="{_ROW}">{"".join(figures)}</div>'


def proofread_html(answer: ProofreadAnswer) -> str:
    """Return the picture beside its text, each word the redder the likelier it is wrong, and the corrected text."""
    words = " ".join(
        f'<span title="{word.error_probability:.2f}" style="padding:1px 3px;border-radius:3px;'
        f"background:rgba(214,41,62,{word.error_probability:.2f});"
        f'{"text-decoration:line-through" if word.is_error else ""}">{escape(word.word)}</span>'
        for word in answer.words
    )
    said = f"{words}<br>{escape(answer.corrected_text)}<br>match {answer.match:.3f}"
    return f'<div style="{_ROW}">{_figure(_fetched(answer.picture), said, wide=True)}</div>'


def item_html(item: Item) -> str:
    """Return an item's picture over what it says."""
    said = f"<code>{escape(item.id)}</code><br>{escape(item.text or '')}"
    return _figure(_fetched(item.picture) if item.has_picture else "", said)


def _figure(picture: str, caption: str, *, wide: bool = False) -> str:
    style = _WIDE_FIGURE if wide else _FIGURE
    return f'<figure style="{style}">{picture}<figcaption>{caption}</figcaption></figure>'


def _hit_caption(hit: Hit) -> str:
    about = hit.text or (hit.metadata or {}).get("caption") or ""
    match = "" if hit.match is None else f", match {hit.match:.3f}"
    return f"<b>{hit.score:.3f}</b>{match} <code>{escape(hit.id)}</code><br>{escape(str(about))}"


def _hit_picture(hit: Hit) -> str:
    return _drawn(hit.picture, hit) if hit.regions else _fetched(hit.picture)


def _fetched(picture: Callable[[], bytes]) -> str:
    return _shown(lambda: decode_image(picture(), target_px=_SHOWN_PX))


def _drawn(picture: Callable[[], bytes], found: GroundAnswer | Hit, *, heat: str | None = None) -> str:
    from vernier.client.drawing import draw

    return _shown(lambda: draw(picture(), found, heat=heat))


def _shown(look: Callable[[], "Image.Image"]) -> str:
    """A picture as HTML, no larger than a notebook shows it; or why there is none."""
    try:
        image = look()
    except VernierError as error:
        return f"<em>{escape(str(error))}</em>"
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return f'<img style="{_IMAGE}" alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
