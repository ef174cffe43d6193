"""`GET /info`: what is really running."""

from dataclasses import asdict

from fastapi import APIRouter
from starlette.responses import Response

from runtime.encoder import Encoder
from runtime.grounding import method_of as grounding_method_of
from runtime.word_judges import method_of
from runtime.word_maps import map_method_of
from server.answers import ServiceOf, json_answer
from server.routes.galleries import describe
from server.schemas.status import BundleInfo, GpuSearchInfo, GraphInfo, InfoAnswer, Limits, ThreadInfo
from server.version import version_of_vernier

router = APIRouter(tags=["operation"])


@router.get("/info", response_model=InfoAnswer)
async def info(service: ServiceOf) -> Response:
    """Say which model, engines and galleries are served, and within which limits."""
    service.check_ready()
    encoder = service.at("default").encoder
    galleries = service.galleries.all()
    answer = InfoAnswer(
        version=version_of_vernier(),
        bundle=_bundle(encoder),
        graphs={
            name: GraphInfo(provider=encoder.engines[name].provider, precision=graph.precision)
            for name, graph in encoder.manifest.graphs.items()
        },
        provider_fallback=encoder.fallback,
        gpu_search=GpuSearchInfo(
            wanted=service.cards.wanted, cards=len(service.cards), fallback=service.cards.fallback
        ),
        threads=ThreadInfo(**asdict(service.threads)),
        galleries=await service.store(lambda: [describe(name, gallery) for name, gallery in galleries.items()]),
        limits=Limits(**{name: getattr(service.settings, name) for name in Limits.model_fields}),
    )
    return json_answer(answer, keep_none=True)


def _bundle(encoder: Encoder) -> BundleInfo:
    calibration = encoder.manifest.calibration
    neighbours = calibration.match_fit.neighbours if calibration.match_fit else None
    return BundleInfo(
        name=encoder.manifest.name,
        space=encoder.space,
        dim=encoder.dim,
        recipe=encoder.manifest.provenance.recipe,
        grounding=grounding_method_of(encoder.manifest) or "none",
        heatmaps=map_method_of(encoder.manifest) or "none",
        proofreading=method_of(encoder),
        rerank=encoder.has_fusion,
        min_match=calibration.min_match if encoder.has_fusion else None,
        min_match_among_neighbours=neighbours.min_match if neighbours and encoder.has_fusion else None,
    )
