"""The result of an evaluation as Markdown that is plain in a terminal too."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.tables import Section, runs_of, sections


def render(result: Mapping[str, Any]) -> str:
    """Write the result of `evaluate` or `evaluate_suite` as Markdown."""
    lines = [f"# {result['bundle']['name']}", "", judged_by(result["bundle"]), ""]
    for name, run in runs_of(result).items():
        lines += [f"## {name}", ""] if name else []
        for section in sections(run):
            lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def judged_by(bundle: Mapping[str, Any]) -> str:
    """Say what made a bundle, and what in it judges pairs."""
    judge = "the fusion graph" if bundle["judge"] == "match" else "the dual encoder alone"
    return f"Recipe {bundle['recipe']}; pairs are judged by {judge}."


def _section(section: Section) -> list[str]:
    lines = [f"### {section.title}", ""]
    for shown in section.tables:
        lines += [*table(shown.head, shown.rows), ""]
    return lines + ([*(f"- {line}" for line in section.lines), ""] if section.lines else [])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a Markdown table whose columns line up in plain text; the first column left, the others right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]
    lines = [_line(row, widths) for row in cells]
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return [lines[0], _line(rule, widths), *lines[1:]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"
