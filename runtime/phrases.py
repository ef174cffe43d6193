"""Phrases: the noun phrases of a text with their spans, found without a model.

A run of words between function words is taken for a phrase; a verb of the kind that captions use ends one. That is
coarse, but its spans are exact and it never needs a download. It is the one place that decides what a phrase is.
"""

from dataclasses import dataclass

from runtime.preprocess.text import Word, words

DETERMINERS = frozenset(
    "a an the this that these those some any each every another other both all no its his her their my your our "
    "several many few".split()
)
FUNCTION_WORDS = DETERMINERS | frozenset(
    "and or but with without of to in on at by for from into onto over under above below beside besides between behind "
    "through across along around near next inside outside against toward towards up down off out upon beneath "
    "underneath before after during while as than then there here is are was were be been being am has have had does "
    "do did can could will would should may might must it he she they we i you him them who which what where when "
    "whose that's there's it's not very while so also just front left right top bottom side middle".split()
)
_VERBS = frozenset(
    "stands stand sits sit runs run jumps jump walks walk plays play holds hold rides ride looks look wears wear "
    "catches catch leaps leap lies lie swims swim climbs climb carries carry throws throw stares stare smiles smile "
    "shows show appears appear contains contain see sees hangs hang rests rest eats eat drinks drink chases chase "
    "poses pose takes take makes make goes go comes come gets get watches watch pulls pull pushes push kicks "
    "kick".split()
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase of a text as sent: `text[start:end]`."""

    text: str
    start: int
    end: int


def noun_phrases(text: str) -> list[Phrase]:
    """Return the noun phrases of a text, in order, without their articles.

    Punctuation and function words end a phrase; a word in -ing that follows nothing is kept ("running water"), one
    that follows a noun ends the phrase ("a dog running"). A text with no content word gives an empty list.
    """
    found: list[Phrase] = []
    run: list[Word] = []

    def close() -> None:
        if run:
            found.append(Phrase(text[run[0].start : run[-1].end], run[0].start, run[-1].end))
            run.clear()

    for word in words(text):
        if run and text[run[-1].end : word.start].strip():
            close()
        lowered = word.text.lower()
        is_verb = lowered in _VERBS or (bool(run) and lowered.endswith("ing") and len(lowered) > 4)
        if lowered in FUNCTION_WORDS or is_verb:
            close()
        else:
            run.append(word)
    close()
    return found
