"""`POST /proofread`."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.errors import TextError
from runtime.proofread import Proof
from runtime.word_judges import method_of
from server.answers import ServiceOf, TimingsOf, json_answer, plain_answer
from server.body import read_sent
from server.errors import field_error, problem_of
from server.openapi import body_of
from server.pictures import picture_bytes
from server.plain_route import PlainRoute
from server.schemas.common import JsonObject
from server.schemas.proofread import (
    JudgedWord,
    ProofreadAnswer,
    ProofreadRequest,
    ProofreadText,
    ProofreadTextsAnswer,
    SuggestedWord,
)
from server.seeing import see
from server.service import Service
from server.texts import check_texts
from server.timings import Timings

router = APIRouter(tags=["look closer"], route_class=PlainRoute)


@router.post(
    "/proofread",
    response_model=ProofreadAnswer | ProofreadTextsAnswer,
    openapi_extra=body_of(ProofreadRequest, multipart=True),
)
async def proofread(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Say which words of a text, or of several, are wrong about a picture, and what they should have been."""
    with timings.stage("read"):
        sent = await read_sent(request, ProofreadRequest, max_bytes=service.settings.max_body_bytes)
    asked = sent.request
    service = service.at(asked.gallery)
    if (asked.text is None) == (asked.texts is None):
        raise field_error("text", "give either text or texts")
    if asked.text is not None:
        check_texts([asked.text], max_words=service.settings.max_judged_words)
        (proof,) = await _proofs(service, asked, [asked.text], sent.image, timings)
        said = _said(proof).model_dump()
        return json_answer(ProofreadAnswer(**said, method=proof.method, timings_ms=timings.milliseconds()))
    texts = asked.texts or []
    problems = _problems(service, texts)
    sound = [text for text, problem in zip(texts, problems, strict=True) if problem is None]
    proofs = iter(await _proofs(service, asked, sound, sent.image, timings))
    return plain_answer(
        {
            "results": [problem or _said(next(proofs)).model_dump() for problem in problems],
            "method": method_of(service.encoder),
            "timings_ms": timings.milliseconds(),
        }
    )


async def _proofs(
    service: Service, asked: ProofreadRequest, texts: Sequence[str], uploaded: bytes | None, timings: Timings
) -> list[Proof]:
    data = await picture_bytes(service, asked.image, uploaded, gallery=asked.gallery)
    picture = await see(service, data, timings, to_proofread=True)
    with timings.stage("proofread"):
        return await service.engines.proofread(
            picture.features, texts, num_suggestions=asked.suggestions, threshold=asked.threshold
        )


def _problems(service: Service, texts: Sequence[str]) -> list[JsonObject | None]:
    """What is wrong with each text; None where nothing is."""
    limits = service.settings
    if len(texts) > limits.max_texts:
        raise field_error("texts", f"at most {limits.max_texts} texts are taken at once")
    problems: list[JsonObject | None] = []
    for text in texts:
        try:
            check_texts([text], max_words=limits.max_judged_words)
        except TextError as error:
            problems.append(problem_of(error))
        else:
            problems.append(None)
    return problems


def _said(proof: Proof) -> ProofreadText:
    return ProofreadText(
        words=[
            JudgedWord(
                word=word.word,
                start=word.start,
                end=word.end,
                error_probability=word.error_probability,
                is_error=word.is_error,
                suggestions=[
                    SuggestedWord(word=other.word, probability=other.probability) for other in word.suggestions
                ],
            )
            for word in proof.words
        ],
        corrected_text=proof.corrected_text,
        match=proof.match,
    )
