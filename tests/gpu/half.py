"""A bundle in fp16 made of one in fp32, for the checks on a GPU."""

from pathlib import Path

from export.variants import write_variant
from runtime.bundle import read_bundle, write_bundle


def write_half_bundle(source: Path, out: Path) -> None:
    """Write the same bundle with every graph in fp16."""
    bundle = read_bundle(source)
    manifest = bundle.manifest
    parts = out.parent / f"{out.name}-parts"
    parts.mkdir(parents=True)
    files = {name: source / name for name in manifest.files}
    for graph in manifest.graphs.values():
        write_variant("fp16", source / graph.file, parts / graph.file)
        files[graph.file] = parts / graph.file
    write_bundle(
        out,
        name=f"{manifest.name}-fp16",
        files=files,
        image=manifest.image,
        text=manifest.text,
        graphs={name: graph.model_copy(update={"precision": "fp16"}) for name, graph in manifest.graphs.items()},
        embedding_dim=manifest.embedding_dim,
        temperature=manifest.temperature,
        provenance=manifest.provenance,
        calibration=manifest.calibration,
    )
