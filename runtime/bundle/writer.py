"""Writes a bundle: beside its place first, then moved there in one step."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runtime.bundle.digest import file_digest, space_of
from runtime.bundle.manifest import (
    Calibration,
    Decisions,
    Graph,
    GraphName,
    ImageInput,
    Manifest,
    OutputParity,
    PrecisionReport,
    Provenance,
    TextInput,
)
from runtime.errors import BundleError

MANIFEST = "manifest.json"


def write_bundle(
    out: Path,
    *,
    name: str,
    files: Mapping[str, Path],
    image: ImageInput,
    text: TextInput,
    graphs: Mapping[GraphName, Graph],
    embedding_dim: int,
    temperature: float,
    provenance: Provenance,
    calibration: Calibration | None = None,
    parity: Mapping[str, OutputParity] | None = None,
    decisions: Decisions | None = None,
    precision: PrecisionReport | None = None,
    match_cosine: float = 0.0,
) -> Manifest:
    """Copy the files into a new bundle and write its manifest with their digests.

    Args:
        out: the bundle's directory. An older bundle there is replaced as a whole; any other directory is left alone.
        files: file name within the bundle to where it is now. Must hold every file that graphs and text name.

    Raises:
        BundleError: a named file is not among `files`, or `out` holds something that is not a bundle.
    """
    needed = {text.tokenizer, *(graph.file for graph in graphs.values())}
    needed |= {text.lexicon} if text.lexicon else set()
    if missing := sorted(needed - set(files)):
        raise BundleError(f"the bundle would name {', '.join(missing)} but was not given it.")
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise BundleError(f"{out} is not empty and holds no bundle; name another directory.")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for file_name, source in files.items():
            shutil.copyfile(source, staging / file_name)
        digests = {file_name: file_digest(staging / file_name) for file_name in sorted(files)}
        manifest = Manifest.model_validate(
            {
                "name": name,
                "space": space_of(graphs, text, image, digests),
                "embedding_dim": embedding_dim,
                "temperature": temperature,
                "match_cosine": match_cosine,
                "image": image,
                "text": text,
                "graphs": dict(graphs),
                "files": digests,
                "calibration": calibration or Calibration(),
                "provenance": provenance,
                "parity": dict(parity or {}),
                "decisions": decisions,
                "precision": precision,
            }
        )
        (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        staging.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest
