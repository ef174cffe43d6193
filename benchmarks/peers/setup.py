"""Makes what a comparison needs: an environment for each peer, the weights, the bundles, and the indexes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.clip_bundle import DIM, make
from benchmarks.index import clustered
from benchmarks.peers.peers import PEERS, Peer, Place
from benchmarks.server import fill_gallery
from export.variants import write_variant
from runtime.bundle import read_bundle, write_bundle
from runtime.encoder import Encoder

NUM_VECTORS = 99_900
"""Just below the size from which Vernier no longer searches exactly by itself, so that all of them do."""
_CONSTRAINTS = Path(__file__).with_name("constraints.txt")
_MERGES = "lib/python3*/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz"
_PRECISIONS = ("fp32", "int8")


def prepare(place: Place) -> None:
    """Make what is not there yet."""
    for peer in PEERS:
        if peer.requirements and not place.python(peer.name).exists():
            _install(peer, place)
    if not place.model.exists():
        (merges,) = place.python("clip-retrieval").parents[1].glob(_MERGES)
        make(place.bundle("fp32"), "vit-b-32", public=place.model, merges=merges)
    if not place.bundle("int8").exists():
        _quantise(place)
    vectors = gallery_vectors()
    for precision in _PRECISIONS:
        if not place.galleries(precision).exists():
            fill_gallery(place.galleries(precision) / "default", Encoder.load(place.bundle(precision)), vectors)
    if not place.index.exists():
        _index_for_clip_retrieval(place, vectors)


def gallery_vectors() -> np.ndarray:
    """The vectors that are searched, float32[NUM_VECTORS, DIM], of unit length."""
    return clustered(NUM_VECTORS, DIM)[0]


def installed(peer: Peer, place: Place) -> list[str]:
    """What is in a peer's environment, as `name==version`."""
    command = [_uv(), "pip", "freeze", "--quiet", "--python", str(place.python(peer.name))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _install(peer: Peer, place: Place) -> None:
    print(f"installing {peer.name}: {' '.join(peer.requirements)}", flush=True)
    environment = place.python(peer.name).parents[1]
    subprocess.run([_uv(), "venv", "--quiet", "--python", "3.11", str(environment)], check=True)
    install = [_uv(), "pip", "install", "--quiet", "--python", str(place.python(peer.name))]
    try:
        subprocess.run([*install, "--constraint", str(_CONSTRAINTS), *peer.requirements], check=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(environment)
        raise


def _quantise(place: Place) -> None:
    """Write the bundle in int8. Whether that costs quality is not asked of weights that know nothing."""
    bundle = read_bundle(place.bundle("fp32"))
    graphs = {name: graph.model_copy(update={"precision": "int8"}) for name, graph in bundle.manifest.graphs.items()}
    files = {name: bundle.directory / name for name in bundle.manifest.files}
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in graphs.items():
            files[graph.file] = Path(folder) / graph.file
            write_variant("int8_dynamic", bundle.graph_file(name), files[graph.file])
        told = bundle.manifest
        write_bundle(
            place.bundle("int8"),
            name=f"{told.name}-int8",
            files=files,
            image=told.image,
            text=told.text,
            graphs=graphs,
            embedding_dim=told.embedding_dim,
            temperature=told.temperature,
            provenance=told.provenance,
            calibration=told.calibration,
        )


def _index_for_clip_retrieval(place: Place, vectors: np.ndarray) -> None:
    """An exact index with the metadata that its service wants, made by its own faiss and pandas."""
    (place.index / "metadata").mkdir(parents=True)
    np.save(place.index / "vectors.npy", vectors)
    program = """
import sys, faiss, numpy as np, pandas as pd
folder = sys.argv[1]
vectors = np.load(f"{folder}/vectors.npy")
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
faiss.write_index(index, f"{folder}/image.index")
paths = [f"{at:08d}" for at in range(len(vectors))]
pd.DataFrame({"caption": paths}).to_parquet(f"{folder}/metadata/metadata_0.parquet")
"""
    subprocess.run([str(place.python("clip-retrieval")), "-c", program, str(place.index)], check=True)
    (place.index / "vectors.npy").unlink()
    (place.index / "indices.json").write_text(json.dumps({"vectors": str(place.index.resolve())}))


def _uv() -> str:
    found = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise SystemExit("uv is needed to make the peers' environments: pip install uv")
    return found
