"""Pictures from addresses: off unless the operator allows hosts, and then never from where a caller should not reach.

Every hop of a redirect is checked as the first one was: its host must be allowed by name, and every address that the
name resolves to must be public. The connection is made to the address that was checked, so that a name which resolves
differently a moment later gains nothing.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore

from server.errors import RequestError

_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 3
_AT_ONCE = 8
_EMBEDDING_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
_NEVER = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10")))  # cloud metadata lives there

Resolve = Callable[[str], Awaitable[list[str]]]
"""The addresses of a name."""
SocketOptions = Iterable[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]


class Fetcher:
    """Fetches pictures over HTTP(S)."""

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        max_bytes: int,
        timeout_s: float,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Prepare; nothing is connected to.

        Args:
            hosts: names that may be fetched from, with `:port` where that is not the scheme's own; `*.example.org`
                stands for every name below example.org.
            max_bytes: bytes of a file.
            timeout_s: seconds of one fetch, redirects included.
            allow_private: also from addresses that are not public, as of a picture store in one's own network.
            resolve: gives the addresses of a name; the system's when None.
            backend: makes the connections; the system's when None.
        """
        self._hosts = tuple(host.lower() for host in hosts)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._backend = _Pinned(
            backend or httpcore.AnyIOBackend(), resolve=resolve or _addresses, allow_private=allow_private
        )
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._ssl = ssl.create_default_context() if hosts else None

    async def fetch(self, url: str) -> bytes:
        """Return the bytes at an address.

        Raises:
            RequestError: `url_not_allowed`, `url_failed`, `body_too_large`.
        """
        if not self._hosts:
            raise _not_allowed("this server fetches no pictures; send the bytes as base64 or as the body")
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                return await self._follow(url)
        except TimeoutError:
            raise _failed(f"the picture did not come within {self._timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise _failed(f"the picture could not be fetched ({type(error).__name__})") from None

    async def _follow(self, url: str) -> bytes:
        for _ in range(_MOST_REDIRECTS + 1):
            parts = self._checked(url)
            async with self._get(parts) as response:
                location = _header(response, b"location")
                if response.status in (301, 302, 303, 307, 308) and location:
                    url = urljoin(url, location)
                    continue
                if response.status != 200:
                    raise _failed(f"the address answered {response.status}")
                return await self._read(response)
        raise _failed(f"the address sends on more than {_MOST_REDIRECTS} times")

    @asynccontextmanager
    async def _get(self, parts: SplitResult) -> AsyncIterator[httpcore.Response]:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = [(b"Host", parts.netloc.encode("ascii")), (b"Accept", b"image/*"), (b"Accept-Encoding", b"identity")]
        url = httpcore.URL(
            scheme=parts.scheme.encode(),
            host=(parts.hostname or "").encode("ascii"),
            port=parts.port,
            target=target.encode("ascii"),
        )
        # A pool for one request: a connection that is kept would not be checked again.
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._ssl, network_backend=self._backend) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            yield response

    async def _read(self, response: httpcore.Response) -> bytes:
        if _header(response, b"content-encoding").lower() not in ("", "identity"):
            raise _failed("the picture came compressed, which was not asked for")
        declared = _header(response, b"content-length")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        received = bytearray()
        async for chunk in response.aiter_stream():
            received += chunk
            if len(received) > self._max_bytes:
                raise self._too_large()
        return bytes(received)

    def _checked(self, url: str) -> SplitResult:
        """Return the parts of an address that may be fetched from, going by its text."""
        try:
            parts = urlsplit(url)
            port = parts.port
            url.encode("ascii")
        except ValueError:
            raise _not_allowed("the address cannot be understood; write it in ASCII, with %XX for the rest") from None
        host = (parts.hostname or "").lower()
        if parts.scheme not in _PORTS or not host:
            raise _not_allowed("pictures are fetched over http and https alone")
        if parts.username is not None or parts.password is not None or any(sign in url for sign in "\\\r\n\t "):
            raise _not_allowed("the address holds what no address of a picture should")
        if not any(_fits(host, port or _PORTS[parts.scheme], parts.scheme, entry) for entry in self._hosts):
            raise _not_allowed("the operator allows no pictures from this host")
        return parts

    def _too_large(self) -> RequestError:
        return RequestError(f"the picture has more than {self._max_bytes:,} bytes.", code="body_too_large")


class _Pinned(httpcore.AsyncNetworkBackend):
    """Resolves a name, checks every address that it has, and connects to one of just these."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend, *, resolve: Resolve, allow_private: bool) -> None:
        self._inner = inner
        self._resolve = resolve
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a checked address."""
        addresses = await self._resolve(host)
        for address in addresses:
            if not may_reach(address, allow_private=self._allow_private):
                raise _not_allowed("this host's address is not a public one")
        failure: Exception = OSError("no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no picture comes from there."""
        raise _not_allowed("pictures are fetched over http and https alone")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def _addresses(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def may_reach(address: str, *, allow_private: bool = False) -> bool:
    """Say whether a picture may come from an IP address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found in network for network in _NEVER if network.version == found.version):
        return False
    if found.is_multicast or found.is_unspecified or found.is_reserved:
        return False
    if any(found in network for network in _EMBEDDING_IPV4 if network.version == found.version):
        return False
    return found.is_global or allow_private


def _fits(host: str, port: int, scheme: str, entry: str) -> bool:
    name, colon, number = entry.rpartition(":")
    if not colon:
        name, number = entry, str(_PORTS[scheme])
    if str(port) != number:
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _not_allowed(why: str) -> RequestError:
    return RequestError(f"{why}.", code="url_not_allowed")


def _failed(why: str) -> RequestError:
    return RequestError(f"{why}.", code="url_failed")
