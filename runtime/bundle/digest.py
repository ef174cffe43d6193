"""Digests: sha256 of files, and the one that names an embedding space."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from runtime.bundle.manifest import Graph, GraphName, ImageInput, TextInput


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def space_of(graphs: Mapping[GraphName, Graph], text: TextInput, image: ImageInput, files: Mapping[str, str]) -> str:
    """Name the embedding space of a bundle: both encoders, the tokenizer and the image transform.

    Args:
        graphs: the bundle's graphs; both encoders must be among them.
        text: which file is the tokenizer.
        image: the image transform.
        files: file name to sha256.

    Returns:
        32 hexadecimal digits. Two bundles with the same digest embed every input alike, so they may share a gallery.
    """
    digests = {
        "image_encoder": files[graphs["image_encoder"].file],
        "text_encoder": files[graphs["text_encoder"].file],
        "tokenizer": files[text.tokenizer],
    }
    lines = "\n".join(f"{role} {digests[role]}" for role in sorted(digests)) + "\n" + image.canonical()
    return hashlib.sha256(lines.encode()).hexdigest()[:32]
