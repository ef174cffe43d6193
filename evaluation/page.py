"""The result of an evaluation as one HTML page: tables, plots, and the clearest failures with their pictures.

The page stands alone: styles, plots and thumbnails are inside it. It needs the extra `plots`.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageDraw

from evaluation.failures import Failure, clearest
from evaluation.items import Item
from evaluation.pictures import open_picture
from evaluation.plots import as_svg, bars, curves, reliability
from evaluation.report import judged_by
from evaluation.tables import CHANCE, CONTROLS, GROUP_LABELS, LABELS, MAIN, Section, Table, headlines, runs_of, sections
from runtime.errors import ImageError

_THUMBNAIL_PX = 144

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --quiet: #616e7c; --line: #e4e7eb; --own: #1f6f8b; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; }
h2 { margin: 3rem 0 0; padding-bottom: .3rem; border-bottom: 2px solid var(--own); font-size: 1.35rem; }
h3 { margin: 2.2rem 0 .6rem; font-size: 1.05rem; }
h4 { margin: 1.2rem 0 .4rem; font-size: .9rem; color: var(--quiet); font-weight: 600; }
p, li { color: var(--quiet); } p { margin: .3rem 0 .8rem; max-width: 46rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin-top: 1rem; } a { color: var(--own); }
table { border-collapse: collapse; margin: .4rem 0 1rem; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .8rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; } td:first-child, th:first-child { text-align: left; padding-left: 0; }
.scroll { overflow-x: auto; } figure { margin: .6rem 0 1rem; } figure svg { max-width: 100%; height: auto; }
.failures { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: .9rem; }
.failure { display: flex; gap: .7rem; font-size: .86rem; line-height: 1.35; }
.failure img { width: 96px; height: 96px; object-fit: contain; background: #f5f7fa; border-radius: 4px; flex: none; }
.failure div { min-width: 0; overflow-wrap: anywhere; } .failure small { display: block; color: var(--quiet); }
"""

_EXPLAINED = {
    "retrieval": "A caption looks for its picture among all pictures, and a picture for any of its captions. R@k: the "
    "right one is among the first k. Ties are lost.",
    "hard_negatives": "Does the true caption score above one that has a little wrong? Chance is a half; what another "
    "picture gives was read from the texts alone.",
    "proofreading": "Which words of a wrong caption are wrong, and what should stand there? Only what is above the "
    "same model with another picture is evidence of seeing.",
    "grounding": "Is the phrase's place found? Pointing: the hottest point lies in a true box. Acc@0.5: the best box "
    "overlaps the true one by half. Another phrase: where the model looks for something else in the same picture.",
    "image_pairs": "Two pictures that differ in one thing. Pairwise: the caption picks its picture. Text, image and "
    "group scores are Winoground's.",
    "judgements": "Does the score order captions as people do? Kendall's tau-c, from -1 to 1.",
    "statements": "Is the sentence true of its picture? Accuracy calls it so from a calibrated probability of a half; "
    "AUROC needs no threshold.",
    "mentions": "The caption is read as a whole: where do the words of one of its phrases look most? Later are the "
    "phrases after the first, smaller those with a smaller box than another's.",
    "occlusions": "The main thing is covered by noise: does the caption still score above one that is wrong about "
    "another thing? Nothing covered: the same patch elsewhere.",
    "near_duplicates": "A caption looks for its picture among all pictures and pictures that differ from them in one "
    "thing; and by match among those of its own picture alone.",
}


