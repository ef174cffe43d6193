"""The result of an evaluation as titled tables of text: what a page says, before it is Markdown or HTML.

Rates are shown in per cent with their 95 % interval; the JSON keeps fractions. Beside each number stands what a judge
without eyes would get: chance, or a control of the same group.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LABELS = {
    "r@1": "R@1",
    "r@5": "R@5",
    "r@10": "R@10",
    "median_rank": "median rank",
    "accuracy": "pairwise accuracy",
    "dual_accuracy": "… by the dual encoder",
    "macro_accuracy": "… mean over types",
    "auroc": "word AUROC",
    "judged_auroc": "… among words that can be wrong",
    "ap": "word average precision",
    "pair_accuracy": "the wrong caption has the worse word",
    "word_top1": "most suspicious word is wrong",
    "correction_top1": "first suggestion is right",
    "recall": "wrong words called wrong",
    "false_alarms": "words of true captions called wrong",
    "acc@0.5": "Acc@0.5 (one true box)",
    "pointing": "pointing",
    "secondary_pointing": "pointing at smaller things",
    "served_acc@0.5": "Acc@0.5 of boxes that pass the threshold",
    "map@0.3": "mAP at 0.3",
    "map@0.5": "mAP at 0.5",
    "given": "given a box",
    "refused": "given no box",
    "binding_acc@0.5": "Acc@0.5 among others of its kind",
    "binding_pointing": "pointing among others of its kind",
    "later_pointing": "pointing at things mentioned later",
    "match_r@1": "first by match among its near-duplicates",
    "text": "text score",
    "image": "image score",
    "group": "group score",
    "dual_group": "… group by the dual encoder",
    "tau_c": "Kendall tau-c",
    "dual_tau_c": "… by the dual encoder",
}
"""Every number that is shown in a row of its own, in this order, with what a person calls it."""

GROUP_LABELS = {("statements", "accuracy"): "accuracy", ("statements", "auroc"): "AUROC of true and false"}

TITLES = {
    "retrieval": "Retrieval",
    "hard_negatives": "Hard negatives",
    "proofreading": "Proofreading",
    "grounding": "Grounding",
    "detection": "Detection",
    "absent": "Phrases of what is not there",
    "image_pairs": "Image pairs",
    "judgements": "Judgements",
    "statements": "Statements",
    "mentions": "Mentions",
    "occlusions": "Occlusions",
    "near_duplicates": "Near-duplicates",
}

CONTROLS: Mapping[tuple[str, str], Sequence[tuple[str, str]]] = {
    ("hard_negatives", "accuracy"): [("blind_accuracy", "another picture")],
    ("hard_negatives", "dual_accuracy"): [("blind_dual_accuracy", "another picture")],
    ("proofreading", "auroc"): [("blind_auroc", "another picture")],
    ("proofreading", "judged_auroc"): [("blind_judged_auroc", "another picture")],
    ("proofreading", "ap"): [("blind_ap", "another picture")],
    ("proofreading", "pair_accuracy"): [("blind_pair_accuracy", "another picture")],
    ("proofreading", "word_top1"): [("blind_word_top1", "another picture")],
    ("proofreading", "correction_top1"): [("blind_correction_top1", "another picture")],
    ("proofreading", "recall"): [("blind_recall", "another picture")],
    ("grounding", "acc@0.5"): [
        ("whole_image_acc@0.5", "whole picture"),
        ("centre_box_acc@0.5", "middle"),
        ("blind_acc@0.5", "another phrase"),
    ],
    ("detection", "map@0.3"): [("whole_image_map@0.3", "whole picture")],
    ("detection", "map@0.5"): [("whole_image_map@0.5", "whole picture")],
    ("grounding", "pointing"): [("centre_pointing", "middle"), ("blind_pointing", "another phrase")],
    ("grounding", "secondary_pointing"): [("secondary_centre_pointing", "middle")],
    ("image_pairs", "accuracy"): [("blind_accuracy", "another text")],
    ("image_pairs", "dual_accuracy"): [("blind_dual_accuracy", "another text")],
    ("judgements", "tau_c"): [("blind_tau_c", "another picture")],
    ("statements", "accuracy"): [("blind_accuracy", "another picture"), ("majority", "always the same")],
    ("statements", "auroc"): [("blind_auroc", "another picture")],
    ("mentions", "pointing"): [("centre_pointing", "middle"), ("blind_pointing", "another phrase")],
    ("mentions", "secondary_pointing"): [("secondary_centre_pointing", "middle")],
    ("mentions", "later_pointing"): [("later_centre_pointing", "middle")],
    ("occlusions", "accuracy"): [("elsewhere_accuracy", "nothing covered"), ("blind_accuracy", "another picture")],
    ("occlusions", "dual_accuracy"): [("elsewhere_dual_accuracy", "nothing covered")],
    ("near_duplicates", "r@1"): [("chance_r@1", "chance")],
    ("near_duplicates", "r@5"): [("chance_r@5", "chance")],
    ("near_duplicates", "match_r@1"): [("chance_match_r@1", "chance")],
}
"""Which numbers of the same group say how far one comes without looking, or without looking closely."""

MAIN = {"proofreading": "auroc"}
"""The number that is shown kind by kind, where it is not the accuracy."""

CHANCE = {
    ("image_pairs", "text"): 1 / 4,
    ("image_pairs", "image"): 1 / 4,
    ("image_pairs", "group"): 1 / 6,
    ("image_pairs", "dual_group"): 1 / 6,
}
"""What guessing gives where the group has no control of its own."""

_FOREMOST = (
    ("retrieval", "r@1"),
    ("hard_negatives", "accuracy"),
    ("proofreading", "auroc"),
    ("grounding", "pointing"),
    ("image_pairs", "accuracy"),
    ("judgements", "tau_c"),
    ("statements", "auroc"),
    ("mentions", "later_pointing"),
    ("occlusions", "accuracy"),
    ("near_duplicates", "r@1"),
)
_NOT_RATES = ("median_rank", "tau_c", "dual_tau_c", "blind_tau_c")
_RECALLS = ("r@1", "r@5", "r@10", "median_rank")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a head; the first column says what a row is about."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        title: what it is about.
        group: the group of the result that it shows; empty where it shows none.
        tables: its tables.
        lines: what is said below them.
    """

    title: str
    group: str = ""
    tables: Sequence[Table] = ()
    lines: Sequence[str] = field(default_factory=tuple)


