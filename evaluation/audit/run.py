"""The work of an audit: read the captions, proofread them against their pictures, write the reports.

A picture that is on several lines is encoded once. Broken lines, pictures and captions are reported, never fatal, as
long as something can be audited at all.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.audit.journal import Asked, Found, Journal, Line, Problem
from evaluation.audit.page import write_page
from evaluation.pictures import open_picture
from evaluation.readers import Text, first_fault
from runtime.bundle.digest import file_digest
from runtime.encoder import Encoder, Floats, ImageFeatures
from runtime.errors import DataError, ImageError, TextError
from runtime.preprocess.text import check_text
from runtime.proofread import Proof, proofread_many
from runtime.word_judges import method_of

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures)."""

_PICTURES_AT_ONCE = 16
_SUGGESTIONS = 3
_NEVER = 2.0  # what no probability reaches


class _Row(BaseModel):
    """A line of a retrieval file; other than for retrieval, each caption is checked by itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    image: Text
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of an audit.

    Attributes:
        pictures: how many were asked about.
        captions: how many captions were audited.
        words: how many words these have.
        suspects: captions with a word that is called an error, or that as wholes are probably wrong.
        errors: words that are.
        problems: lines, pictures and captions that could not be audited.
        taken_over: pictures that were done when this began.
        bundle: its name.
        method: how words were judged.
        threshold: error probability from which a word is called an error.
        report: the file of the suspects, the worst first, as JSON lines.
        page: the same to look at.
        problems_report: the file of what could not be audited, as JSON lines.
    """

    pictures: int
    captions: int
    words: int
    suspects: int
    errors: int
    problems: int
    taken_over: int
    bundle: str
    method: str
    threshold: float
    report: Path
    page: Path
    problems_report: Path


def audit(
    encoder: Encoder,
    captions: Path,
    *,
    images: Path,
    out: Path,
    threshold: float | None = None,
    num_worst: int = 100,
    progress: Progress | None = None,
) -> Summary:
    """Audit the captions of a dataset, or go on with an audit that was interrupted.

    Args:
        encoder: the bundle.
        captions: JSON lines of `{"image", "captions"}`.
        images: the folder that the pictures' names are relative to.
        out: the folder of the audit; made where it is not there. What is done there is not done again.
        threshold: error probability from which a word is called an error; the bundle's own when None.
        num_worst: how many captions the page shows.
        progress: called as pictures are done.

    Raises:
        DataError: the file or the folder of pictures is not there, or nothing in it can be audited.
        UsageError: the folder holds an audit of something else.
    """
    if not images.is_dir():
        raise DataError(f"there is no folder of pictures at {images}.")
    limit = encoder.manifest.calibration.word_error_threshold if threshold is None else threshold
    whole = encoder.manifest.calibration.caption_error
    least = _NEVER if whole is None else whole.threshold
    out.mkdir(parents=True, exist_ok=True)
    asked = {
        "captions": _digest(captions),
        "images": str(images.resolve()),
        "bundle": f"{encoder.manifest.name}, {_bundle_digest(encoder)}",
        "threshold": repr(limit),
    }
    with Journal(out / "journal.sqlite") as journal:
        journal.begin(asked, read_lines(captions))
        taken_over, total = journal.progress()
        _work(encoder, journal, images, limit, progress)
        totals = journal.totals(least=least)
        if not totals["captions"]:
            first = next(journal.problems(), None)
            why = f" (the first: {first.reason})" if first else ""
            raise DataError(f"nothing of {captions} can be audited{why}; is {images} the folder of its pictures?")
        summary = Summary(
            pictures=total,
            **totals,
            taken_over=taken_over,
            bundle=encoder.manifest.name,
            method=method_of(encoder),
            threshold=limit,
            report=out / "report.jsonl",
            page=out / "report.html",
            problems_report=out / "problems.jsonl",
        )
        _write_lines(summary.report, journal.suspects(least=least))
        _write_lines(summary.problems_report, (problem.as_line() for problem in journal.problems()))
        worst = [suspect for suspect, _ in zip(journal.suspects(least=least), range(num_worst), strict=False)]
    write_page(summary.page, _facts(summary), worst, images=images)
    return summary


