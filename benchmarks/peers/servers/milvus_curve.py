"""Milvus Lite over the same vectors, by its own client: recall against queries per CPU-second.

    python milvus_curve.py FOLDER      (vectors.npy, queries.npy, answers.npy; prints JSON)

CPU seconds are those of the client and of every process that it started.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from pymilvus import DataType, MilvusClient

_TOP_K = 10
_AT_ONCE = 2000
_EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)


def cpu_s() -> float:
    """CPU seconds of this process and all below."""
    here = psutil.Process()
    times = [one.cpu_times() for one in (here, *here.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def main() -> None:
    """Fill, build, and measure each effort."""
    folder = Path(sys.argv[1])
    vectors, queries, answers = (np.load(folder / f"{name}.npy") for name in ("vectors", "queries", "answers"))
    client = MilvusClient(str(folder / "milvus_lite.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 100})
    started, before = time.perf_counter(), cpu_s()
    client.create_collection("items", schema=schema)
    for start in range(0, len(vectors), _AT_ONCE):
        rows = [{"id": start + at, "vector": one} for at, one in enumerate(vectors[start : start + _AT_ONCE])]
        client.insert("items", rows)
    client.flush("items")
    client.create_index("items", index)
    client.load_collection("items")
    report = {"filled_s": time.perf_counter() - started, "filled_cpu_s": cpu_s() - before, "curve": []}
    for ef in _EFFORTS:
        told = {"metric_type": "IP", "params": {"ef": ef}}
        before = cpu_s()
        found = [client.search("items", [query], limit=_TOP_K, search_params=told)[0] for query in queries]
        took = cpu_s() - before
        hits = [
            len({hit["id"] for hit in mine} & set(true.tolist())) for mine, true in zip(found, answers, strict=True)
        ]
        point = {"effort": ef, "recall": sum(hits) / answers.size, "queries_per_cpu_s": len(queries) / took}
        report["curve"].append(point)
        print(point, file=sys.stderr, flush=True)
    client.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
