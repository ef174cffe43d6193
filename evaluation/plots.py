"""Plots of results, with matplotlib (the extra `plots`); nothing else here imports it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from evaluation.ablation import METRICS, AblationReport, Comparison, is_clear

INK, QUIET, OWN, CONTROL, WORSE = "#1f2933", "#9aa5b1", "#1f6f8b", "#d9a441", "#a8443b"
BAR = "#86b6c6"

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "vernier",
}


def as_svg(figure: Figure) -> str:
    """A figure as an SVG element that can stand in a page; the same figure gives the same text."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_png(figure: Figure) -> bytes:
    """A figure as a PNG on white."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(
            buffer, format="png", bbox_inches="tight", dpi=150, facecolor="white", metadata={"Software": None}
        )
    return buffer.getvalue()


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    intervals: Sequence[Sequence[float] | None],
    controls: Sequence[float | None],
    control_label: str,
) -> Figure:
    """Rates in per cent as bars with their intervals, each with its control as a mark.

    Args:
        labels: one for each bar, from the top down.
        values: rates in 0..1.
        intervals: low and high of each rate; None where it has none.
        controls: the control of each rate; None where it has none.
        control_label: what the marks are.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 0.5 + 0.27 * len(labels)))
        axes = figure.add_subplot()
        places = list(range(len(labels)))
        axes.barh(places, [100 * value for value in values], color=BAR, height=0.62, label="value, 95 % interval")
        for place, value, interval in zip(places, values, intervals, strict=True):
            if interval is not None:
                axes.plot([100 * interval[0], 100 * interval[1]], [place, place], color=INK, linewidth=1.1)
            axes.annotate(f"{100 * value:.1f}", (101, place), va="center", fontsize=8, annotation_clip=False)
        marked = [(place, control) for place, control in zip(places, controls, strict=True) if control is not None]
        if marked:
            axes.scatter(
                [100 * control for _, control in marked],
                [place for place, _ in marked],
                marker="D",
                s=26,
                color=CONTROL,
                edgecolor=INK,
                linewidth=0.5,
                zorder=3,
                clip_on=False,
                label=control_label,
            )
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        _percent_axis(axes)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.5 / figure.get_size_inches()[1]), ncols=2, frameon=False
        )
    return figure


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str) -> Figure:
    """Rates in per cent over a logarithmic axis, one line for each name."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 2.8))
        axes = figure.add_subplot()
        styles = [(OWN, "-"), (WORSE, "--"), (CONTROL, "-")]
        for (name, points), (colour, dashes) in zip(lines.items(), styles, strict=False):
            xs, ys = [x for x, _ in points], [100 * y for _, y in points]
            axes.plot(xs, ys, label=name, linewidth=1.6, color=colour, linestyle=dashes)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_ylim(0, 102)
        axes.grid(color=QUIET, alpha=0.3, linewidth=0.6)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """What came true beside what was said, on log-odds axes; on the dotted line probabilities can be believed.

    Args:
        bins: of `evaluation.proofreading.reliability`.
    """
    least, most = 1e-4, 1 - 1e-4

    def within(share: float) -> float:
        return min(most, max(least, share))

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.6))
        axes = figure.add_subplot()
        axes.set_xscale("logit")
        axes.set_yscale("logit")
        axes.plot([least, most], [least, most], color=QUIET, linewidth=1, linestyle=":", label="as said")
        said = [within(entry["probability"]) for entry in bins]
        wrong = [within(entry["wrong"]) for entry in bins]
        for x, entry in zip(said, bins, strict=True):
            axes.plot([x, x], [within(end) for end in entry["interval"]], color=INK, linewidth=1.1)
        axes.plot(said, wrong, color=OWN, marker="o", markersize=5, linewidth=1.2, label="words, 95 % interval")
        ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlim(least, most)
        axes.set_ylim(least, most)
        axes.set_xlabel("error probability")
        axes.set_ylabel("share of words that are wrong")
        axes.grid(color=QUIET, alpha=0.3, linewidth=0.6)
        axes.legend(frameon=False, loc="upper left")
    return figure


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)


def differences(report: AblationReport) -> Figure:
    """The differences of an ablation in points with their intervals, a panel for each split."""
    splits = report.splits
    names = [name for name in METRICS if any(name in split.equal_steps for split in splits.values())]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.6 + 2.5 * len(splits), 1.3 + 0.28 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        for axes, (title, split) in zip(panels, splits.items(), strict=True):
            _panel(axes, names, split.equal_steps, offset=0.0, marker="o", label="equal steps")
            if split.equal_time is not None:
                _panel(axes, names, split.equal_time, offset=0.3, marker="s", label="equal time")
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_title(title, fontsize=10)
            axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.6)
            axes.set_xlabel("points")
        panels[0].set_yticks(range(len(names)), [METRICS[name][0] for name in names])
        panels[0].invert_yaxis()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle(f"{report.recipe.recipe} less {report.baseline.recipe}", fontsize=10)
    return figure


def _panel(axes: Axes, names: Sequence[str], found: Comparison, *, offset: float, marker: str, label: str) -> None:
    for at, name in enumerate(names):
        numbers: Mapping[str, Any] | None = found.get(name)
        if numbers is None:
            continue
        ahead = OWN if numbers["difference"] > 0 else WORSE
        colour = ahead if is_clear(numbers) else QUIET
        low, high = numbers["interval"]
        axes.plot([100 * low, 100 * high], [at + offset] * 2, color=colour, linewidth=1.4)
        axes.plot(
            [100 * numbers["difference"]],
            [at + offset],
            marker=marker,
            markersize=4.5,
            color=colour,
            linestyle="none",
            label=label if at == 0 else None,
        )
