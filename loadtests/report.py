"""The report of a run: JSON and CSV for other programs, a page for people."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from loadtests.records import ALL, GOOD, REFUSED, Measured, Record

_COLUMNS = (
    "requests",
    "failures",
    "refused",
    "requests_per_s",
    "goodput_per_s",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "late_p99_ms",
)
_STYLE = """
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; color: #1f2933; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.2rem; font-size: 1.15rem; border-bottom: 2px solid #1f6f8b; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e7eb; }
th { color: #616e7c; } td:first-child, th:first-child { text-align: left; padding-left: 0; }
.bad { color: #a8443b; } .good { color: #2f7d4f; } p { color: #616e7c; } .scroll { overflow-x: auto; }
"""
_SECONDS_SHOWN = 600
_GREEN, _AMBER, _RED = "#2f7d4f", "#d9a441", "#a8443b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run and what was seen.

    Attributes:
        about: what was run: host, plan, loop, full load, date.
        complaints: what was not good enough.
        measured: every stage and kind of request, those that are not judged too.
        records: every request.
    """

    about: dict[str, str | float | int]
    complaints: Sequence[str]
    measured: Sequence[Measured]
    records: Sequence[Record]


def write(run: Run, folder: Path) -> None:
    """Write `report.json`, `report.csv` and `report.html` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(_as_json(run), indent=2) + "\n")
    (folder / "report.html").write_text(_page(run), encoding="utf-8")
    with (folder / "report.csv").open("w", newline="") as file:
        csv.writer(file).writerows(_rows(run.measured))


def lines(measured: Iterable[Measured]) -> Iterator[str]:
    """Yield a line for each stage and kind of request, with where its slowest answers spent their time."""
    for entry in measured:
        slowest = "" if entry.slowest is None else f"; slowest in `{entry.slowest[0]}`, {entry.slowest[1]:.0f} ms"
        yield (
            f"{entry.stage}: {entry.name}: {entry.requests_per_s:.1f}/s, goodput {entry.goodput_per_s:.1f}/s, "
            f"p95 {entry.p95_ms:.0f} ms, p99 {entry.p99_ms:.0f} ms, {entry.failures} failed, "
            f"{entry.refused} refused{slowest}"
        )


def _as_json(run: Run) -> dict[str, object]:
    seen = [{**asdict(entry), "slowest_stage": entry.slowest and entry.slowest[0]} for entry in run.measured]
    return {"run": run.about, "good_enough": not run.complaints, "complaints": list(run.complaints), "measured": seen}


def _rows(measured: Sequence[Measured]) -> Iterator[list[object]]:
    stages = _stages_of(measured)
    means, slow = ([f"{kind}: {name}" for name in stages] for kind in ("mean ms", "slowest 5 % ms"))
    yield ["stage", "name", "seconds", *_COLUMNS, "slowest_stage", *means, *slow]
    for entry in measured:
        yield [
            entry.stage,
            entry.name,
            round(entry.seconds, 1),
            *(round(getattr(entry, column), 3) for column in _COLUMNS),
            entry.slowest[0] if entry.slowest else "",
            *(round(entry.server_ms.get(name, 0.0), 3) for name in stages),
            *(round(entry.slow_ms.get(name, 0.0), 3) for name in stages),
        ]


def _stages_of(measured: Iterable[Measured]) -> list[str]:
    return sorted({stage for entry in measured for stage in entry.server_ms})


def _page(run: Run) -> str:
    verdict = (
        "<ul>" + "".join(f'<li class="bad">{escape(said)}</li>' for said in run.complaints) + "</ul>"
        if run.complaints
        else '<p class="good">Good enough.</p>'
    )
    about = ", ".join(f"{escape(name)} {escape(str(value))}" for name, value in run.about.items())
    header, *rows = list(_rows(run.measured))
    num_told = len(_stages_of(run.measured))
    seen = 4 + len(_COLUMNS)
    parts = [
        f"<h1>Load test</h1><p>{about}</p>{verdict}",
        "<h2>Second by second</h2><p>Answers by when they were due: good, refused, failed.</p>",
        _timeline(run.records),
        "<h2>What was answered</h2>",
        _table(header[:seen], (row[:seen] for row in rows)),
        "<h2>Where the time went</h2><p>Mean milliseconds of a good answer in each stage of the server "
        "(<code>Server-Timing</code>), and between server and user.</p>",
        _table(header[:2] + header[seen : seen + num_told], (row[:2] + row[seen : seen + num_told] for row in rows)),
        "<h2>Where the slowest twentieth spent it</h2>",
        _table(header[:2] + header[seen + num_told :], (row[:2] + row[seen + num_told :] for row in rows)),
    ]
    return f"<!doctype html><meta charset=utf-8><title>Load test</title><style>{_STYLE}</style>" + "\n".join(parts)


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{escape(str(cell).replace('_', ' '))}</th>" for cell in header)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _timeline(records: Sequence[Record]) -> str:
    """Answers of each second (or each few, in a long run) as stacked bars."""
    if not records:
        return ""
    start = min(record.at_s for record in records)
    length = max(record.at_s for record in records) - start
    step = max(1.0, length / _SECONDS_SHOWN)
    counts = [[0, 0, 0] for _ in range(int(length / step) + 1)]
    for record in records:
        kind = 0 if record.outcome == GOOD else 1 if record.outcome == REFUSED else 2
        counts[int((record.at_s - start) / step)][kind] += 1
    most = max(sum(bar) for bar in counts)
    width, height = 900, 140
    bars = []
    for at, bar in enumerate(counts):
        below = 0.0
        for count, colour in zip(bar, (_GREEN, _AMBER, _RED), strict=True):
            tall = height * count / most
            below += tall
            if count:
                box = f'x="{at * width / len(counts):.1f}" y="{height - below:.1f}" height="{tall:.1f}"'
                bars.append(f'<rect {box} width="{width / len(counts):.2f}" fill="{colour}"/>')
    label = (
        f'<text x="0" y="{height + 16}" font-size="12">0 s to {length:.0f} s, up to {most / step:.0f} a second</text>'
    )
    return f'<svg viewBox="0 0 {width} {height + 20}" role="img" aria-label="{ALL}">{"".join(bars)}{label}</svg>'
