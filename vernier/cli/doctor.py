"""`vernier doctor`: what this machine has, what is wrong with it, and how to mend it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from vernier.cli.output import Colour
    from vernier.doctor import State

_COLOURS: "dict[State, Colour]" = {"good": "green", "note": "yellow", "wrong": "red"}


def doctor(
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The bundle to check.", show_default="the demo bundle")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(metavar="DIR", help="A gallery to check.")] = None,
    host: Annotated[
        str, typer.Option(envvar="VERNIER_HOST", help="The address that would be listened on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="VERNIER_PORT", help="The port that would be listened on.")] = 8000,
    json: JsonOption = False,
) -> None:
    """Check what serving needs: packages, GPU, bundle, gallery, port, memory, disk. Exit 1 when something is wrong."""
    from vernier.cli.output import Coloured, say_json, say_table
    from vernier.doctor import examine

    findings = examine(bundle=bundle, gallery=gallery, host=host, port=port)
    if json:
        say_json([asdict(finding) for finding in findings])
    else:
        rows: list[list[str | Coloured]] = []
        for finding in findings:
            rows.append([Coloured(finding.state, _COLOURS[finding.state]), finding.what, finding.found])
            if finding.remedy:
                rows.append(["", "", f"-> {finding.remedy}"])
        say_table(rows)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)
