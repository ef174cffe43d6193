"""The client for ordinary programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import sleep
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from vernier.client import calls, connection
from vernier.client.calls import Call, Heatmap, NewItem, Target
from vernier.client.models import (
    EmbedAnswer,
    Gallery,
    GroundAnswer,
    Health,
    Item,
    ItemOutcome,
    ItemPage,
    ProofreadAnswer,
    SearchAnswer,
)
from vernier.client.pictures import PictureOrReference
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(
        self,
        text: str | None = None,
        *,
        image: PictureOrReference | None = None,
        target: Target = "image",
        gallery: str = "default",
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        rerank: int = 0,
        explain: bool = False,
        include: Sequence[str] | None = None,
    ) -> SearchAnswer:
        """Search by a text, a picture, or both.

        Args:
            text: what to look for.
            image: a picture to look like.
            target: whether the items' pictures or their texts are searched.
            gallery: its name on the server.
            top_k: most hits.
            filter: condition on the items' metadata, as in `{"year": {"gte": 2020}}`.
            min_score: least score of a hit.
            rerank: how many of the best hits the fusion encoder scores again.
            explain: whether hits come with regions and word errors.
            include: which fields of the items come with the hits.
        """
        return self._send(
            calls.search(
                text,
                image=image,
                target=target,
                gallery=gallery,
                top_k=top_k,
                filter=filter,
                min_score=min_score,
                rerank=rerank,
                explain=explain,
                include=include,
            )
        )

    def ground(
        self,
        image: PictureOrReference,
        phrases: str | Sequence[str] = (),
        *,
        text: str | None = None,
        gallery: str = "default",
        top_k: int = 1,
        heatmap: Heatmap = "none",
    ) -> GroundAnswer:
        """Find phrases, or every noun phrase of a text, in a picture.

        Args:
            image: the picture.
            phrases: what to find; or else
            text: a text whose noun phrases are found.
            gallery: where an `ItemReference` is.
            top_k: most boxes per phrase.
            heatmap: `png` or `grid` to get each phrase's heat.
        """
        return self._send(calls.ground(image, phrases, text=text, gallery=gallery, top_k=top_k, heatmap=heatmap))

    def proofread(
        self,
        image: PictureOrReference,
        text: str,
        *,
        gallery: str = "default",
        suggestions: int = 3,
        threshold: float | None = None,
    ) -> ProofreadAnswer:
        """Find the words of a text that are wrong of a picture.

        Args:
            image: the picture.
            text: what is claimed of it.
            gallery: where an `ItemReference` is.
            suggestions: most suggestions per word.
            threshold: probability from which a word is called an error; the bundle's own when None.
        """
        return self._send(calls.proofread(image, text, gallery=gallery, suggestions=suggestions, threshold=threshold))

    def embed(
        self, texts: Sequence[str] = (), *, images: Sequence[PictureOrReference] = (), gallery: str = "default"
    ) -> EmbedAnswer:
        """Embed texts and pictures: the texts' vectors first, then the pictures'. `gallery` is where references are."""
        return self._send(calls.embed(texts=texts, images=images, gallery=gallery))

    def add(
        self,
        item_id: str,
        *,
        image: PictureOrReference | None = None,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        gallery: str = "default",
    ) -> Item:
        """Put one item into a gallery, in place of the one with this id. It is durable when this returns."""
        return self._send(calls.add(NewItem(id=item_id, image=image, text=text, metadata=metadata), gallery=gallery))

    def add_many(
        self,
        items: Iterable[NewItem],
        *,
        gallery: str = "default",
        max_items: int = 64,
        max_bytes: int = 8_000_000,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ItemOutcome]:
        """Put many items into a gallery, reading them as they are sent; nothing is sent before the first is asked for.

        A bad item costs only itself. Doing it again adds nothing twice, so an interrupted run is simply run again.

        Args:
            items: any number of them, also from a generator.
            gallery: its name on the server.
            max_items: most items of one request.
            max_bytes: most bytes of one request (a single larger item goes alone).
            progress: called with (items done, 0) after each request.

        Yields:
            What became of each item, in order.
        """
        done = 0
        for lines, known in connection.bulk_batches(items, max_items=max_items, max_bytes=max_bytes):
            answered = self._send(calls.add_lines(lines, gallery=gallery)) if lines else []
            yield from connection.merged(known, answered)
            done += len(known)
            if progress is not None:
                progress(done, 0)

    def item(self, item_id: str, *, gallery: str = "default") -> Item:
        """Return an item."""
        return self._send(calls.item(item_id, gallery=gallery))

    def item_picture(self, item_id: str, *, gallery: str = "default") -> bytes:
        """Return the picture that the gallery stored of an item, as a JPEG file's bytes."""
        return self._send(calls.item_picture(item_id, gallery=gallery))

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

    def page(
        self,
        *,
        gallery: str = "default",
        cursor: str | None = None,
        limit: int = 100,
        filter: Mapping[str, Any] | None = None,
    ) -> ItemPage:
        """Return one page of a gallery's items; `cursor` is the `next_cursor` of the page before."""
        return self._send(calls.page(gallery=gallery, cursor=cursor, limit=limit, filter=filter))

    def delete(self, item_id: str, *, gallery: str = "default") -> None:
        """Delete an item."""
        self._send(calls.delete(item_id, gallery=gallery))

    def galleries(self) -> list[Gallery]:
        """Return what every gallery says of itself."""
        return self._send(calls.galleries())

    def gallery(self, name: str = "default") -> Gallery:
        """Return what one gallery says of itself."""
        return self._send(calls.gallery(name))

    def create_gallery(self, name: str) -> Gallery:
        """Make an empty gallery."""
        return self._send(calls.create_gallery(name))

    def delete_gallery(self, name: str) -> None:
        """Delete a gallery and everything in it."""
        self._send(calls.delete_gallery(name))

    def info(self) -> dict[str, Any]:
        """Return what the server says of itself: bundle, providers, limits."""
        return self._send(calls.info())

    def health(self) -> Health:
        """Return whether the server is ready to answer; being not ready is an answer too."""
        return self._send(calls.health())

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
                    return call.result(response)
            sleep(wait_s or 0.0)
