"""`vernier audit`: which captions of a dataset have words that disagree with their picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from evaluation.audit import Summary


def audit(
    captions: Annotated[Path, typer.Argument(help='The captions: JSON lines of {"image", "captions"}.')],
    images: Annotated[Path, typer.Option(metavar="DIR", help="The folder that pictures are named relative to.")],
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bundle that judges.", show_default="the demo bundle"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the reports go.", show_default="CAPTIONS with -audit at its end"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Error probability from which a word is called wrong; the bundle's own when left out.",
            min=0,
            max=1,
        ),
    ] = None,
    worst: Annotated[int, typer.Option(metavar="N", help="How many captions the page shows.", min=0)] = 100,
    json: JsonOption = False,
) -> None:
    """Find the wrong words in a dataset's captions. An audit that was interrupted goes on when called again."""
    from evaluation.audit import audit as run
    from runtime.encoder import Encoder
    from vernier.cli.output import say_json
    from vernier.demo import demo_bundle
    from vernier.progress import progress

    folder = out or captions.with_name(f"{captions.stem}-audit")
    encoder = Encoder.load(bundle or demo_bundle())
    with progress("Auditing") as hook:
        summary = run(encoder, captions, images=images, out=folder, threshold=threshold, num_worst=worst, progress=hook)
    if json:
        from dataclasses import asdict

        say_json({name: str(value) if isinstance(value, Path) else value for name, value in asdict(summary).items()})
    else:
        _say(summary)


def _say(summary: "Summary") -> None:
    from vernier.cli.output import note, say

    if summary.taken_over:
        note(f"{summary.taken_over:,} of {summary.pictures:,} pictures had been done before.")
    share = 100 * summary.suspects / summary.captions
    say(
        f"{summary.suspects:,} of {summary.captions:,} captions ({share:.1f} %) disagree with their picture, "
        f"by {summary.bundle} ({summary.method.replace('_', ' ')}, from {summary.threshold:.3g} on)."
    )
    say(f"ranked: {summary.report}")
    say(f"to look at: {summary.page}")
    if summary.problems:
        say(f"could not be audited: {summary.problems:,}, listed in {summary.problems_report}")
