"""The worst captions of an audit as one HTML page that stands alone: styles and thumbnails are inside it."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evaluation.pictures import open_picture
from runtime.errors import ImageError

_THUMBNAIL_PX = 240

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --quiet: #616e7c; --line: #e4e7eb; --own: #1f6f8b; --wrong: 168, 68, 59; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 1rem 0 2rem; }
dt { color: var(--quiet); font-size: .82rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem; }
li { display: flex; gap: 1rem; padding-top: 1rem; border-top: 1px solid var(--line); }
li > img, li > .none { flex: none; width: 160px; height: 160px; object-fit: contain; background: #f5f7fa;
                       border-radius: 4px; }
.none { display: grid; place-items: center; color: var(--quiet); font-size: .8rem; }
.said { min-width: 0; overflow-wrap: anywhere; } .caption { margin: 0 0 .3rem; font-size: 1.1rem; }
.caption mark { color: inherit; padding: .05em .15em; border-radius: 3px;
                background: rgba(var(--wrong), calc(.12 + .38 * var(--p)));
                text-decoration: underline; text-decoration-color: rgb(var(--wrong)); text-underline-offset: .15em; }
.advice, small { display: block; color: var(--quiet); font-size: .86rem; } .advice b { color: rgb(var(--wrong)); }
@media (max-width: 34rem) { li { flex-direction: column; } }
"""


def write_page(out: Path, facts: Mapping[str, str], worst: Sequence[Mapping[str, Any]], *, images: Path) -> None:
    """Write the page; it appears when it is complete.

    Args:
        out: where to.
        facts: what is said at the top, by name.
        worst: lines of the report.
        images: the folder of the pictures.
    """
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Audit of captions</title><style>{_STYLE}</style></head>\n"
            "<body>\n<h1>Captions whose words disagree with their picture</h1>\n<dl>"
        )
        file.writelines(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
        file.write(f"</dl>\n<p>The worst {len(worst):,}, the worst first.</p>\n<ol>\n" if worst else "</dl>\n<ol>\n")
        file.writelines(_suspect(suspect, images) for suspect in worst)
        file.write("</ol>\n" if worst else "</ol>\n<p>No word is called wrong.</p>\n")
        file.write("</body></html>\n")
    partial.replace(out)


def _suspect(suspect: Mapping[str, Any], images: Path) -> str:
    wrong = [word for word in suspect["words"] if word["is_error"]]
    advice = "".join(
        f'<span class="advice"><b>{escape(word["word"])}</b> {100 * word["error_probability"]:.0f} %'
        + (": " if word["suggestions"] else "")
        + ", ".join(f"{escape(other['word'])} ({100 * other['probability']:.0f} %)" for other in word["suggestions"])
        + "</span>"
        for word in wrong
    )
    return (
        f'<li>{_picture(images, suspect["image"])}<div class="said"><p class="caption">{_coloured(suspect)}</p>{advice}'
        f"<small>{suspect['rank']}. {escape(suspect['image'])}, line {suspect['line']}, "
        f"match {100 * suspect['match']:.0f} %</small></div></li>\n"
    )


def _coloured(suspect: Mapping[str, Any]) -> str:
    """The caption as it was sent, its wrong words marked, the more likely wrong the darker."""
    text, at, parts = suspect["caption"], 0, []
    for word in suspect["words"]:
        if word["is_error"]:
            marked = f'<mark style="--p:{word["error_probability"]:.3f}">{escape(word["word"])}</mark>'
            parts += [escape(text[at : word["start"]]), marked]
            at = word["end"]
    return "".join([*parts, escape(text[at:])])


def _picture(images: Path, name: str) -> str:
    try:
        picture = open_picture(images, name)
    except (OSError, ImageError, ValueError):  # it could be read when it was audited
        return '<div class="none">the picture is gone</div>'
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