def runs_of(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The runs of a suite's result by name; a result that is none has one, without a name."""
    return dict(result["runs"]) if "runs" in result else {"": result}


def headlines(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """The foremost number of each group of each run, with its control."""
    rows = []
    for run_name, run in runs.items():
        for group, key in _FOREMOST:
            if group not in run:
                continue
            numbers = run[group]["text_to_image"] if group == "retrieval" else run[group]
            control = (
                f"{show(key, numbers['chance'][key])} chance" if group == "retrieval" else _control(group, key, numbers)
            )
            label = f"text to image {LABELS[key]}" if group == "retrieval" else _label(group, key)
            rows.append([f"{run_name} · {TITLES[group]}: {label}", with_interval(key, numbers), control])
    return Table(head=["", "value (95 %)", "control"], rows=rows)


def sections(run: Mapping[str, Any]) -> Iterator[Section]:
    """The sections of one run."""
    for group in TITLES:
        if group in run:
            yield _retrieval(run[group]) if group == "retrieval" else _group(group, run[group])
    for name, reason in run.get("unavailable", {}).items():
        yield Section(title=f"No {TITLES[name].lower()}", lines=[reason])
    skipped = run["skipped"]
    if skipped["count"]:
        yield Section(
            title=f"Left out, because the picture cannot be read: {skipped['count']}",
            lines=[f"{entry['image']}: {entry['reason']}" for entry in skipped["pictures"]],
        )


def _retrieval(group: Mapping[str, Any]) -> Section:
    rows = []
    for label, way in (("text to image", "text_to_image"), ("image to text", "image_to_text")):
        numbers = group[way]
        rows.append([label, str(numbers["count"]), *(with_interval(name, numbers) for name in _RECALLS)])
        rows.append(["… by chance", "", *(show(name, numbers["chance"].get(name)) for name in _RECALLS)])
    return Section(
        title=f"Retrieval ({group['count']} pictures)",
        group="retrieval",
        tables=[Table(head=["", "queries", *(LABELS[name] for name in _RECALLS)], rows=rows)],
    )


def _group(name: str, group: Mapping[str, Any]) -> Section:
    numbers = [key for key in LABELS if key in group]
    rows = [[_label(name, key), with_interval(key, group), _control(name, key, group)] for key in numbers]
    tables = [Table(head=["", "value (95 %)", "control"], rows=rows)]
    if len(group.get("by_type", {})) > 1:
        tables.append(_by_type(name, group["by_type"]))
    if group.get("reliability"):
        tables.append(_reliability(group["reliability"]))
    lines = _how_judged(group) if name == "proofreading" and "method" in group else ()
    return Section(title=f"{TITLES[name]} ({_counts(group)})", group=name, tables=tables, lines=lines)


def _how_judged(group: Mapping[str, Any]) -> list[str]:
    return [f"Words are judged by {group['method'].replace('_', ' ')}, called wrong from {group['threshold']:.3g} on."]


def _reliability(bins: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            f"{entry['from']:g}–{entry['to']:g}",
            str(entry["count"]),
            show("probability", entry["probability"]),
            with_interval("wrong", {"wrong": entry["wrong"], "interval": {"wrong": entry["interval"]}}),
        ]
        for entry in bins
    ]
    return Table(head=["error probability", "words", "said, on average", "wrong (95 %)"], rows=rows)


def _label(name: str, key: str) -> str:
    return GROUP_LABELS.get((name, key), LABELS[key])


def _counts(group: Mapping[str, Any]) -> str:
    others = [
        f"{group[key]} {key.removeprefix('count_').replace('_', ' ')}" for key in group if key.startswith("count_")
    ]
    return ", ".join([f"{group['count']} rows", *others])


def _control(name: str, key: str, group: Mapping[str, Any]) -> str:
    controls = [
        f"{show(key, group[control])} {word}" for control, word in CONTROLS.get((name, key), ()) if control in group
    ]
    if (name, key) in CHANCE:
        controls.append(f"{show(key, CHANCE[name, key])} chance")
    return ", ".join(controls)


def _by_type(name: str, by_type: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = [key for key in LABELS if all(key in group for group in by_type.values())]
    controls = CONTROLS.get((name, MAIN.get(name, "accuracy")), ())
    control = next((key for key, _ in controls), None)
    extra = [control] if control and all(control in group for group in by_type.values()) else []
    words = [word for _, word in controls[:1]] if extra else []
    rows = [
        [kind, str(group["count"]), *(show(key, group[key]) for key in [*shown, *extra])]
        for kind, group in by_type.items()
    ]
    return Table(head=["type", "rows", *(_label(name, key).removeprefix("… ") for key in shown), *words], rows=rows)


def show(name: str, value: float | None) -> str:
    """Write a number as a person reads it: a rate in per cent; a dash for one that is not defined."""
    if value is None:
        return "–"
    if name in _NOT_RATES:
        return f"{value:.1f}" if name == "median_rank" else f"{value:.3f}"
    return f"{100 * value:.1f} %"


def with_interval(name: str, group: Mapping[str, Any]) -> str:
    """Write a number of a group with its interval, where it has one."""
    shown = show(name, group[name])
    interval = group.get("interval", {}).get(name)
    if interval is None:
        return shown
    low, high = (show(name, end).removesuffix(" %") for end in interval)
    return f"{shown} ({low}–{high})"
