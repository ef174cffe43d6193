"""The command line. Each command is a file here and imports its stage only when it runs.

Exit status: 0 done, 1 it failed, 2 the call is wrong.
"""

import logging
import os
import sys

import typer

from runtime.errors import UsageError, VernierError
from vernier.cli import (
    audit,
    doctor,
    engines,
    eval,
    export,
    ground,
    import_,
    index,
    proofread,
    scenes,
    search,
    serve,
    train,
)
from vernier.cli.output import complain

__all__ = ["app", "main"]

app = typer.Typer(
    name="vernier",
    help="Search pictures by what is exactly in them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve", cls=serve.ServeCommand)(serve.serve)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("ground")(ground.ground)
app.command("proofread")(proofread.proofread)
app.command("audit")(audit.audit)
app.command("scenes")(scenes.scenes)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("engines")(engines.engines)
app.command("import")(import_.import_)
app.command("eval")(eval.evaluate)
app.command("doctor")(doctor.doctor)


def _show_version(asked: bool) -> None:
    if asked:
        from vernier import __version__

        sys.stdout.write(f"vernier {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """Run the command line and exit."""
    try:
        app(prog_name="vernier")
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UsageError as error:
        _fail(error, status=2)
    except (VernierError, OSError) as error:
        _fail(error, status=1)


def _fail(error: Exception, *, status: int) -> None:
    if os.environ.get("VERNIER_DEBUG"):
        logging.getLogger(__name__).error("where it failed:", exc_info=error)
    complain(" ".join(str(error).split()))
    sys.exit(status)
