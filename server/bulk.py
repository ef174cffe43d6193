"""Bulk writes: many items in one body, read and stored a few at a time, each with an outcome of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile

from runtime.errors import VernierError
from server.body import check_model, parse_json, part_bytes
from server.errors import RequestError, field_error, problem_of
from server.pictures import picture_bytes
from server.schemas.common import Problem
from server.schemas.galleries import BulkAnswer, BulkItem, BulkOutcome, BulkPart
from server.service import Service
from server.storing import Draft, store_many
from server.timings import Timings

ITEMS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a bulk write: what it is to be, or why it cannot be.

    Attributes:
        line: place among the items, counted from 1.
    """

    line: int
    id: str | None
    draft: Draft | VernierError


@dataclass(slots=True)
class BulkWrite:
    """Stores entries as they come and keeps their outcomes."""

    service: Service
    gallery: str
    timings: Timings
    _waiting: list[Entry] = field(default_factory=list)
    _results: list[BulkOutcome] = field(default_factory=list)

    async def add(self, entry: Entry) -> None:
        """Take one entry in; every few, they are stored.

        Raises:
            VernierError: what is no fault of an item; what was stored before stays.
        """
        self._waiting.append(entry)
        if len(self._waiting) >= ITEMS_AT_ONCE:
            await self._store()

    async def finish(self) -> BulkAnswer:
        """Store the last entries and return what became of all; raises as `add`."""
        await self._store()
        outcomes = [result.outcome for result in self._results]
        return BulkAnswer(
            created=outcomes.count("created"),
            replaced=outcomes.count("replaced"),
            unchanged=outcomes.count("unchanged"),
            failed=outcomes.count(None),
            results=self._results,
        )

    async def _store(self) -> None:
        waiting, self._waiting = self._waiting, []
        drafts = [entry.draft for entry in waiting if isinstance(entry.draft, Draft)]
        stored = iter(await store_many(self.service, self.gallery, drafts, self.timings))
        for entry in waiting:
            outcome = entry.draft if isinstance(entry.draft, VernierError) else next(stored)
            if isinstance(outcome, VernierError):
                problem = Problem.model_validate(problem_of(outcome))
                self._results.append(BulkOutcome(line=entry.line, id=entry.id, problem=problem))
            else:
                self._results.append(BulkOutcome(line=entry.line, id=entry.id, outcome=outcome))


async def lines(chunks: AsyncIterator[bytes], *, max_line_bytes: int) -> AsyncIterator[tuple[int, bytes | None]]:
    """Yield the lines of a body with their numbers from 1; None stands for one too long, empty ones are left out."""
    number, held, is_skipping = 1, bytearray(), False
    async for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            held += piece
            if is_skipping or len(held) > max_line_bytes:
                yield number, None
            elif held.strip():
                yield number, bytes(held)
            number, is_skipping = number + 1, False
            held.clear()
        held += rest
        if len(held) > max_line_bytes:
            is_skipping = True
            held.clear()
    if is_skipping:
        yield number, None
    elif held.strip():
        yield number, bytes(held)


async def entry_of_line(service: Service, gallery: str, number: int, line: bytes | None) -> Entry:
    """Read one line of NDJSON."""
    name: str | None = None
    try:
        if line is None:
            raise RequestError(
                f"the line has more than {service.settings.max_body_bytes:,} bytes.", code="body_too_large"
            )
        raw = parse_json(line)
        name = raw["id"] if isinstance(raw, dict) and isinstance(raw.get("id"), str) else None
        sent = check_model(raw, BulkItem)
        data = None
        if sent.image is not None:
            data = await picture_bytes(service, sent.image, None, gallery=gallery)
        draft = Draft(id=sent.id, picture=data, text=sent.text, metadata=sent.metadata)
        return Entry(line=number, id=name, draft=draft)
    except VernierError as error:
        return Entry(line=number, id=name, draft=error)


async def entries_of_form(form: FormData, *, max_file_bytes: int) -> AsyncIterator[Entry]:
    """Read a multipart bulk write.

    Part `items` is a JSON list that says what each item is and which file is its picture. Without it, every part that
    is a file becomes an item named by its file name.

    Raises:
        RequestError: `json_invalid`, `request_invalid`.
    """
    files = _files(form)
    described = await part_bytes(form, "items") if "items" in form else None
    if described is None:
        for number, (name, part) in enumerate(files.items(), 1):
            yield await _entry_of_part(number, {"id": name, "file": name}, {name: part}, max_file_bytes)
        return
    entries = parse_json(described)
    if not isinstance(entries, list):
        raise field_error("items", "a list is wanted")
    for number, raw in enumerate(entries, 1):
        yield await _entry_of_part(number, raw, files, max_file_bytes)


def _files(form: FormData) -> dict[str, UploadFile]:
    """Return the files by file name, and by part name where that names one file alone."""
    uploads = [(name, part) for name, part in form.multi_items() if name != "items" and isinstance(part, UploadFile)]
    fields = {name for name, part in form.multi_items() if not isinstance(part, UploadFile)}
    if wrong := sorted(fields - {"items"}):
        raise field_error(wrong[0], "this part is not known; parts are `items` and files")
    return {part.filename or name: part for name, part in uploads}


async def _entry_of_part(number: int, raw: object, files: dict[str, UploadFile], max_file_bytes: int) -> Entry:
    name = raw["id"] if isinstance(raw, dict) and isinstance(raw.get("id"), str) else None
    try:
        sent = check_model(raw, BulkPart)
        data = None
        if sent.file is not None:
            part = files.get(sent.file)
            if part is None:
                raise field_error("file", "no part with a file of this name was sent")
            if (part.size or 0) > max_file_bytes:
                raise RequestError(f"the file has more than {max_file_bytes:,} bytes.", code="body_too_large")
            data = await part.read()
        draft = Draft(id=sent.id, picture=data, text=sent.text, metadata=sent.metadata)
        return Entry(line=number, id=name, draft=draft)
    except VernierError as error:
        return Entry(line=number, id=name, draft=error)
