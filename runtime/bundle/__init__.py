"""The bundle: a complete, immutable directory, the only thing that serving knows of a model.

Public names: Manifest and its parts, Bundle, read_bundle, write_bundle.
"""

from runtime.bundle.manifest import (
    Calibration,
    CaptionErrorFit,
    Decisions,
    Graph,
    GroundingFit,
    ImageInput,
    Logistic,
    Manifest,
    MatchFit,
    NeighboursFit,
    OutputParity,
    Provenance,
    TensorSpec,
    TextInput,
    WordErrorFit,
    WordsTold,
)
from runtime.bundle.reader import Bundle, read_bundle
from runtime.bundle.writer import write_bundle

__all__ = [
    "Bundle",
    "Calibration",
    "CaptionErrorFit",
    "Decisions",
    "Graph",
    "GroundingFit",
    "ImageInput",
    "Logistic",
    "Manifest",
    "MatchFit",
    "NeighboursFit",
    "OutputParity",
    "Provenance",
    "TensorSpec",
    "TextInput",
    "WordErrorFit",
    "WordsTold",
    "read_bundle",
    "write_bundle",
]
