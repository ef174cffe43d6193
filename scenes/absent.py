"""Phrases of things that are not in a picture: what a grounding must refuse."""

from scenes.scene import Scene


def absent_phrases(scene: Scene, other: Scene) -> list[str]:
    """Return the phrases of another scene's caption that name a kind and colour which nothing in this scene has.

    A caption always says kind and colour, so whatever else such a phrase says, it is of nothing here.
    """
    here = {thing.look.combination for thing in scene.objects}
    return [phrase.text for phrase in other.phrases if other.objects[phrase.thing].look.combination not in here]
