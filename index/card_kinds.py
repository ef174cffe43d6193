"""The kinds of index that FAISS keeps on a GPU, and the proof that a card runs one.

All that names FAISS's GPU classes is here; `tests/contracts/test_faiss_gpu.py` looks for each name in the GPU builds.
Whoever calls uses one thread for each card: FAISS's GPU resources are not thread-safe, not even for reading.

    flat      every vector as float16; exact but for rounding
    ivf-pq    lists of 8-bit codes, for more vectors than the card holds
    cagra     a graph, built on the card (cuVS); only in the build faiss-gpu-cuvs
"""

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import faiss
import numpy as np

from index.candidates import Effort, Efforts, num_lists
from index.records import Floats
from index.vectors import Rows

CardKind = Literal["flat", "ivf-pq", "cagra"]
CARD_KINDS: tuple[CardKind, ...] = get_args(CardKind)

MOST_CANDIDATES = 1024
"""So many a card is asked for at once; its k-selection ends at 2,048."""

_CODE_BITS = 8
_NUM_CODES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)  # those that the card's kernels know
_DIMS_PER_CODE = 4
_TRIAL = "import sys; from index.card_kinds import main; sys.exit(main())"
_NUM_STRANGERS = 200
_STRANGERS_SEED = 17
_PROOF_S = 180.0  # the first use of a card may compile kernels for it
_PROOF_POINTS, _PROOF_DIM, _PROOF_QUERIES = 10_240, 32, 64
_PROOF_RECALL = 0.9


@dataclass(slots=True)
class CardIndex:
    """An index on a card. Positions are numbers in the order of adding.

    Attributes:
        kind: which of the three.
        index: what FAISS searches.
        parameters: makes FAISS's parameters for an effort.
        efforts: breadths and numbers of candidates worth trying.
        grows: whether vectors can be added after the first.
        strangers: [m, dim], unlike all others; a graph holds them behind the rest, to be asked for.
    """

    kind: CardKind
    index: Any
    parameters: Callable[[Effort], Any]
    efforts: Efforts
    grows: bool
    strangers: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def fill(self, sample: Floats, chunks: Iterable[Floats]) -> None:
        """Fit it to a sample [m, dim] and put the first vectors in, chunks of [n, dim]."""
        if not self.grows:
            self.strangers = _unlike_all(sample.shape[1])
            self.index.train(np.concatenate([*chunks, self.strangers]))
            return
        if not self.index.is_trained:
            self.index.train(np.ascontiguousarray(sample))
        for vectors in chunks:
            self.index.add(np.ascontiguousarray(vectors))

    def search(self, queries: Floats, effort: Effort) -> Rows:
        """Return the positions of an effort's candidates for queries [n, dim]: [n, candidates], -1 for none."""
        params = self.parameters(effort)
        found: Rows = self.index.search(np.ascontiguousarray(queries), effort.num_candidates, params=params)[1]
        return found


class GpuBuild:
    """What this process's build of FAISS can make on its cards."""

    def __init__(self) -> None:
        self._resources: dict[int, Any] = {}

    def num_cards(self) -> int:
        """Return how many cards FAISS lists, none where the build knows none; whether they work is another thing."""
        return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0

    def why_none(self) -> str:
        """Say why there are no cards."""
        if not hasattr(faiss, "StandardGpuResources"):
            return "this build of FAISS knows no GPU (install the extra `gpu`: faiss-gpu in place of faiss-cpu)"
        return "FAISS finds no GPU (nvidia-smi says whether there is one, and its driver)"

    def make(self, kind: CardKind, device: int, *, dim: int, num_vectors: int) -> CardIndex:
        """Return an empty index for about so many vectors, on the calling thread, which alone may use it.

        Raises:
            RuntimeError: this build or this card cannot.
        """
        if kind == "cagra" and not hasattr(faiss, "GpuIndexCagra"):
            raise RuntimeError("this build of FAISS has no CAGRA (faiss-gpu-cuvs has)")
        resources: Any = self._resources.get(device)
        if resources is None:
            resources = self._resources[device] = faiss.StandardGpuResources()
        if kind == "flat":
            return _flat(resources, device, dim)
        if kind == "ivf-pq":
            return _ivf_pq(resources, device, dim, num_vectors)
        return _cagra(resources, device, dim)

    def why_not(self, kind: CardKind, device: int) -> str | None:
        """Let a card answer in a process of its own; return why it cannot, or None when what it says is right.

        FAISS ends the process where CUDA fails, and that must not be this one.
        """
        command = [sys.executable, "-c", _TRIAL, kind, str(device)]
        here = Path(__file__).parents[1]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_PROOF_S, check=False, cwd=here)
        except subprocess.TimeoutExpired:
            return f"card {device} gave no answer in {_PROOF_S:.0f} seconds"
        if ran.returncode == 0:
            return None
        said = (ran.stdout + ran.stderr).strip().splitlines()
        return said[-1][:300] if said else f"the trial on card {device} ended with status {ran.returncode}"


