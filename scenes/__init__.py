"""Drawn scenes: pictures that the project makes itself, with exact truth.

Every picture comes with a caption that is true, the box of every phrase, and minimal pairs on both sides. This
package knows nothing of models and never imports torch.
"""

from scenes.caption import vocabulary
from scenes.edits import EDIT_KINDS, ImageEdit, TextEdit, edit_caption, edit_image
from scenes.files import write
from scenes.scene import SPLITS, PhraseBox, Scene, Thing, generate

__all__ = [
    "EDIT_KINDS",
    "SPLITS",
    "ImageEdit",
    "PhraseBox",
    "Scene",
    "TextEdit",
    "Thing",
    "edit_caption",
    "edit_image",
    "generate",
    "vocabulary",
    "write",
]
