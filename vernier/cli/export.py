"""`vernier export`: a checkpoint to a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from export import ExportReport

Precision = Literal["fp32", "fp16", "int8", "auto"]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Precision of the graphs; auto: the fastest that costs no quality, graph by graph.")
]
ValidationOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Rows as `vernier eval` reads them, on which a precision must hold its quality; may be given several "
        "times. Left out: pairs that training has not seen.",
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Pictures of the validation rows; their own folder when left out.")
]


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint's directory.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to write; an older one there is replaced.")],
    precision: PrecisionOption = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the recipe's data lies, for parity; drawn scenes need none."),
    ] = None,
    validation: ValidationOption = None,
    images: ImagesOption = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; that of its directory when left out.")] = None,
    json: JsonOption = False,
) -> None:
    """Make a bundle from a checkpoint. One that does not say what the checkpoint says is refused."""
    from vernier.cli.extras import needs
    from vernier.progress import progress

    with needs("export"):
        from export import build
        from export.task_quality import read_validation
    asked = read_validation(validation, images=images) if validation else None
    with progress("Exporting") as hook:
        report = build(checkpoint, out, precision=precision, data=data, name=name, validation=asked, progress=hook)
    show(report, json=json)


def show(report: "ExportReport", *, json: bool) -> None:
    """Print what was written, how faithful it is, and why each graph has its precision."""
    from vernier.cli.output import note, say, say_json, say_table

    manifest = report.manifest
    if json:
        say_json(_as_json(report))
        return
    say_table(
        [["output", "samples", "largest difference", "smallest cosine"]]
        + [
            [key, str(parity.samples), f"{parity.largest_difference:.2e}", f"{parity.smallest_cosine:.7f}"]
            for key, parity in report.parity.outputs.items()
        ]
    )
    decisions = report.parity.decisions
    if decisions is not None:
        shares = [
            (name.replace("_", " "), getattr(decisions, name)) for name in ("top_hit", "flagged_word", "best_box")
        ]
        say("same " + ", ".join(f"{name} {share:.1%}" for name, share in shares if share is not None))
    if manifest.precision is not None:
        say()
        rows = [["graph", "variant", "MB", "ms at 1", "ms at 8", "verdict"]]
        for graph, choice in manifest.precision.graphs.items():
            rows += [
                [graph, t.variant, f"{t.bytes / 1e6:.1f}", *(f"{t.ms.get(b, 0):.2f}" for b in ("1", "8")), t.verdict]
                for t in choice.trials
            ]
        say_table(rows)
        quality = manifest.precision.fp32, manifest.precision.chosen
        for field in type(quality[0]).model_fields:
            before, after = (getattr(side, field) for side in quality)
            if before is not None:
                say(f"{field}: {before:.4f} in fp32, {after:.4f} as chosen ({manifest.precision.validation})")
    fit = manifest.calibration.word_error_fit
    if fit is not None:
        ways = ", ".join(
            f"{method.replace('_', ' ')} {told.ap:.3f} (AUROC {told.auroc:.3f})" for method, told in fit.tried.items()
        )
        say(f"words are judged by {fit.method.replace('_', ' ')}; average precision on validation captions: {ways}")
    note(f"The bundle is in {report.bundle}.")


def _as_json(report: "ExportReport") -> dict[str, object]:
    manifest = report.manifest
    return {
        "bundle": str(report.bundle),
        "name": manifest.name,
        "space": manifest.space,
        "parity": {key: parity.model_dump() for key, parity in report.parity.outputs.items()},
        "decisions": manifest.decisions.model_dump() if manifest.decisions else None,
        "precision": manifest.precision.model_dump() if manifest.precision else None,
        "proofreading": fit.model_dump() if (fit := manifest.calibration.word_error_fit) else None,
    }
