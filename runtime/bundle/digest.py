"""Digests: sha256 of files, and the one that names an embedding space."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def space_digest(files: Mapping[str, str], image_input: str) -> str:
    """Name the embedding space made by these files and this image transform.

    Args:
        files: sha256 of the image encoder, the text encoder and the tokenizer, by role.
        image_input: the image transform in its canonical JSON form.

    Returns:
        32 hexadecimal digits. Two bundles with the same digest embed every input alike, so they may share a gallery.
    """
    text = "\n".join(f"{role} {files[role]}" for role in sorted(files)) + "\n" + image_input
    return hashlib.sha256(text.encode()).hexdigest()[:32]
