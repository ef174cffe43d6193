"""`POST /proofread`."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.proofread import Proof
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import read_sent
from server.openapi import body_of
from server.pictures import picture_bytes
from server.plain_route import PlainRoute
from server.schemas.proofread import JudgedWord, ProofreadAnswer, ProofreadRequest, SuggestedWord
from server.seeing import see
from server.texts import check_texts
from server.timings import Timings

router = APIRouter(tags=["look closer"], route_class=PlainRoute)


@router.post("/proofread", response_model=ProofreadAnswer, openapi_extra=body_of(ProofreadRequest, multipart=True))
async def proofread(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Say which words of a text are wrong about a picture, and what they should have been."""
    with timings.stage("read"):
        sent = await read_sent(request, ProofreadRequest, max_bytes=service.settings.max_body_bytes)
    asked = sent.request
    service = service.at(asked.gallery)
    check_texts([asked.text], max_words=service.settings.max_judged_words)
    data = await picture_bytes(service, asked.image, sent.image, gallery=asked.gallery)
    picture = await see(service, data, timings)
    with timings.stage("proofread"):
        proof = await service.engines.proofread(
            picture.features, asked.text, num_suggestions=asked.suggestions, threshold=asked.threshold
        )
    return json_answer(_answer(proof, timings))


def _answer(proof: Proof, timings: Timings) -> ProofreadAnswer:
    return ProofreadAnswer(
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
        method=proof.method,
        timings_ms=timings.milliseconds(),
    )
