"""The report of an ablation: what was compared, and how the two recipes fare, as JSON and as Markdown.

It takes numbers that are there already (`evaluation.comparison`) and trains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluation.report import table

METRICS: Mapping[str, tuple[str, str | None]] = {
    "text_to_image.r@1": ("text to image R@1", None),
    "image_to_text.r@1": ("image to text R@1", None),
    "hard_negatives.accuracy": ("hard negatives, by match", "hard_negatives.blind_accuracy"),
    "hard_negatives.dual_accuracy": ("hard negatives, by the dual encoder", "hard_negatives.blind_dual_accuracy"),
    "proofreading.auroc": ("word AUROC", "proofreading.blind_auroc"),
    "proofreading.auroc_above_blind": ("word AUROC above its control", None),
    "proofreading.judged_auroc": ("… among words that can be wrong", "proofreading.blind_judged_auroc"),
    "proofreading.ap": ("word average precision", "proofreading.blind_ap"),
    "proofreading.pair_accuracy": ("the wrong caption has the worse word", "proofreading.blind_pair_accuracy"),
    "proofreading.word_top1": ("most suspicious word is wrong", "proofreading.blind_word_top1"),
    "proofreading.correction_top1": ("first suggestion is right", "proofreading.blind_correction_top1"),
    "grounding.pointing": ("pointing", "grounding.blind_pointing"),
    "grounding.secondary_pointing": ("pointing at smaller things", "grounding.secondary_centre_pointing"),
    "grounding.acc@0.5": ("Acc@0.5", "grounding.blind_acc@0.5"),
    "absent.refused": ("absent phrases given no box", None),
    "grounding.binding_acc@0.5": ("Acc@0.5 among others of its kind", None),
    "grounding.binding_pointing": ("pointing among others of its kind", None),
    "image_pairs.accuracy": ("redrawn pictures, by match", "image_pairs.blind_accuracy"),
    "image_pairs.dual_accuracy": ("redrawn pictures, by the dual encoder", "image_pairs.blind_dual_accuracy"),
    "image_pairs.text": ("text score", None),
    "image_pairs.image": ("image score", None),
    "image_pairs.group": ("group score", None),
    "mentions.pointing": ("words in their captions: pointing", "mentions.blind_pointing"),
    "mentions.later_pointing": ("… at things mentioned later", "mentions.later_centre_pointing"),
    "mentions.secondary_pointing": ("… at smaller things", "mentions.secondary_centre_pointing"),
    "occlusions.accuracy": ("main thing covered, by match", "occlusions.elsewhere_accuracy"),
    "occlusions.dual_accuracy": ("main thing covered, by the dual encoder", "occlusions.elsewhere_dual_accuracy"),
    "near_duplicates.r@1": ("R@1 among near-duplicates of all", None),
    "near_duplicates.match_r@1": ("first by match among its near-duplicates", None),
}
"""The numbers of the main table in its order, with what a person calls each and the number that is its control."""

BY_KIND: Mapping[str, Mapping[str, str]] = {
    "by kind, by match": {
        "hard_negatives.accuracy": "wrong caption",
        "image_pairs.accuracy": "redrawn picture",
        "statements.accuracy": "statements",
    },
    "words by kind of error": {
        "proofreading.judged_auroc": "AUROC of words that can be wrong",
        "proofreading.word_top1": "most suspicious word is wrong",
        "proofreading.correction_top1": "first suggestion is right",
    },
}
"""The tables by kind, and what each of their numbers is called."""

_HEAD = ("baseline", "recipe", "difference (95 %)", "seeds ahead")

Comparison = Mapping[str, Mapping[str, Any]]
"""What `evaluation.comparison.compare` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One side of the comparison.

    Attributes:
        recipe: its name.
        num_steps: optimizer steps of each run.
        batch_size: pairs of each step.
        weights: numbers in the model, with all its heads.
        bundle_bytes: what is served.
        train_s: CPU seconds of training by seed; None where it is not known.
        wall_s: the same by the clock on the wall.
    """

    recipe: str
    num_steps: int
    batch_size: int
    weights: int
    bundle_bytes: int
    train_s: Mapping[str, float | None]
    wall_s: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """One split of scenes.

    Attributes:
        count: its pictures.
        equal_steps: the recipe beside the baseline, after equally many steps.
        equal_time: the recipe with fewer steps, in the baseline's time, beside the baseline; None where there is none.
    """

    count: int
    equal_steps: Comparison
    equal_time: Comparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationReport:
    """Everything that a report says.

    Attributes:
        name: of the ablation.
        seeds: of the runs.
        baseline: one side.
        recipe: the other.
        equal_time: the recipe in the baseline's time; None where it takes no longer, or is not there yet.
        equal_time_note: why there is none, or how it was chosen.
        config_differences: settings in which the recipes differ other than in their objectives.
        splits: by name.
        provenance: date, commit, hardware, command and scenes, in words.
    """

    name: str
    seeds: Sequence[int]
    baseline: Arm
    recipe: Arm
    equal_time: Arm | None
    equal_time_note: str
    config_differences: Sequence[str]
    splits: Mapping[str, SplitReport]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)


def to_markdown(report: AblationReport) -> str:
    """Write a report as Markdown; the plot is expected beside it."""
    lines = [
        f"# {report.name}",
        "",
        f"`{report.recipe.recipe}` beside `{report.baseline.recipe}`, seeds {', '.join(map(str, report.seeds))}. "
        "Drawn scenes: evidence of a working mechanism, not of published numbers.",
        "",
        *(f"- {key}: {value}" for key, value in report.provenance.items()),
        "",
        "## What was compared",
        "",
        *_arms(report),
        "",
        *_fairness(report),
    ]
    for name, split in report.splits.items():
        lines += ["", f"## {name} ({split.count} scenes; chance of R@1 is {100 / split.count:.1f})", "", *_main(split)]
        for title, kinds in BY_KIND.items():
            rows = _by_kind(split, kinds)
            lines += ["", *table([title, *_HEAD], rows)] if rows else []
    return "\n".join([*lines, "", *_reading(report), ""])


def _arms(report: AblationReport) -> list[str]:
    arms = {"baseline": report.baseline, "recipe": report.recipe}
    if report.equal_time is not None:
        arms["recipe, equal time"] = report.equal_time
    rows = [
        [
            name,
            f"`{arm.recipe}`",
            str(arm.num_steps),
            str(arm.batch_size),
            f"{arm.weights:,}",
            f"{arm.bundle_bytes / 1e6:.1f} MB",
            _seconds(arm.train_s),
            _seconds(arm.wall_s),
        ]
        for name, arm in arms.items()
    ]
    head = ["", "recipe", "steps", "batch", "weights", "bundle", "training, CPU s", "wall s"]
    return table(head, rows)


def _seconds(by_seed: Mapping[str, float | None]) -> str:
    return " / ".join("–" if seconds is None else f"{seconds:.0f}" for seconds in by_seed.values())


def _fairness(report: AblationReport) -> list[str]:
    more = report.recipe.weights / report.baseline.weights - 1
    differing = ", ".join(report.config_differences)
    return [
        f"- Equal steps and batches. Weights: the recipe has {100 * more:+.1f} % beside the baseline "
        "(heads that only training needs are counted).",
        f"- Settings other than objectives: {f'they differ in {differing}' if differing else 'the same'}.",
        f"- Equal time: {report.equal_time_note}",
    ]


def _main(split: SplitReport) -> list[str]:
    timed = split.equal_time
    rows = []
    for name, (label, control) in METRICS.items():
        found = split.equal_steps.get(name)
        if found is None:
            continue
        beside = split.equal_steps.get(control) if control else None
        rows.append(
            [
                label,
                *(_value(found, beside, arm) for arm in ("baseline", "recipe")),
                difference(found),
                str(found["seeds_ahead"]),
                *([] if timed is None else [difference(timed[name]) if name in timed else "–"]),
            ]
        )
    return table(["", *_HEAD, *([] if timed is None else ["in equal time (95 %)"])], rows)


def _value(found: Mapping[str, Any], control: Mapping[str, Any] | None, arm: str) -> str:
    spread = found[f"{arm}_sd"]
    value = f"{100 * found[arm]:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
    return value if control is None else f"{value} ({100 * control[arm]:.1f})"


def difference(found: Mapping[str, Any]) -> str:
    """Write a difference in points with its interval; one whose interval leaves zero out is in bold."""
    low, high = found["interval"]
    text = f"{100 * found['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{text}**" if is_clear(found) else text


def is_clear(found: Mapping[str, Any]) -> bool:
    """Say whether the interval of a difference leaves zero out."""
    low, high = found["interval"]
    return bool(low > 0 or high < 0)


def _by_kind(split: SplitReport, labels: Mapping[str, str]) -> list[list[str]]:
    rows = []
    for name, found in sorted(split.equal_steps.items()):
        number, _, kind = name.removesuffix("]").partition("[")
        if kind and number in labels:
            group, rate = number.split(".")
            rows.append(
                [
                    f"{labels[number]}: {kind}",
                    *(
                        _value(found, split.equal_steps.get(f"{group}.blind_{rate}[{kind}]"), arm)
                        for arm in ("baseline", "recipe")
                    ),
                    difference(found),
                    str(found["seeds_ahead"]),
                ]
            )
    return rows


def _reading(report: AblationReport) -> list[str]:
    return [
        "## How to read it",
        "",
        f"![Differences of {report.name}]({report.name}.svg)",
        "",
        "All numbers are per cent, the mean over the seeds ± the standard deviation over them. In brackets stands the",
        "control of the same models: the same question with another picture (hard negatives, words), another caption",
        "(redrawn pictures) or another phrase (pointing, boxes); for smaller and later things, pointing at the",
        "middle; for a covered main thing, the same patch where it hides nothing.",
        "Differences are in points, with the 95 % interval of a paired bootstrap over pictures and seeds; bold where",
        "it leaves zero out. With few seeds, intervals are rather too narrow than too wide, and among so many rows",
        "some leave zero out by chance. R@1 is the null metric: it must not fall.",
    ]
