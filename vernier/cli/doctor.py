"""`vernier doctor`: what this machine has, what is wrong with it, and how to mend it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.source import JsonOption


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
    from vernier.cli.output import say_json, say_table
    from vernier.doctor import examine

    findings = examine(bundle=bundle, gallery=gallery, host=host, port=port)
    if json:
        say_json([asdict(finding) for finding in findings])
    else:
        rows = []
        for finding in findings:
            rows.append([finding.state, finding.what, finding.found])
            if finding.remedy:
                rows.append(["", "", f"-> {finding.remedy}"])
        say_table(rows)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)
