"""Reads a bundle, and refuses one that is not whole with a message that says what is wrong and what to do."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from tokenizers import Tokenizer

from runtime.bundle.consistency import contradictions
from runtime.bundle.digest import file_digest
from runtime.bundle.manifest import SCHEMA_VERSION, Graph, Manifest
from runtime.bundle.writer import MANIFEST
from runtime.errors import BundleError, GraphMissingError
from runtime.preprocess.text import TextTransform


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were all found whole."""

    directory: Path
    manifest: Manifest

    def graph(self, name: str) -> Graph:
        """Return a graph's description.

        Raises:
            GraphMissingError: the bundle does not have it.
        """
        for known, graph in self.manifest.graphs.items():
            if known == name:
                return graph
        raise GraphMissingError(
            f"bundle '{self.manifest.name}' has no {name} graph; serve a bundle whose recipe trains one."
        )

    def graph_file(self, name: str) -> Path:
        """Return the path of a graph's ONNX file; raises as `graph` does."""
        return self.directory / self.graph(name).file

    def text_transform(self) -> TextTransform:
        """Load the tokenizer.

        Raises:
            BundleError: the tokenizer file cannot be read.
        """
        file = self.directory / self.manifest.text.tokenizer
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises a bare Exception
            raise BundleError(f"{file} is not a tokenizer ({error}).") from error
        return TextTransform(tokenizer, max_subwords=self.manifest.text.max_subwords)

    def lexicon(self) -> list[str]:
        """Return the bundle's list of frequent words, or an empty list when it has none.

        Raises:
            BundleError: the file is no list of words.
        """
        if self.manifest.text.lexicon is None:
            return []
        file = self.directory / self.manifest.text.lexicon
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f"{file} is not a list of words ({error}). Export the bundle again.") from error
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise BundleError(f"{file} is not a list of words. Export the bundle again.")
        return entries


def read_bundle(directory: Path | str) -> Bundle:
    """Read the manifest, check every file against its digest, and the manifest against itself.

    Raises:
        BundleError: `bundle_missing`, `bundle_invalid` (the manifest cannot be understood, or contradicts itself),
            `bundle_too_new`, or `bundle_damaged` (a file is missing, cannot be read, or its digest is another).
    """
    directory = Path(directory)
    manifest = _read_manifest(directory)
    for name, expected in manifest.files.items():
        file = directory / name
        try:
            if Path(name).name != name or not file.is_file():
                raise BundleError(
                    f"bundle {directory} is incomplete: {name} is missing. Copy or export the bundle again.",
                    code="bundle_damaged",
                )
            found = file_digest(file)
        except OSError as error:
            raise BundleError(
                f"bundle {directory} cannot be used: {name} cannot be read ({error.strerror or error}). Make it "
                "readable, or copy the bundle again.",
                code="bundle_damaged",
            ) from error
        if found != expected:
            raise BundleError(
                f"bundle {directory} is damaged: {name} has digest {found[:12]}…, its manifest says {expected[:12]}…. "
                "Copy or export the bundle again.",
                code="bundle_damaged",
            )
    named = {manifest.text.tokenizer, *(graph.file for graph in manifest.graphs.values())}
    named |= {manifest.text.lexicon} if manifest.text.lexicon else set()
    if missing := sorted(named - set(manifest.files)):
        raise BundleError(f"the manifest of {directory} names {', '.join(missing)} without a digest.")
    for needed in ("image_encoder", "text_encoder"):
        if needed not in manifest.graphs:
            raise GraphMissingError(f"bundle {directory} has no {needed} graph; a bundle needs both encoders.")
    if found_wrong := list(contradictions(manifest)):
        raise BundleError(
            f"the manifest of {directory} contradicts itself: {'; '.join(found_wrong)}. Export the bundle again."
        )
    return Bundle(directory, manifest)


def _read_manifest(directory: Path) -> Manifest:
    file = directory / MANIFEST
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(
            f"{directory} holds no bundle ({MANIFEST} is missing). `vernier export` and `vernier import` make one.",
            code="bundle_missing",
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read ({error}). Export the bundle again.") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"bundle {directory} has schema version {version}; this program reads up to {SCHEMA_VERSION}. "
            "Upgrade vernier, or export the bundle with this version.",
            code="bundle_too_new",
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{file} is not a manifest: {where}: {first['msg']}. Export the bundle again.") from error
