"""Who may do what: bearer keys, compared in constant time; and no changes on behalf of other sites' pages."""

import hashlib
import hmac
from collections.abc import Sequence

from server.errors import RequestError
from server.settings import ApiKey, Scope

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="vernier"'}


def scope_needed(method: str, path: str) -> Scope | None:
    """Return what a key must allow for this request, or None when none is needed.

    Probes and the page itself need none: the page holds no data, and a person must be able to open it to enter a key.
    """
    if path == "/" or path.startswith(("/health/", "/web/")):
        return None
    changes = method in ("PUT", "DELETE", "PATCH") or (method == "POST" and path.startswith("/galleries"))
    return "write" if changes else "read"


def check_origin(sent_from: str | None, needed: Scope | None) -> None:
    """Refuse a change that a page of another site had a browser send.

    Args:
        sent_from: the header `Sec-Fetch-Site`, which browsers set and pages cannot.
        needed: as `scope_needed` says.

    Raises:
        RequestError: `forbidden`.
    """
    if needed == "write" and sent_from in ("cross-site", "same-site"):
        raise RequestError("pages of other sites may not change anything here.", code="forbidden")


def check_key(keys: Sequence[ApiKey], authorization: str | None, needed: Scope) -> bytes:
    """Let the bearer of a fitting key pass, and return the key's digest.

    Raises:
        RequestError: `unauthorized` without a known key, `forbidden` with one that may only read.
    """
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise RequestError("send a key as `Authorization: Bearer KEY`.", code="unauthorized", headers=_CHALLENGE)
    digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
    # Every key is compared, so that the time says nothing of which one fitted.
    scopes = {key.scope for key in keys if hmac.compare_digest(key.digest, digest)}
    if not scopes:
        raise RequestError("this key is not known here.", code="unauthorized", headers=_CHALLENGE)
    if needed == "write" and "write" not in scopes:
        raise RequestError("this key may only read.", code="forbidden")
    return digest
