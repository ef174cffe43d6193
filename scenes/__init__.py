"""Drawn scenes: pictures that the project makes itself, with exact truth.

Every picture comes with a caption that is true, the boxes of every phrase, masks of the things, and minimal pairs on
both sides. This package knows nothing of models and never imports torch.
"""

from scenes.absent import absent_phrases
from scenes.caption import vocabulary
from scenes.edits import EDIT_KINDS, TRAINING_EDITS, UNSEEN_EDITS, ImageEdit, TextEdit, edit_caption, edit_image
from scenes.files import write, write_shards
from scenes.moving import MovingScene, generate_moving
from scenes.scene import SPLITS, Edge, PhraseBox, Scene, Thing, generate
from scenes.videos import write_videos
from scenes.world import World
from scenes.worlds import SMALL_WORLD, WORLD, WORLDS, world_named

__all__ = [
    "EDIT_KINDS",
    "SMALL_WORLD",
    "SPLITS",
    "TRAINING_EDITS",
    "UNSEEN_EDITS",
    "WORLD",
    "WORLDS",
    "Edge",
    "ImageEdit",
    "MovingScene",
    "PhraseBox",
    "Scene",
    "TextEdit",
    "Thing",
    "World",
    "absent_phrases",
    "edit_caption",
    "edit_image",
    "generate",
    "generate_moving",
    "vocabulary",
    "world_named",
    "write",
    "write_shards",
    "write_videos",
]
