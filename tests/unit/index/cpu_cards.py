"""Cards whose memory is the CPU's: everything but the GPU's own kernels, with the kinds that FAISS has on a CPU."""

import threading

import faiss

from index.candidates import Effort
from index.card_kinds import CardIndex, CardKind, prove


class CpuBuild:
    """Stands where `GpuBuild` stands, and remembers which threads made and searched indexes."""

    def __init__(self, *, num_cards: int = 1, works: tuple[CardKind, ...] = ("flat", "ivf-pq", "cagra")) -> None:
        self.threads: set[str] = set()
        self.made: list[CardIndex] = []
        self.most_vectors = 10**9
        self._num_cards = num_cards
        self._works = works

    def num_cards(self) -> int:
        return self._num_cards

    def why_none(self) -> str:
        return "there is no card"

    def make(self, kind: CardKind, device: int, *, dim: int, num_vectors: int) -> CardIndex:
        self.threads.add(threading.current_thread().name)
        if num_vectors > self.most_vectors:
            raise RuntimeError("out of memory")
        if kind == "flat":
            made = CardIndex(kind, faiss.IndexFlatIP(dim), lambda _: None, ((1,), (12, 24)), grows=True)
        elif kind == "ivf-pq":
            index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, 16, dim // 4, 8, faiss.METRIC_INNER_PRODUCT)
            efforts = ((4, 16), (50, 200))
            made = CardIndex(kind, index, lambda e: faiss.SearchParametersIVF(nprobe=e.breadth), efforts, grows=True)
        else:
            index = _Graph(dim, 32)
            made = CardIndex(
                kind,
                index,
                lambda e: faiss.SearchParametersHNSW(efSearch=e.breadth),
                ((64, 256), (16, 64)),
                grows=False,
            )
        self.made.append(made)
        return made

    def why_not(self, kind: CardKind, device: int) -> str | None:
        if kind not in self._works:
            return f"no {kind} here"
        try:
            prove(self.make, kind, device)
        except RuntimeError as error:
            return str(error)
        return None


class _Graph(faiss.IndexHNSWFlat):
    """Made by `train`, as CAGRA is."""

    def train(self, vectors: object) -> None:
        self.add(vectors)


def effort(breadth: int, num_candidates: int) -> Effort:
    return Effort(breadth=breadth, num_candidates=num_candidates)
