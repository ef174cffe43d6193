"""`vernier index migrate`: a gallery goes over to another model, here or on the server that serves it."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from runtime.errors import DataError, GalleryError, UsageError, VernierError
from vernier.cli.source import ApiKeyOption, UrlOption

_LOOK_S = 0.5


def migrate(
    gallery: Annotated[
        str, typer.Argument(metavar="GALLERY", help="The gallery's directory or address; with --url its name there.")
    ],
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="NEW", help="The bundle to go to; with --url its name in the server's VERNIER_BUNDLES_DIR."
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the model that the gallery was moved from.")
    ] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Forget the vectors kept for going back, or those of an unfinished move.")
    ] = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Embed every item with another bundle, and switch over at once when all are. Stopped at any moment, it goes on.

    The items' stored pictures and texts are embedded. A gallery that a server has open is moved by that server (--url),
    which answers and takes writes meanwhile. The old vectors are kept: --rollback goes back.
    """
    from vernier.progress import progress

    if (bundle is not None) + rollback + discard != 1 and not (rollback and bundle is not None and not discard):
        raise UsageError("name what is to be done: --bundle NEW, --rollback, or --discard.")
    if url is not None:
        _on_server(url, api_key, gallery, bundle, rollback=rollback, discard=discard)
    elif discard:
        _discard(gallery)
    else:
        with progress("Embedding") as hook:
            _here(gallery, bundle, rollback=rollback, hook=hook)


def _here(gallery: str, bundle: str | None, *, rollback: bool, hook: Callable[[int, int], None]) -> None:
    from index import open_gallery
    from index.migrate import Migration, roll_back
    from runtime.encoder import Encoder
    from vernier.cli.output import note

    encoder = None if bundle is None else Encoder.load(bundle)
    with open_gallery(gallery) as opened:
        before = opened.space
        if rollback:
            moved = roll_back(opened, encoder, progress=hook)
        else:
            assert encoder is not None
            moved = Migration(encoder=encoder, progress=hook).run(opened)
        items = moved.info().items
    if moved.space == before:
        note(f"{gallery} is of that bundle's space already ({before}).")
        return
    note(f"{gallery}: {items} items answer from space {moved.space} now; those of {before} are kept for --rollback.")


def _discard(gallery: str) -> None:
    from index import open_gallery
    from vernier.cli.output import note

    with open_gallery(gallery) as opened:
        other = opened.standby()
        opened.discard_standby()
    note(f"{gallery} held one generation of vectors only." if other is None else f"{gallery}: {other.space} is gone.")


def _on_server(
    url: str, api_key: str | None, gallery: str, bundle: str | None, *, rollback: bool, discard: bool
) -> None:
    """Ask the server, and show how far it is until it is done.

    Raises:
        VernierError: the server refuses, cannot be reached, or could not finish.
    """
    import httpx

    from vernier.cli.output import note
    from vernier.client.connection import options
    from vernier.progress import progress

    with httpx.Client(**options(url, api_key, 60.0)) as client, progress("Embedding") as hook:
        path = f"/galleries/{gallery}/migration"
        if discard:
            _asked(client, "DELETE", path)
            note(f"{gallery}: one generation of vectors only.")
            return
        state = _asked(client, "POST", path, json={"rollback": True} if rollback else {"bundle": bundle})
        while state["state"] == "running":
            hook(state["done"], state["total"])
            time.sleep(_LOOK_S)
            state = _asked(client, "GET", path)
        hook(state["done"], state["total"])
    if state["state"] != "done":
        problem = state.get("problem") or {}
        raise GalleryError(problem.get("detail", "the migration did not finish."), code=problem.get("code"))
    note(f"{gallery} answers from space {state['space']} now.")


def _asked(client: Any, method: str, path: str, **body: object) -> dict[str, Any]:  # noqa: ANN401  httpx is imported late
    import httpx

    try:
        answer = client.request(method, path, **body)
    except httpx.TransportError as error:
        raise DataError(
            f"the server does not answer ({error}); what is done is kept, and the same command goes on.",
            code="server_unreachable",
        ) from error
    problem = answer.json() if answer.content else {}
    if answer.is_error:
        raise VernierError(str(problem.get("detail", answer.status_code)), code=str(problem.get("code", "http_error")))
    return dict(problem)