def prove(make: Callable[..., CardIndex], kind: CardKind, device: int) -> None:
    """Search vectors on a card, and hold the hits against exact ones.

    Raises:
        RuntimeError: it cannot be made, or what it finds is wrong.
    """
    rng = np.random.default_rng(5)
    points = rng.standard_normal((_PROOF_POINTS, _PROOF_DIM), dtype=np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    queries = points[:_PROOF_QUERIES] + 0.05 * rng.standard_normal((_PROOF_QUERIES, _PROOF_DIM), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    index = make(kind, device, dim=_PROOF_DIM, num_vectors=_PROOF_POINTS)
    index.fill(points, [points])
    breadths, numbers = index.efforts
    found = index.search(queries, Effort(breadth=breadths[-1], num_candidates=min(100, numbers[-1])))
    best = np.argsort(-queries @ points.T, axis=1)[:, :10]
    recall = np.mean([np.isin(wanted, got).mean() for wanted, got in zip(best, found, strict=True)])
    if recall < _PROOF_RECALL:
        raise RuntimeError(f"{kind} on card {device} finds {recall:.0%} of the nearest: it does not work here")


def _unlike_all(dim: int) -> Floats:
    strangers = np.random.default_rng(_STRANGERS_SEED).standard_normal((_NUM_STRANGERS, dim), dtype=np.float32)
    unit: Floats = strangers / np.linalg.norm(strangers, axis=1, keepdims=True)
    return unit


def num_card_codes(dim: int) -> int:
    """Return into how many parts the card's product quantiser cuts a vector."""
    fitting = [codes for codes in _NUM_CODES if dim % codes == 0]
    return max((codes for codes in fitting if dim // codes >= _DIMS_PER_CODE), default=fitting[-1])


def _flat(resources: Any, device: int, dim: int) -> CardIndex:  # noqa: ANN401  FAISS objects
    config: Any = faiss.GpuIndexFlatConfig()
    config.device = device
    config.useFloat16 = True
    index: Any = faiss.GpuIndexFlatIP(resources, dim, config)
    return CardIndex("flat", index, lambda _: None, ((1,), (12, 16, 24)), grows=True)


def _ivf_pq(resources: Any, device: int, dim: int, num_vectors: int) -> CardIndex:  # noqa: ANN401
    lists = num_lists(num_vectors)
    config: Any = faiss.GpuIndexIVFPQConfig()
    config.device = device
    config.useFloat16LookupTables = True  # with full ones 64 codes do not fit into a block's shared memory
    make: Any = faiss.GpuIndexIVFPQ
    index = make(resources, dim, lists, num_card_codes(dim), _CODE_BITS, faiss.METRIC_INNER_PRODUCT, config)
    index.cp.min_points_per_centroid = 1  # how large the sample is was decided before
    breadths = tuple(breadth for breadth in (4, 8, 16, 32, 64, 128, 256) if breadth < lists) or (lists,)

    def parameters(effort: Effort) -> Any:  # noqa: ANN401
        told: Any = faiss.SearchParametersIVF
        return told(nprobe=min(effort.breadth, lists))

    return CardIndex("ivf-pq", index, parameters, (breadths, (50, 100, 200, 400, 800)), grows=True)


def _cagra(resources: Any, device: int, dim: int) -> CardIndex:  # noqa: ANN401
    config: Any = faiss.GpuIndexCagraConfig()  # type: ignore[attr-defined]
    config.device = device
    # vectors are of unit length: the nearest have the greatest inner products
    index: Any = faiss.GpuIndexCagra(resources, dim, faiss.METRIC_L2, config)  # type: ignore[attr-defined]

    def parameters(effort: Effort) -> Any:  # noqa: ANN401
        told: Any = faiss.SearchParametersCagra()  # type: ignore[attr-defined]
        told.itopk_size = -(-max(effort.breadth, effort.num_candidates) // 32) * 32
        return told

    return CardIndex("cagra", index, parameters, ((64, 128, 256, 512), (16, 32, 64)), grows=False)


def main() -> int:
    """Prove one kind on one card; the exit status says whether it works, and the last line why not."""
    kind, device = sys.argv[1], int(sys.argv[2])
    build = GpuBuild()
    try:
        if device >= build.num_cards():
            raise RuntimeError(build.why_none())
        prove(build.make, next(known for known in CARD_KINDS if known == kind), device)
    except Exception as error:  # whatever it is, it is the answer
        sys.stdout.write(" ".join(str(error).split()) + "\n")
        return 1
    return 0