def write_page(out: Path, result: Mapping[str, Any], items: Sequence[Item], *, pictures: Mapping[str, Path]) -> None:
    """Write the page.

    Args:
        out: where to.
        result: of `evaluate` or `evaluate_suite`.
        items: what became of each item.
        pictures: the folder of pictures of each run; that of a result without runs under an empty name.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render_page(result, items, pictures=pictures), encoding="utf-8")


def render_page(result: Mapping[str, Any], items: Sequence[Item], *, pictures: Mapping[str, Path]) -> str:
    """The page as text; see `write_page`."""
    bundle, runs = result["bundle"], runs_of(result)
    parts = [f"<h1>{escape(bundle['name'])}</h1>", f"<p>{escape(judged_by(bundle))}</p>"]
    if len(runs) > 1:
        links = (f'<a href="#run-{number}">{escape(name)}</a>' for number, name in enumerate(runs))
        parts += [f"<nav>{''.join(links)}</nav>", "<h3>In short</h3>", _table(headlines(runs))]
    for number, (name, run) in enumerate(runs.items()):
        if name:
            parts.append(f'<h2 id="run-{number}">{escape(name)}</h2>')
        parts += _run(run, [item for item in items if item.run == name], pictures[name])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(bundle['name'])}: evaluation</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def _run(run: Mapping[str, Any], items: Sequence[Item], folder: Path) -> Iterator[str]:
    failures = clearest(items)
    for section in sections(run):
        yield _section(section)
        if section.group:
            yield from _plots(section.group, run[section.group], items)
            yield from _failures(failures.get(section.group, ()), folder)


def _section(section: Section) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in section.lines)
    return "\n".join(
        [
            f"<h3>{escape(section.title)}</h3>",
            f"<p>{escape(_EXPLAINED[section.group])}</p>" if section.group else "",
            *(_table(table) for table in section.tables[:1]),
            f"<ul>{lines}</ul>" if lines else "",
            *(
                f"<details><summary>By {table.head[0].replace('type', 'kind')}, as a table</summary>"
                f"{_table(table)}</details>"
                for table in section.tables[1:]
            ),
        ]
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _plots(name: str, group: Mapping[str, Any], items: Sequence[Item]) -> Iterator[str]:
    if name == "retrieval":
        yield _figure("Share of queries answered within the first k", _recall_curve(group, items))
        return
    rates = [key for key in LABELS if key in group["interval"] and group[key] is not None and "tau" not in key]
    main = MAIN.get(name, "accuracy")
    if len(rates) > 1 and ("by_type" not in group or name in MAIN):
        labels = [GROUP_LABELS.get((name, key), LABELS[key]) for key in rates]
        yield _figure("", _bars(labels, [group] * len(rates), rates, [_control(name, key) for key in rates]))
    by_type = group.get("by_type", {})
    if len(by_type) > 1:
        kinds = sorted(by_type, key=lambda kind: -(by_type[kind][main] or 0))
        labels = [f"{kind} ({by_type[kind]['count']})" for kind in kinds]
        of = [by_type[kind] for kind in kinds]
        controls = [_control(name, main)] * len(of)
        title = "By kind" if main == "accuracy" else f"By kind: {LABELS[main]}"
        yield _figure(title, _bars(labels, of, [main] * len(of), controls))
    if group.get("reliability"):
        yield _figure("Reliability: are words as often wrong as is said?", as_svg(reliability(group["reliability"])))


def _control(name: str, key: str) -> str | float | None:
    """The name of a number's first control, or its chance."""
    controls = CONTROLS.get((name, key), ())
    return controls[0][0] if controls else CHANCE.get((name, key))


def _bars(
    labels: Sequence[str],
    groups: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    controls: Sequence[str | float | None],
) -> str:
    return as_svg(
        bars(
            labels,
            [group[key] for group, key in zip(groups, keys, strict=True)],
            intervals=[group["interval"].get(key) for group, key in zip(groups, keys, strict=True)],
            controls=[
                group.get(control) if isinstance(control, str) else control
                for group, control in zip(groups, controls, strict=True)
            ],
            control_label="control",
        )
    )


def _recall_curve(group: Mapping[str, Any], items: Sequence[Item]) -> str:
    lines: dict[str, list[tuple[float, float]]] = {}
    for label, way in (("text to image", "text_to_image"), ("image to text", "image_to_text")):
        ranks = np.array([item.scores["rank"] for item in items if item.group == way], np.float64)
        cutoffs = np.unique(np.geomspace(1, max(10.0, ranks.max()), 60).round())
        lines[label] = [(float(k), float((ranks <= k).mean())) for k in cutoffs]
    furthest = max(k for points in lines.values() for k, _ in points)
    steps = np.geomspace(1, furthest, 60)
    lines["text to image by chance"] = [(float(k), min(1.0, float(k) / group["count"])) for k in steps]
    return as_svg(curves(lines, x_label="k", y_label="found, %"))


def _figure(title: str, svg: str) -> str:
    return (f"<h4>{escape(title)}</h4>" if title else "") + f"<figure>{svg}</figure>"


def _failures(failures: Sequence[Failure], folder: Path) -> Iterator[str]:
    if not failures:
        return
    yield "<h4>Where it was surest and wrong</h4>"
    yield f'<div class="failures">{"".join(_failure(failure, folder) for failure in failures)}</div>'


def _failure(failure: Failure, folder: Path) -> str:
    first, *others = failure.said
    said = "".join(f"<small>{escape(line)}</small>" for line in others if line)
    thumbnail = _thumbnail(folder, failure.picture, failure.point)
    image = f'<img src="data:image/jpeg;base64,{thumbnail}" alt="{escape(failure.picture)}">' if thumbnail else ""
    return f'<div class="failure">{image}<div>{escape(first)}{said}</div></div>'


def _thumbnail(folder: Path, name: str, point: tuple[float, float] | None) -> str | None:
    """A small JPEG of a picture, with the point marked, in base64; None where it has gone since it was evaluated."""
    try:
        picture = open_picture(folder, name)
    except (OSError, ImageError, ValueError):
        return None
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    if point is not None:
        x, y, radius = point[0] * picture.width, point[1] * picture.height, 6
        draw = ImageDraw.Draw(picture)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline="white", width=4)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline="#d0021b", width=2)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
