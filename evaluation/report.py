"""The result of an evaluation as a page a person reads: Markdown tables that are plain in a terminal too.

Rates are shown in per cent with their 95 % interval; the JSON keeps fractions. Beside each number stands what a judge
without eyes would get: chance, or the blind control.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_GROUPS = (
    "retrieval",
    "hard_negatives",
    "proofreading",
    "grounding",
    "image_pairs",
    "judgements",
    "statements",
)

_LABELS = {
    "r@1": "R@1",
    "r@5": "R@5",
    "r@10": "R@10",
    "median_rank": "median rank",
    "accuracy": "pairwise accuracy",
    "dual_accuracy": "… by the dual encoder",
    "blind_accuracy": "… blind",
    "macro_accuracy": "… mean over types",
    "auroc": "word AUROC",
    "ap": "word average precision",
    "word_top1": "most suspicious word is wrong",
    "correction_top1": "first suggestion is right",
    "acc@0.5": "Acc@0.5 (one true box)",
    "pointing": "pointing",
    "text": "text score",
    "image": "image score",
    "group": "group score",
    "tau_c": "Kendall tau-c",
    "dual_tau_c": "… by the dual encoder",
}

_NOT_RATES = ("median_rank", "tau_c", "dual_tau_c")

_CONTROLS = {
    "auroc": "blind_auroc",
    "ap": "blind_ap",
    "word_top1": "blind_word_top1",
    "correction_top1": "blind_correction_top1",
    "acc@0.5": "whole_image_acc@0.5",
    "pointing": "centre_pointing",
}
"""Which number of the same group says how far one comes without looking, or without looking closely."""

_GROUP_LABELS = {("statements", "accuracy"): "accuracy", ("statements", "auroc"): "AUROC of true and false"}

_GROUP_CONTROLS = {("statements", "accuracy"): "majority"}

_CHANCE = {
    ("hard_negatives", "accuracy"): 1 / 2,
    ("image_pairs", "accuracy"): 1 / 2,
    ("image_pairs", "text"): 1 / 4,
    ("image_pairs", "image"): 1 / 4,
    ("image_pairs", "group"): 1 / 6,
}


def render(result: Mapping[str, Any]) -> str:
    """Write the result of `evaluate` or `evaluate_suite` as Markdown."""
    bundle = result["bundle"]
    judged = "the fusion graph" if bundle["judge"] == "match" else "the dual encoder alone"
    lines = [f"# {bundle['name']}", "", f"Recipe {bundle['recipe']}; pairs are judged by {judged}.", ""]
    if "runs" in result:
        for name, run in result["runs"].items():
            lines += [f"## {name}", "", *_groups(run)]
    else:
        lines += _groups(result)
    return "\n".join(lines).rstrip() + "\n"


def _groups(result: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for group in _GROUPS:
        if group in result:
            lines += _retrieval(result[group]) if group == "retrieval" else _group(group, result[group])
    for name, reason in result.get("unavailable", {}).items():
        lines += [f"No {_title(name).lower()}: {reason}", ""]
    return lines + _skipped(result["skipped"])


def _title(group: str) -> str:
    return group.replace("_", " ").capitalize()


def _retrieval(group: Mapping[str, Any]) -> list[str]:
    names = ["r@1", "r@5", "r@10", "median_rank"]
    directions = {"text to image": group["text_to_image"], "image to text": group["image_to_text"]}
    rows = [
        [label, str(numbers["count"]), *(_with_interval(name, numbers) for name in names)]
        for label, numbers in directions.items()
    ]
    head = ["", "queries", *(_LABELS[name] for name in names)]
    return [f"### Retrieval ({group['count']} pictures)", "", *table(head, rows), ""]


def _group(name: str, group: Mapping[str, Any]) -> list[str]:
    controls = set(_CONTROLS.values())
    numbers = [key for key in _LABELS if key in group and key not in controls]
    has_reference = any(_reference(name, key, group) for key in numbers)
    labels = {key: _GROUP_LABELS.get((name, key), _LABELS[key]) for key in numbers}
    head = ["", "value (95 %)", *(["control"] if has_reference else [])]
    rows = [
        [labels[key], _with_interval(key, group), *([_reference(name, key, group)] if has_reference else [])]
        for key in numbers
    ]
    lines = [f"### {_title(name)} ({_counts(group)})", "", *table(head, rows), ""]
    return lines + (_by_type(group["by_type"]) if len(group.get("by_type", {})) > 1 else [])


def _counts(group: Mapping[str, Any]) -> str:
    others = [
        f"{group[key]} {key.removeprefix('count_').replace('_', ' ')}" for key in group if key.startswith("count_")
    ]
    return ", ".join([f"{group['count']} rows", *others])


def _reference(name: str, key: str, group: Mapping[str, Any]) -> str:
    control = _GROUP_CONTROLS.get((name, key), _CONTROLS.get(key))
    if control is not None:
        return _number(key, group[control])
    chance = _CHANCE.get((name, key))
    return "" if chance is None else f"{_number(key, chance)} (chance)"


def _by_type(by_type: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = [name for name in _LABELS if all(name in group for group in by_type.values())]
    rows = [
        [kind, str(group["count"]), *(_number(name, group[name]) for name in names)] for kind, group in by_type.items()
    ]
    return [*table(["type", "rows", *(_LABELS[name].removeprefix("… ") for name in names)], rows), ""]


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name in _NOT_RATES:
        return f"{value:.1f}" if name == "median_rank" else f"{value:.3f}"
    return f"{100 * value:.1f} %"


def _with_interval(name: str, group: Mapping[str, Any]) -> str:
    shown = _number(name, group[name])
    interval = group["interval"].get(name)
    if interval is None:
        return shown
    low, high = (_number(name, end).removesuffix(" %") for end in interval)
    return f"{shown} ({low}–{high})"


def _skipped(skipped: Mapping[str, Any]) -> list[str]:
    if not skipped["count"]:
        return []
    named = [f"- {entry['image']}: {entry['reason']}" for entry in skipped["pictures"]]
    return [f"Left out, because the picture cannot be read: {skipped['count']}", "", *named, ""]


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