def read_lines(captions: Path) -> Iterator[Line | Problem]:
    """Read a captions file line by line; a line that cannot be used gives a problem.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with captions.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip():
                    yield from _line(number, raw.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(f"{captions} cannot be read: {error.strerror or error}.") from error


def _line(number: int, raw: bytes) -> Iterator[Line | Problem]:
    try:
        row = _Row.model_validate_json(raw)
    except ValidationError as error:
        yield Problem(line=number, picture=None, caption=None, reason=f"the line is none: {first_fault(error)}")
        return
    sound = []
    for caption in row.captions:
        try:
            check_text(caption)
        except TextError as error:
            yield Problem(line=number, picture=row.image, caption=caption[:200], reason=str(error))
        else:
            sound.append(caption)
    if sound:
        yield Line(number=number, picture=row.image, captions=sound)


def _work(encoder: Encoder, journal: Journal, images: Path, limit: float, progress: Progress | None) -> None:
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="decode") as pool:
        while batch := journal.next(_PICTURES_AT_ONCE):
            names = [name for _, name in batch]
            opened = list(pool.map(lambda name: _open(encoder, images, name), names))
            problems = [
                Problem(line=asked[0].line if asked else None, picture=name, caption=None, reason=given)
                for (_, name), asked, given in zip(batch, batch.values(), opened, strict=True)
                if isinstance(given, str)
            ]
            asked_and_opened = zip(batch.values(), opened, strict=True)
            there = [(asked, given) for asked, given in asked_and_opened if not isinstance(given, str)]
            features = encoder.embed_pixels([pixels for _, pixels in there], to_proofread=True)
            found = [
                one for row, (asked, _) in enumerate(there) for one in _judged(encoder, features[[row]], asked, limit)
            ]
            journal.done([picture for picture, _ in batch], found, problems)
            if progress is not None:
                progress(*journal.progress())


def _open(encoder: Encoder, images: Path, name: str) -> Floats | str:
    """What the encoder takes of a picture, or, as text, why it cannot be had."""
    try:
        return encoder.image_input(open_picture(images, name))
    except OSError as error:
        return f"the picture cannot be read: {error.strerror or error}"
    except (ImageError, ValueError, Image.DecompressionBombError) as error:
        return f"the picture cannot be read: {error}"


def _judged(encoder: Encoder, image: ImageFeatures, asked: Sequence[Asked], limit: float) -> Iterator[Found]:
    texts = list(dict.fromkeys(one.text for one in asked))
    proofs = dict(
        zip(
            texts,
            proofread_many(encoder, image, texts, num_suggestions=_SUGGESTIONS, threshold=limit),
            strict=True,
        )
    )
    for one in asked:
        proof = proofs[one.text]
        yield Found(
            id=one.id,
            score=_score(proof),
            errors=sum(word.is_error for word in proof.words),
            words=len(proof.words),
            detail=_detail(proof),
        )


def _score(proof: Proof) -> float:
    """How probably the caption is wrong; where calibration does not say, how probably its worst word is."""
    if proof.error_probability is not None:
        return proof.error_probability
    return max((word.error_probability for word in proof.words), default=0.0)


def _detail(proof: Proof) -> dict[str, Any]:
    return {
        "match": proof.match,
        "corrected_text": proof.corrected_text,
        "words": [
            {
                "word": word.word,
                "start": word.start,
                "end": word.end,
                "error_probability": word.error_probability,
                "is_error": word.is_error,
                "suggestions": [{"word": other.word, "probability": other.probability} for other in word.suggestions],
            }
            for word in proof.words
        ],
    }


def _facts(summary: Summary) -> dict[str, str]:
    return {
        "bundle": summary.bundle,
        "words judged by": summary.method.replace("_", " "),
        "called wrong from": f"{summary.threshold:.3g}",
        "pictures": f"{summary.pictures:,}",
        "captions": f"{summary.captions:,}",
        "suspicious captions": f"{summary.suspects:,}",
        "could not be audited": f"{summary.problems:,}",
    }


def _write_lines(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines; the file appears when it is complete."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as opened:
        for line in lines:
            opened.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(file)


def _digest(file: Path) -> str:
    try:
        return f"{file.name}, {file_digest(file)[:16]}"
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error


def _bundle_digest(encoder: Encoder) -> str:
    """What names a bundle as a whole: another calibration or precision may find other words."""
    return hashlib.sha256(encoder.manifest.model_dump_json().encode()).hexdigest()[:16]
