"""`vernier index import-clip`: an index of clip-retrieval or autofaiss into a gallery."""

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.source import JsonOption


def import_clip(
    gallery: Annotated[
        str,
        typer.Argument(
            metavar="GALLERY", help="The gallery's directory, or milvus://HOST:PORT/NAME; made when missing."
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(help="The folder: img_emb, text_emb or image.index, text.index or *.npy; and metadata."),
    ],
    bundle: Annotated[Path, typer.Option(metavar="DIR", help="The model that made the vectors, as a bundle.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are now, when not at their image_path.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Import even where nothing is to be found to compare the model with.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring over an index of clip-retrieval or autofaiss with its vectors as they are; nothing is embedded again.

    Some pictures or captions are embedded with the bundle first and compared: vectors of another model are refused.
    """
    from dataclasses import asdict

    from index import open_gallery
    from index.import_clip import import_clip_folder, prove_clip_folder
    from runtime.encoder import Encoder
    from vernier.cli.extras import needs
    from vernier.cli.output import note, say_json
    from vernier.progress import progress

    encoder = Encoder.load(bundle)
    with needs("parquet"):
        proved = prove_clip_folder(encoder, folder, images_dir=images, is_trusted=trust)
    with (
        progress("Importing") as hook,
        open_gallery(gallery, space=encoder.space, dim=encoder.dim, create=True) as opened,
    ):
        report = import_clip_folder(opened, encoder, proved, images_dir=images, progress=hook)
        items = opened.info().items
    if json:
        say_json({**asdict(report), "items": items})
        return
    proof = (
        "the model was taken on trust"
        if report.cosine is None
        else f"{report.compared} compared, median cosine {report.cosine:.3f}"
    )
    note(
        f"{gallery}: {report.created} created, {report.replaced} replaced, {report.unchanged} unchanged, "
        f"{report.pictures} with their picture; {proof}; {items} items now."
    )
