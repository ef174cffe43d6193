"""The connection to a Milvus server: where it is, its calls retried while it cannot answer, and plain errors."""

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlsplit

from index.checks import check_gallery_name
from runtime.errors import GalleryError

SCHEME = "milvus"
DEFAULT_PORT = 19530
TOKEN_VARIABLE = "VERNIER_MILVUS_TOKEN"

Wait = Literal["write", "read", "none"]

_PATIENCE_S = 15.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_LEAST_TIMEOUT_S = 1.0
# of Milvus: not ready, unavailable, out of memory, too many requests; not loaded (it has just started); channels and
# segments on their way between nodes; nodes that are gone
_TRANSIENT = {1, 2, 3, 4, 8, *range(101, 105), *range(500, 506), *range(600, 604), *range(901, 905)}
_TRANSIENT_WORDS = ("unavailable", "not ready", "not available", "not healthy", "no available", "context deadline")
_FINAL = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED")
_NO_COLLECTION = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MilvusAddress:
    """A gallery's address, `milvus://HOST[:PORT]/NAME?OPTION=VALUE&…`.

    Attributes:
        tls: whether the connection is encrypted.
        pictures: where stored pictures go: a folder that every server sees, an address that fsspec knows such as
            `s3://bucket/prefix`, or `none`. Needed when the gallery is made; the gallery remembers it.
        index: kind of Milvus's index for the vectors; remembered as well.
        build: parameters of that index, such as `build.M=16`; remembered as well.
        search: parameters of every search, such as `search.ef=128`; those of the address win over those remembered.
        wait: who waits until a write is searchable, which takes Milvus about its `timeTickInterval` (0.2 s): `write`,
            which is acknowledged then; `read`, every search and read, for what was acknowledged anywhere (needed with
            several replicas in memory); `none`, for bulk loads: what is acknowledged is found a moment later.
        shards: of a new gallery; more take more writes at once.
    """

    host: str
    port: int
    name: str
    tls: bool = False
    pictures: str | None = None
    index: str = "HNSW"
    build: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    wait: Wait = "write"
    shards: int = 1

    @classmethod
    def parse(cls, uri: str) -> "MilvusAddress":
        """Read an address.

        Raises:
            GalleryError: `gallery_uri_invalid`, `gallery_name_invalid`.
        """
        try:
            parts = urlsplit(uri)
            port = parts.port or DEFAULT_PORT
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise _bad(uri, str(error)) from error
        if parts.scheme != SCHEME or not parts.hostname:
            raise _bad(uri, "a host is missing")
        if parts.username or parts.password:
            raise _bad(uri, f"credentials do not belong into an address; put user:password into {TOKEN_VARIABLE}")
        given: dict[str, Any] = {"build": {}, "search": {}}
        for name, value in options.items():
            group, dot, parameter = name.partition(".")
            if dot and group in ("build", "search"):
                given[group][parameter] = _number_or_text(value)
            elif name in ("pictures", "index", "wait"):
                given[name] = value
            elif name in ("tls", "shards") and value.isdecimal():
                given[name] = bool(int(value)) if name == "tls" else int(value)
            else:
                raise _bad(uri, f"the option {name}={value} is not known")
        if given.get("wait", "write") not in get_args(Wait):
            raise _bad(uri, f"wait is one of {', '.join(get_args(Wait))}")
        name = check_gallery_name(parts.path.strip("/") or "default")
        return cls(host=parts.hostname, port=port, name=name, **given)

    @property
    def server(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


class MilvusServer:
    """Calls of one Milvus server. One that cannot answer for the moment is asked again for some seconds."""

    def __init__(self, address: MilvusAddress) -> None:
        """Connect.

        Raises:
            GalleryError: `gallery_unreachable`, `milvus_missing` when pymilvus is not installed.
        """
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise GalleryError(
                "a gallery in Milvus needs pymilvus: `pip install 'vernier[milvus]'`.", code="milvus_missing"
            ) from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # whatever it says is raised as well
        self.address = address
        scheme = "https" if address.tls else "http"
        self._client = self._retried(
            lambda timeout_s: MilvusClient(
                uri=f"{scheme}://{address.server}", token=os.environ.get(TOKEN_VARIABLE, ""), timeout=timeout_s
            )
        )

    def call(self, method: str, *args: object, **kwargs: object) -> Any:  # noqa: ANN401  each method has its own answer
        """Call a method of pymilvus's client; whatever is called may be repeated.

        Raises:
            GalleryError: `gallery_unreachable` when Milvus did not answer for some seconds, `unknown_gallery` when the
                collection is not there, `gallery_failed` with what Milvus said.
        """
        call = getattr(self._client, method)
        return self._retried(lambda timeout_s: call(*args, timeout=timeout_s, **kwargs))

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _retried(self, call: Callable[[float], Any]) -> Any:  # noqa: ANN401  whatever the call gives
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        until, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                return call(max(_LEAST_TIMEOUT_S, until - time.monotonic()))
            except (MilvusException, RpcError) as error:
                if not _is_transient(error):
                    raise self._plain(error) from error
                if time.monotonic() + pause_s >= until:
                    raise GalleryError(
                        f"Milvus at {self.address.server} does not answer ({_said(error)}); is it running there?",
                        code="gallery_unreachable",
                    ) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _plain(self, error: Exception) -> GalleryError:
        if getattr(error, "code", None) == _NO_COLLECTION:
            return GalleryError(
                f"there is no gallery '{self.address.name}' in Milvus at {self.address.server}; "
                "add pictures to make it.",
                code="unknown_gallery",
            )
        return GalleryError(f"Milvus at {self.address.server} refused: {_said(error)}.", code="gallery_failed")


def _is_transient(error: Exception) -> bool:
    code = getattr(error, "code", None)
    if callable(code):  # gRPC's own error
        return code().name not in _FINAL
    if not isinstance(code, int):  # gRPC's code: the server cannot be reached
        return True
    said = _said(error).lower()
    return code in _TRANSIENT or getattr(error, "_retriable", False) or any(word in said for word in _TRANSIENT_WORDS)


def _said(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", "") or error).split())
    return text if len(text) <= 300 else f"{text[:297]}…"


def _number_or_text(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _bad(uri: str, what: str) -> GalleryError:
    shown = re.sub(r"//[^/]*@", "//", uri.partition("?")[0])  # without what may be secret
    return GalleryError(
        f"{shown} cannot be used: {what}. Write milvus://HOST:PORT/NAME?pictures=FOLDER.",
        code="gallery_uri_invalid",
    )
