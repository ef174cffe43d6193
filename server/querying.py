"""From a query to its hits: embed, search, re-score, explain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson

from index import Gallery, Item, parse_filter
from index.features import Part
from runtime.encoder import Floats
from runtime.errors import GraphMissingError
from runtime.phrases import Phrase, noun_phrases
from runtime.word_maps import map_method_of
from server.errors import field_error
from server.explaining import Explanation, explain_pictures, explain_texts, with_heatmaps
from server.graphs import RowArrays
from server.hit_features import TO_RERANK, features_of_hits, to_explain
from server.pictures import one_picture, picture_bytes, unknown_item
from server.schemas.common import JsonObject
from server.schemas.search import SearchRequest
from server.searches import Query
from server.seeing import Seen, see
from server.service import Service
from server.stored_features import Stored
from server.texts import check_texts
from server.timings import Timings

_SHORTEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What was sent, understood and embedded.

    Attributes:
        phrases: those of the text whose boxes in the hits are wanted.
        phrase_texts: the same, embedded in one batch with the text.
    """

    vector: Floats
    text: str | None
    texts: list[RowArrays]
    phrases: list[Phrase]
    phrase_texts: list[RowArrays]
    picture: Seen | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A hit on its way."""

    id: str
    score: float
    match: float | None = None


async def answer(service: Service, query: SearchRequest, uploaded: bytes | None, timings: Timings) -> JsonObject:
    """Answer one query: a `SearchAnswer` as plain JSON, whose parts are known to be right and made by the dozen.

    Raises:
        RequestError: `request_invalid`, and what `server.pictures` raises.
        VernierError: the input cannot be used, the gallery is unknown, or the bundle cannot do what was asked.
    """
    service = service.at(query.gallery)
    _check(service, query, uploaded)
    gallery = service.galleries.get(query.gallery)
    condition = None if query.filter is None else parse_filter(query.filter)
    embedded = await _embed(service, query, uploaded, timings)
    num_reranked, to_read = _num_reranked(query), _parts_to_explain(service, query)
    with timings.stage("search"):
        found = await service.searches.search(
            Query(
                gallery=gallery,
                vector=embedded.vector,
                top_k=max(query.top_k, num_reranked),
                target=query.target,
                filter=condition,
                wants_items=bool(query.include),
                parts=None if num_reranked else to_read,
                exclude=frozenset(query.exclude_ids),
                filter_key=b"" if query.filter is None else orjson.dumps(query.filter, option=orjson.OPT_SORT_KEYS),
            )
        )
    matches, info = found.matches, found.info
    if query.min_score is not None:
        matches = [match for match in matches if match.score >= query.min_score]
    scored = [_Scored(id=match.id, score=match.score) for match in matches]
    pictures_read = left_out = 0
    if num_reranked:
        with timings.stage("rerank"):
            scored, pictures_read = await _reranked(service, gallery, query, embedded, scored, num_reranked)
    if query.min_match is not None:
        fitting = [hit for hit in scored if hit.match is not None and hit.match >= query.min_match]
        left_out, scored = len(scored) - len(fitting), fitting
    scored = scored[: query.top_k]
    explanations: dict[str, Explanation] = {}
    if query.explain:
        with timings.stage("explain"):
            ids = [hit.id for hit in scored]
            explanations, more_read = await _explained(
                service, gallery, embedded, query, ids, parts=to_read, stored=found.stored
            )
        pictures_read += more_read
    hits = [
        _hit(query, hit, found.items.get(hit.id), explanations.get(hit.id), time_s=found.times_s.get(hit.id))
        for hit in scored
    ]
    return {
        "hits": hits,
        **({} if query.min_match is None else {"left_out": left_out}),
        **({"pictures_read": pictures_read} if num_reranked or query.explain else {}),
        **({} if query.heatmap == "none" else {"heatmap_method": map_method_of(service.encoder.manifest)}),
        "gallery": {"name": query.gallery, "items": info.items, "version": info.version},
        "timings_ms": timings.milliseconds(),
    }


def _num_reranked(query: SearchRequest) -> int:
    """Return how many hits are re-scored: none can be held against `min_match` that is not."""
    return query.rerank or (0 if query.min_match is None else query.top_k)


def _check(service: Service, query: SearchRequest, uploaded: bytes | None) -> None:
    limits = service.settings
    has_image = one_picture(query.image, uploaded)
    if query.text is None and not has_image:
        raise field_error("text", "a query is a text, an image, or both")
    if query.top_k > limits.max_top_k:
        raise field_error("top_k", f"at most {limits.max_top_k} hits are given")
    if query.rerank > limits.max_reranked:
        raise field_error("rerank", f"at most {limits.max_reranked} hits are re-scored")
    if _num_reranked(query) > limits.max_reranked:
        raise field_error(
            "min_match",
            f"it re-scores all top_k hits, and at most {limits.max_reranked} are; lower top_k, or set rerank",
        )
    if query.heatmap != "none" and "words" not in query.explained:
        raise field_error("heatmap", "heat maps are of the words that are explained; set explain as well")
    if query.explain and query.top_k > limits.max_reranked:
        raise field_error("explain", f"at most {limits.max_reranked} hits are explained; lower top_k")
    if _num_reranked(query):
        field = "rerank" if query.rerank else "min_match"
        if not service.encoder.has_fusion:
            raise GraphMissingError(
                f"bundle '{service.encoder.manifest.name}' has no fusion graph, so it cannot rerank; "
                f"leave {field} out, or serve a bundle whose recipe trains one."
            )
        if (query.text is None) if query.target == "image" else not has_image:
            wanted = "a text" if query.target == "image" else "an image"
            raise field_error(field, f"re-scoring hits of target '{query.target}' needs {wanted} in the query")
    if len(query.exclude_ids) > limits.max_top_k:
        raise field_error("exclude_ids", f"at most {limits.max_top_k} items are left out")
    if query.negative_text is not None:
        check_texts([query.negative_text], max_words=limits.max_words)
    if query.text is not None:
        judged = query.explain and query.target == "image"
        check_texts([query.text], max_words=limits.max_judged_words if judged else limits.max_words)


async def _embed(service: Service, query: SearchRequest, uploaded: bytes | None, timings: Timings) -> _Query:
    texts, phrase_texts, phrases = list[RowArrays](), list[RowArrays](), _phrases(service, query)
    picture = None
    parts: list[tuple[float, Floats]] = []
    if query.text is not None:
        with timings.stage("embed_text"):
            rows = await service.engines.text_rows([query.text, *(phrase.text for phrase in phrases)])
        texts, phrase_texts = rows[:1], rows[1:]
        parts.append((query.text_weight, texts[0]["text_embedding"]))
    if query.negative_text is not None:
        with timings.stage("embed_text"):
            unlike = await service.engines.text_rows([query.negative_text])
        parts.append((-query.negative_weight, unlike[0]["text_embedding"]))
    stored = await _stored_vector(service, query)
    if stored is not None:
        parts.append((query.image_weight, stored))
    elif one_picture(query.image, uploaded):
        data = await picture_bytes(service, query.image, uploaded, gallery=query.gallery)
        picture = await see(service, data, timings, to_proofread="words" in query.explained)
        parts.append((query.image_weight, picture.features.embedding[0]))
    return _Query(
        vector=_sum(parts),
        text=query.text,
        texts=texts,
        phrases=phrases,
        phrase_texts=phrase_texts,
        picture=picture,
    )


def _phrases(service: Service, query: SearchRequest) -> list[Phrase]:
    """Return the phrases of the text that are looked for in pictures of hits."""
    if query.text is None or query.target != "image" or "regions" not in query.explained:
        return []
    return noun_phrases(query.text) if service.engines.grounds_by else []


async def _stored_vector(service: Service, query: SearchRequest) -> Floats | None:
    """Return the vector of the item that is asked for the like of, unless its picture must be looked at anew."""
    if (
        query.image is None
        or query.image.item is None
        or (query.target == "text" and (_num_reranked(query) or query.explain))
    ):
        return None
    gallery = service.galleries.get(query.gallery)
    vector = await service.store(gallery.vector, query.image.item)
    if vector is None and await service.store(gallery.get, query.image.item) is None:
        raise unknown_item(query.gallery)
    return vector


def _sum(parts: Sequence[tuple[float, Floats]]) -> Floats:
    """Return the weighted sum of unit vectors, as a unit vector again."""
    if len(parts) == 1:
        return parts[0][1]
    total = np.sum([weight * vector for weight, vector in parts], axis=0)
    length = float(np.linalg.norm(total))
    if length < _SHORTEST * max(abs(weight) for weight, _ in parts):
        raise field_error("negative_weight", "the parts of the query cancel out; change the weights or the texts")
    return np.asarray(total / length, np.float32)


async def _reranked(
    service: Service, gallery: Gallery, query: SearchRequest, embedded: _Query, hits: Sequence[_Scored], number: int
) -> tuple[list[_Scored], int]:
    """Put the hits that could be re-scored first, by match; the others follow as they were.

    They are sorted by raw scores, which keep their order where probabilities have run into 0 or 1.

    Returns:
        The hits, and how many pictures had to be looked at.
    """
    best_ids = [hit.id for hit in hits[:number]]
    if query.target == "image":
        found = await features_of_hits(service, gallery, best_ids, TO_RERANK, to_proofread="words" in query.explained)
        if found is None:
            return list(hits), 0
        ids, read = found.ids, found.pictures_read
        texts, images = service.engines.joined(embedded.texts), found.features
    else:
        assert embedded.picture is not None
        sentences = await _texts_of(service, gallery, best_ids)
        if not sentences:
            return list(hits), 0
        ids, read = list(sentences), 0
        texts, images = await service.engines.text_features(list(sentences.values())), embedded.picture.features
    raw = dict(zip(ids, (await service.engines.match_scores(texts, images)).tolist(), strict=True))
    logistic = service.encoder.manifest.calibration.match
    best = [replace(hit, match=logistic.probability(raw[hit.id])) for hit in hits if hit.id in raw]
    best.sort(key=lambda hit: -raw[hit.id])
    return best + [hit for hit in hits if hit.id not in raw], read


async def _explained(
    service: Service,
    gallery: Gallery,
    embedded: _Query,
    query: SearchRequest,
    ids: Sequence[str],
    *,
    parts: frozenset[Part] | None,
    stored: Stored | None,
) -> tuple[dict[str, Explanation], int]:
    """Explain hits, all at once; return what was found and how many pictures had to be looked at."""
    if query.target == "image":
        wanted, to_proofread = query.explained, "words" in query.explained
        if embedded.text is None or parts is None:
            return {}, 0
        found = await features_of_hits(service, gallery, ids, parts, to_proofread=to_proofread, stored=stored)
        if found is None:
            return {}, 0
        explained = await explain_pictures(
            service,
            found.features,
            found.sizes_px,
            embedded.text,
            wanted,
            phrases=embedded.phrases,
            phrase_texts=service.engines.joined(embedded.phrase_texts),
        )
        explained = await with_heatmaps(service, explained, found.features, [embedded.text], query.heatmap)
        return dict(zip(found.ids, explained, strict=True)), found.pictures_read
    picture, sentences = embedded.picture, await _texts_of(service, gallery, ids)
    if picture is None or not sentences:
        return {}, 0
    texts = list(sentences.values())
    explained = await explain_texts(service, picture.features, picture.size_px, texts, query.explained)
    explained = await with_heatmaps(service, explained, picture.features, texts, query.heatmap)
    return dict(zip(sentences, explained, strict=True)), 0


def _parts_to_explain(service: Service, query: SearchRequest) -> frozenset[Part] | None:
    """Return what explaining pictures of hits takes; None where that is not done."""
    if not query.explain or query.text is None or query.target == "text":
        return None
    return to_explain(service.encoder, query.explained, with_heatmaps=query.heatmap != "none")


async def _texts_of(service: Service, gallery: Gallery, ids: Sequence[str]) -> dict[str, str]:
    items = await service.store(gallery.get_many, ids)
    return {name: item.text for name, item in items.items() if item.text is not None}


def _hit(
    query: SearchRequest, hit: _Scored, item: Item | None, explanation: Explanation | None, *, time_s: float | None
) -> JsonObject:
    answer: JsonObject = {"id": hit.id, "score": hit.score}
    if hit.match is not None:
        answer["match"] = hit.match
    if time_s is not None:
        answer["time_seconds"] = time_s
    if item is not None and "metadata" in query.include:
        answer["metadata"] = item.metadata
    if item is not None and "text" in query.include and item.text is not None:
        answer["text"] = item.text
    if query.explain:
        explained = explanation or Explanation.nothing()
        if explained.image_size is not None:
            answer["image_size"] = explained.image_size
        if "regions" in query.explained:
            answer["regions"] = explained.regions
        if "words" in query.explained:
            answer["words"] = [word.model_dump(exclude_none=True) for word in explained.words]
    return answer
