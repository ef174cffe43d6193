"""What would be served: settings, bundle on its provider, gallery, port."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import EngineError, VernierError
from vernier.doctor.finding import Finding


def settings() -> Iterator[Finding]:
    """Look at the `VERNIER_*` variables."""
    from server.settings import load_settings, unknown_variables

    try:
        load_settings()
    except VernierError as error:
        remedy = "`vernier serve --help` lists every setting with what it may be"
        yield Finding(what="settings", state="wrong", found=" ".join(str(error).split()), remedy=remedy)
    if unknown := unknown_variables():
        yield Finding(
            what="settings",
            state="note",
            found=f"nothing reads {', '.join(unknown)}",
            remedy="most likely misspelt: `vernier serve --help` lists every setting",
        )


def bundle(named: Path | None) -> Iterator[Finding]:
    """Load the bundle on the provider that is set, and embed a text with it."""
    from runtime.encoder import Encoder
    from vernier.demo import demo_bundle

    provider, fallback = _provider()
    try:
        directory = named or demo_bundle()
        encoder = Encoder.load(directory, provider=provider, allow_fallback=fallback)
        encoder.embed_texts(["a small red circle"])
    except EngineError as error:
        yield Finding(
            what="provider",
            state="wrong",
            found=str(error),
            remedy="install that provider's build and driver (requirements/gpu.txt), or set VERNIER_PROVIDER=auto",
        )
        return
    except VernierError as error:
        remedy = "export the bundle or copy it again, whole, and name it with --bundle"
        yield Finding(what="bundle", state="wrong", found=str(error), remedy=remedy)
        return
    graphs = ", ".join(
        f"{name} in {graph.precision} on {encoder.engines[name].provider}"
        for name, graph in encoder.manifest.graphs.items()
    )
    yield Finding(
        what="bundle", state="good", found=f"{encoder.manifest.name} at {directory}: whole; {graphs}; dim {encoder.dim}"
    )
    if encoder.fallback is not None:
        yield Finding(
            what="provider",
            state="note",
            found=encoder.fallback,
            remedy="mend what failed, or name the provider that is meant with VERNIER_PROVIDER",
        )


def _provider() -> tuple[str, bool]:
    """What the settings ask for; anything that works where they cannot be read."""
    from server.settings import load_settings

    try:
        asked = load_settings()
    except VernierError:
        return "auto", True
    return asked.provider, asked.provider_fallback


def gallery(directory: Path, bundle: Path | None) -> Iterator[Finding]:
    """Compare everything in a gallery with everything, and its space with the bundle's."""
    from index import open_folder

    try:
        with open_folder(directory, read_only=True) as opened:
            info, problems = opened.info(), opened.verify()
    except VernierError as error:
        yield Finding(what="gallery", state="wrong", found=str(error), remedy=_remedy_of(error, directory))
        return
    if problems:
        more = f" and {len(problems) - 1} problems more" if len(problems) > 1 else ""
        remedy = f"`vernier index rebuild {directory}` makes anew what is derived from the items"
        yield Finding(what="gallery", state="wrong", found=f"{problems[0]}{more}", remedy=remedy)
        return
    space = _space_of(bundle)
    if space is not None and space != info.space:
        yield Finding(
            what="gallery",
            state="wrong",
            found=f"{directory} was filled by a bundle of another space ({info.space[:12]}, not {space[:12]})",
            remedy=f"serve the bundle that filled it, or go over: `vernier index migrate {directory} --bundle NEW`",
        )
        return
    yield Finding(what="gallery", state="good", found=f"{info.items} items at {directory}, {info.index_kind} index")


def _remedy_of(error: VernierError, directory: Path) -> str:
    if error.code == "unknown_gallery":
        return f"name another, or make it: `vernier index add {directory} PICTURES…`"
    return "put back a copy of its items.sqlite (that is the truth), or add the pictures to a new gallery"


def _space_of(named: Path | None) -> str | None:
    """The bundle's space; None when the bundle cannot be read, which is another finding."""
    from runtime.bundle import read_bundle
    from vernier.demo import demo_bundle

    try:
        return read_bundle(named or demo_bundle()).manifest.space
    except VernierError:
        return None


def port(host: str, port: int) -> Iterator[Finding]:
    """Try to listen."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if _vernier_answers(host, port):
            yield Finding(what="port", state="note", found=f"a Vernier server answers at {host}:{port} already")
            return
        yield Finding(
            what="port",
            state="wrong",
            found=f"{host}:{port} cannot be listened on ({error.strerror or error})",
            remedy=_port_remedy(error),
        )
        return
    yield Finding(what="port", state="good", found=f"{host}:{port} is free")


def _port_remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address: listen on 127.0.0.1 (itself alone) or 0.0.0.0 with --host"
    if error.errno == errno.EACCES:
        return "ports below 1024 are the administrator's: serve on another with --port, behind a proxy"
    return "stop what listens there, or serve on another with --port (0 takes a free one)"


def _vernier_answers(host: str, port: int) -> bool:
    from vernier.client import Client, Retry

    reachable = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    try:
        with Client(f"http://{reachable}:{port}", timeout_s=2, retry=Retry(attempts=1)) as client:
            return client.health().status in ("ready", "not_ready")
    except VernierError:
        return False
