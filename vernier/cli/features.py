"""`vernier index features`: what a gallery keeps of its pictures beside their vectors."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.errors import UsageError
from vernier.cli.source import JsonOption

PatchTokensOption = Annotated[
    Literal["none", "int8", "fp16"] | None,
    typer.Option(help="How what belongs to pictures' patches is kept, for rerank and explain."),
]


def features(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's directory.")],
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What makes them.", show_default="the demo bundle")
    ] = None,
    patch_tokens: PatchTokensOption = None,
    again: Annotated[bool, typer.Option("--again", help="Make everything again.")] = False,
    json: JsonOption = False,
) -> None:
    """Make what a gallery lacks of its pictures: tokens, regions and codes, from the stored pictures.

    Galleries of older versions keep none until --patch-tokens says how. Stopped at any moment, it goes on.
    """
    from dataclasses import asdict

    from index import open_folder
    from index.fill import fill
    from runtime.encoder import Encoder
    from vernier.cli.output import note, say_json
    from vernier.demo import demo_bundle
    from vernier.progress import progress

    if str(gallery).startswith("milvus:"):
        raise UsageError("a gallery in Milvus keeps no features: rerank and explain look at the stored pictures there.")
    encoder = Encoder.load(bundle or demo_bundle())
    with open_folder(gallery, space=encoder.space, dim=encoder.dim) as opened, progress("Looking") as hook:
        report = fill(opened, encoder, patch_tokens=patch_tokens, again=again, progress=hook)
        kept = opened.patch_tokens
    if json:
        broken = [{"id": item_id, "reason": reason} for item_id, reason in report.broken]
        say_json({**asdict(report), "broken": broken, "patch_tokens": kept})
        return
    for item_id, reason in report.broken:
        note(f"left out: {item_id}: {reason}")
    note(
        f"{gallery} (patch tokens {kept}): {report.made} pictures looked at, {report.kept_before} were whole, "
        f"{report.without_picture} have no stored picture, {len(report.broken)} cannot be read."
    )
    if kept == "none" and encoder.has_fusion:
        note("patch tokens are not kept, so rerank looks at pictures; --patch-tokens int8 keeps them.")
