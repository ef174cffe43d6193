"""`vernier export`: a checkpoint to a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from export import ExportReport


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint's directory.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to write; an older one there is replaced.")],
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Precision of the graphs.")] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the recipe's data lies, for parity; drawn scenes need none."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; that of its directory when left out.")] = None,
    json: JsonOption = False,
) -> None:
    """Make a bundle from a checkpoint. One that does not say what the checkpoint says is refused."""
    from vernier.cli.extras import needs
    from vernier.cli.output import note, say, say_json, say_table
    from vernier.cli.progress import progress

    with needs("export"):
        from export import build
    with progress("Exporting") as hook:
        report = build(checkpoint, out, precision=precision, data=data, name=name, progress=hook)
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
    say(f"same top hit: {report.parity.top_hit_agreement:.1%}")
    note(f"The bundle is in {report.bundle}.")


def _as_json(report: "ExportReport") -> dict[str, object]:
    return {
        "bundle": str(report.bundle),
        "name": report.manifest.name,
        "space": report.manifest.space,
        "parity": {key: parity.model_dump() for key, parity in report.parity.outputs.items()},
        "top_hit_agreement": report.parity.top_hit_agreement,
    }
