"""How vectors are kept in a large gallery: as float32, as float16, or as one byte a number."""

from typing import Any, Literal, get_args

import faiss
import numpy as np

from index.records import Floats
from index.region import Bytes

CodecName = Literal["float32", "float16", "int8"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)

_SCALAR: dict[str, int] = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}


class Codec:
    """Turns vectors into codes and back. An int8 code is fitted to a sample: each number has a range of its own."""

    def __init__(self, name: CodecName, index: Any) -> None:  # noqa: ANN401  an empty FAISS index
        self.name = name
        self._index = index

    @classmethod
    def fitted(cls, name: CodecName, sample: Floats) -> "Codec":
        """Return a codec for vectors like these [n, dim]."""
        dim = sample.shape[1]
        if name == "float32":
            return cls(name, faiss.IndexFlatIP(dim))
        index = faiss.IndexScalarQuantizer(dim, _SCALAR[name], faiss.METRIC_INNER_PRODUCT)
        index.train(np.ascontiguousarray(sample))
        return cls(name, index)

    @property
    def dim(self) -> int:
        """How long the vectors are."""
        return int(self._index.d)

    @property
    def num_bytes(self) -> int:
        """How long a code is."""
        return int(self._index.code_size)

    def encode(self, vectors: Floats) -> Bytes:
        """Return the codes of vectors [n, dim]: [n, num_bytes]."""
        codes: Bytes = self._index.sa_encode(np.ascontiguousarray(vectors, np.float32))
        return codes

    def decode(self, codes: Bytes) -> Floats:
        """Return the vectors of codes [n, num_bytes]: [n, dim]."""
        vectors: Floats = self._index.sa_decode(np.ascontiguousarray(codes))
        return vectors

    def index_over(self, codes: Bytes) -> Any:  # noqa: ANN401  a FAISS index
        """Return a FAISS index that reads its codes where these bytes are; the caller keeps them alive.

        Its `ntotal` is 0, and is to be set to how many codes there are.
        """
        index: Any = faiss.clone_index(self._index)
        view: Any = faiss.MaybeOwnedVectorUInt8
        index.codes = view.create_view(faiss.swig_ptr(codes), codes.size, index.codes.owner)
        return index

    def serialised(self) -> bytes:
        """Return the codec as bytes."""
        data: bytes = faiss.serialize_index(self._index).tobytes()
        return data

    @classmethod
    def from_serialised(cls, name: str, data: bytes, *, dim: int) -> "Codec":
        """Read what `serialised` gave. The checksum must have been compared before.

        Raises:
            ValueError: it is something else.
        """
        index: Any = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        is_right = (
            isinstance(index, faiss.IndexFlatIP)
            if name == "float32"
            else isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == _SCALAR.get(name)
        )
        if not is_right or index.d != dim or index.ntotal:
            raise ValueError(f"it is not a codec {name} of {dim} numbers")
        return cls(name, index)  # type: ignore[arg-type]
