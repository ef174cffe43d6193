"""`vernier serve`: the HTTP server."""

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


class ServeCommand(TyperCommand):
    """A command whose help ends with the server's settings, read from where they are defined."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  typer does not export their types
        """Write the usual help, then the settings."""
        super().format_help(ctx, formatter)
        typer.echo(_settings_help())


def _settings_help() -> str:
    from server.settings import PREFIX, Settings

    lines = ["", "Settings, as environment variables (the options above win over them):", ""]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f" [{field.default}]"
        lines.append(f"  {PREFIX}{name.upper()}{default}")
        lines += textwrap.wrap(field.description or "", 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def serve(
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The bundle; the demo bundle when none is named.")
    ] = None,
    gallery: Annotated[
        str | None, typer.Option(metavar="DIR", help="The gallery that is served as `default`; made when missing.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="The TCP port; 0 takes a free one.", show_default="8000")] = None,
) -> None:
    """Serve a bundle and its galleries over HTTP, with a web page at /.

    With neither a bundle nor a gallery named, the demo bundle (bundles/demo of the source tree or of the working
    directory) is served over 600 drawn scenes. They are drawn at the first start, as gallery `default` of
    VERNIER_GALLERIES_DIR, or else of .galleries/demo in the working directory.
    """
    from server.run import serve as serve_http
    from server.settings import load_settings
    from vernier.demo import demo_bundle, demo_settings
    from vernier.progress import progress

    settings = load_settings(bundle=bundle, gallery=gallery, host=host, port=port)
    if settings.bundle is None and settings.gallery is None:
        with progress("Drawing the demo gallery") as hook:
            settings = demo_settings(settings, progress=hook)
    elif settings.bundle is None:
        settings = settings.model_copy(update={"bundle": demo_bundle()})
    serve_http(settings)
