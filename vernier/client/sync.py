"""The client for ordinary programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from time import sleep
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from vernier.client import calls, connection
from vernier.client.bulk import Hook, batches, journal_of, reporting
from vernier.client.calls import Call, NewItem
from vernier.client.methods import sending
from vernier.client.models import Item, ItemOutcome
from vernier.client.retry import Retry

T = TypeVar("T")


class Client:
    """A connection to a server. Close it, or use it as a context manager; threads may share it.

    Pictures are given as a path, as the bytes of a file, as a PIL picture or as a numpy array; `ItemReference` names
    one that the gallery holds, `UrlReference` one that the server fetches.

    Every method raises `ApiError` when the server answers with a problem, `ServerUnreachableError` when no answer
    comes, and `ImageError` when a picture cannot be read here.

    Args:
        url: the server; `VERNIER_URL` when None, http://127.0.0.1:8000 when that is unset.
        api_key: sent with every request.
        timeout_s: how long one answer may take.
        retry: when a request is sent again.
        transport: what carries the requests, in place of the network.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**connection.options(url, api_key, timeout_s), transport=transport)
        self._retry = retry or Retry()
        self._picture = connection.lender(url, api_key, timeout_s) if transport is None else connection.no_pictures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    search = sending(calls.search)
    ground = sending(calls.ground)
    proofread = sending(calls.proofread)
    proofread_all = sending(calls.proofread_all)
    identify = sending(calls.identify)
    embed = sending(calls.embed)
    add = sending(calls.add)
    item = sending(calls.item)
    item_picture = sending(calls.item_picture)
    page = sending(calls.page)
    delete = sending(calls.delete)
    galleries = sending(calls.galleries)
    gallery = sending(calls.gallery)
    create_gallery = sending(calls.create_gallery)
    delete_gallery = sending(calls.delete_gallery)
    migrate = sending(calls.migrate)
    roll_back = sending(calls.roll_back)
    migration = sending(calls.migration)
    discard_migration = sending(calls.discard_migration)
    info = sending(calls.info)
    health = sending(calls.health)

    def add_many(
        self,
        items: Iterable[NewItem],
        *,
        gallery: str = "default",
        max_items: int = 64,
        max_bytes: int = 8_000_000,
        progress: bool | Hook = False,
        journal: str | os.PathLike[str] | None = None,
    ) -> Iterator[ItemOutcome]:
        """Put many items into a gallery, reading them as they are sent; nothing is sent before the first is asked for.

        A bad item costs only itself. Doing it again adds nothing twice; with a journal, an interrupted run that is
        simply run again does not even read again what is in the gallery.

        Args:
            items: any number of them, also from a generator. One request's are held at a time.
            gallery: its name on the server.
            max_items: most items of one request.
            max_bytes: most bytes of one request (a single larger item goes alone).
            progress: True for a bar on the terminal (lines elsewhere), or what is called with (items done, items; 0
                when their number is not known) after each request.
            journal: a file, made when missing, that notes down what the server has acknowledged.

        Yields:
            What became of each item, in order.

        Raises:
            UsageError: the journal cannot be used, or is one of another gallery.
        """
        done = 0
        server = str(self._http.base_url)
        with reporting(progress, items) as report, journal_of(journal, server=server, gallery=gallery) as notes:
            for batch in batches(items, notes, max_items=max_items, max_bytes=max_bytes):
                answered = self._send(calls.add_lines(batch.lines, gallery=gallery)) if batch.lines else []
                if notes is not None:
                    notes.note(batch, answered)
                yield from batch.merged(answered)
                done += len(batch.known)
                report(done)

    def items(
        self, *, gallery: str = "default", filter: Mapping[str, Any] | None = None, page_size: int = 100
    ) -> Iterator[Item]:
        """Yield a gallery's items, page by page; writes in between neither repeat nor skip what was there."""
        cursor = None
        while True:
            page = self.page(gallery=gallery, cursor=cursor, limit=page_size, filter=filter)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _send(self, call: Call[T]) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._http.send(connection.request_of(call, self._http))
            except httpx.TransportError as error:
                wait_s: float | None = connection.wait_after_break(self._retry, attempt, call, error)
            else:
                wait_s = connection.wait_after_answer(self._retry, attempt, call, response)
                if wait_s is None:
                    return connection.shown(call, response, self._picture)
            sleep(wait_s or 0.0)
