"""Who is compared: how each is installed, started and asked."""

import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVERS = Path(__file__).with_name("servers")
THREADS = "2"
PATIENCE_MS = 1000
"""An answer that takes longer than this is not worth having; Vernier is told so, the others cannot be."""

_OURS = "from server.run import serve; from server.settings import load_settings; serve(load_settings())"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
_THREADED = {"OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS}

Request = tuple[str, dict[str, Any]]
"""A path and a JSON body."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder where everything is kept."""

    root: Path

    @property
    def model(self) -> Path:
        """The checkpoint that all of them serve."""
        return self.root / "clip-model"

    @property
    def index(self) -> Path:
        """clip-retrieval's index of the vectors."""
        return self.root / "clip-retrieval-index"

    def bundle(self, precision: str) -> Path:
        """The same weights as a bundle."""
        return self.root / f"bundle-{precision}"

    def galleries(self, precision: str) -> Path:
        """Vernier's galleries of the vectors."""
        return self.root / f"galleries-{precision}"

    def python(self, name: str) -> Path:
        """The interpreter of a peer's environment."""
        return self.root / "env" / name / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server.

    Attributes:
        requirements: what is installed into its environment; none for Vernier, which runs in this one.
        patches: why a requirement is there that the peer does not ask for itself.
        command: what starts it, from where everything is kept and a port.
        embed_text: asks for a text's embedding; None where it has no such route.
        embed_picture: the same of a JPEG.
        embedding: reads the answer of both.
        search_text: asks for ten hits; None where it has no index.
        search_picture: the same by a JPEG.
        hits: reads the answer of both: positions in the index with scores.
        variables: its environment variables.
        tolerance: largest distance of a cosine to the reference from 1.
    """

    name: str
    command: Callable[[Place, int], list[str]]
    requirements: tuple[str, ...] = ()
    patches: str = ""
    embed_text: Callable[[str], Request] | None = None
    embed_picture: Callable[[bytes], Request] | None = None
    embedding: Callable[[Any], Sequence[float]] | None = None
    search_text: Callable[[str], Request] | None = None
    search_picture: Callable[[bytes], Request] | None = None
    hits: Callable[[Any], list[tuple[int, float]]] | None = None
    variables: Callable[[Place, int], Mapping[str, str]] = field(default=lambda _place, _port: {})
    tolerance: float = 1e-3


def _ours(precision: str, tolerance: float) -> Peer:
    return Peer(
        name=f"vernier-{precision}",
        command=lambda _place, _port: [sys.executable, "-c", _OURS],
        embed_text=lambda text: ("/v1/embeddings", {"model": "clip", "input": [text]}),
        embed_picture=lambda jpeg: ("/v1/embeddings", {"model": "clip", "input": [_uri(jpeg)]}),
        embedding=lambda answer: answer["data"][0]["embedding"],
        search_text=lambda text: ("/search", {"text": text, "top_k": 10, "include": []}),
        search_picture=lambda jpeg: ("/search", {"image": {"base64": _base64(jpeg)}, "top_k": 10, "include": []}),
        hits=lambda answer: [(int(hit["id"]), hit["score"]) for hit in answer["hits"]],
        variables=lambda place, port: {
            "VERNIER_BUNDLE": str(place.bundle(precision)),
            "VERNIER_GALLERIES_DIR": str(place.galleries(precision)),
            "VERNIER_PORT": str(port),
            "VERNIER_CACHE_BYTES": "0",
            "VERNIER_MAX_WAIT_MS": str(PATIENCE_MS // 2),  # the rest is for the request's own work
            "VERNIER_LOG_LEVEL": "warning",
        },
        tolerance=tolerance,
    )


PEERS = (
    _ours("fp32", 1e-3),
    _ours("int8", 1e-2),
    Peer(
        name="infinity",
        requirements=("infinity-emb[server,torch,vision]==0.0.78", "aiohttp"),
        patches="aiohttp: its route for pictures imports it and its package does not ask for it",
        command=lambda place, port: [
            *[str(place.python("infinity").with_name("infinity_emb")), "v2", "--model-id", str(place.model)],
            *["--served-model-name", "clip", "--engine", "torch", "--device", "cpu", "--dtype", "float32"],
            *["--no-bettertransformer", "--batch-size", "8", "--host", "127.0.0.1", "--port", str(port)],
        ],
        embed_text=lambda text: ("/embeddings", {"model": "clip", "input": [text]}),
        embed_picture=lambda jpeg: ("/embeddings", {"model": "clip", "input": [_uri(jpeg)], "modality": "image"}),
        embedding=lambda answer: answer["data"][0]["embedding"],
        variables=lambda _place, _port: {**_OFFLINE, **_THREADED},
    ),
    Peer(
        name="litserve",
        requirements=("litserve==0.2.19", "transformers==5.23.0", "torch", "pillow"),
        command=lambda place, port: [
            *[str(place.python("litserve")), str(SERVERS / "litserved.py"), str(place.model), str(port), "8", "0.005"]
        ],
        embed_text=lambda text: ("/predict", {"text": text}),
        embed_picture=lambda jpeg: ("/predict", {"image": _base64(jpeg)}),
        embedding=lambda answer: answer["embedding"],
        variables=lambda _place, _port: {**_OFFLINE, **_THREADED},
    ),
    Peer(
        name="plain",
        requirements=("fastapi", "uvicorn[standard]", "transformers==5.23.0", "torch", "pillow"),
        command=lambda place, port: [
            *[str(place.python("plain")), str(SERVERS / "plain.py"), str(place.model), str(port)]
        ],
        embed_text=lambda text: ("/embed", {"text": text}),
        embed_picture=lambda jpeg: ("/embed", {"image": _base64(jpeg)}),
        embedding=lambda answer: answer["embedding"],
        variables=lambda _place, _port: {**_OFFLINE, **_THREADED},
    ),
    Peer(
        name="clip-retrieval",
        requirements=("clip-retrieval==2.45.0", "setuptools<81"),
        patches="setuptools<81: it imports pkg_resources, which newer ones no longer have",
        command=lambda place, port: [
            *[str(place.python("clip-retrieval").with_name("clip-retrieval")), "back", "--port", str(port)],
            *["--indices-paths", str(place.index / "indices.json"), "--clip_model", f"hf_clip:{place.model}"],
            *["--enable_mclip_option", "False", "--provide_aesthetic_embeddings", "False", "--use_jit", "False"],
        ],
        search_text=lambda text: ("/knn-service", {"text": text, **_KNN}),
        search_picture=lambda jpeg: ("/knn-service", {"image": _base64(jpeg), **_KNN}),
        hits=lambda answer: [(hit["id"], hit["similarity"]) for hit in answer],
        variables=lambda _place, _port: {**_OFFLINE, **_THREADED},
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}

_KNN = {"modality": "image", "num_images": 10, "indice_name": "vectors"}


def _base64(jpeg: bytes) -> str:
    return b64encode(jpeg).decode()


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{_base64(jpeg)}"
