"""Drawn scenes: pictures that the project makes itself, with exact truth.

Every picture comes with a caption that is true, the box of every phrase, and minimal pairs on both sides. This
package knows nothing of models and never imports torch.
"""

from scenes.caption import vocabulary
from scenes.generate import SPLITS, PhraseBox, Scene, Thing, generate

__all__ = ["SPLITS", "PhraseBox", "Scene", "Thing", "generate", "vocabulary"]
