"""Phrases: the noun phrases of an English text with their spans, found by word lists and a few rules, without a model.

It is the one place that decides what a phrase is: `/ground` with a text, `explain`, a gallery's words and training ask
it. What it does:

- A phrase is a run of adjectives and nouns, without its article: "a *small red star*", "*golf ball*", "*man's hat*".
- What cuts runs: punctuation, function words, verbs, and participles that follow a noun ("a *dog* running").
- "of" after what measures or gathers joins: "*group of people*", "*bowl of hot soup*". After anything else it cuts.
- Adjectives joined by "and" or commas stay together: "a *black and white dog*", "two *big, heavy boxes*". Nouns do not:
  "*cat* and *dog*".
- Words of place are no things: "left of", "on the top of", "in the background". Before a noun they are adjectives: "the
  *top shelf*".
- Words for the picture itself are no things in it: "a black and white picture of a *dog*".

What it does not do: it has no parser and no part-of-speech tagger. A verb that is in no list and ends in nothing that
tells it from a noun stays in the phrase, a noun in the list of verbs is lost where no article or adjective precedes
it, a participle clause is never attached, and any other language is cut at punctuation alone. Spans are exact always.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.preprocess.text import Word, words

DETERMINERS = frozenset(
    "a an the this that these those some any each every another other both all no its his her their my your "
    "our several many few".split()
)
_PLACES = frozenset("front left right top bottom side middle back center centre edge corner".split())
FUNCTION_WORDS = (
    DETERMINERS
    | (_PLACES - {"back", "center", "centre", "edge", "corner"})
    | frozenset(
        "and or but with without of to in on at by for from into onto over under above below beside besides "
        "between behind through across along around near next inside outside against toward towards up down "
        "off out upon beneath underneath before after during while as than then there here is are was were be "
        "been being am has have had does do did can could will would should may might must it he she they we "
        "i you him them who which what where when whose that's there's it's not very while so also just".split()
    )
)
_CUTS = (FUNCTION_WORDS - _PLACES) | frozenset(
    "together elsewhere away apart close farther further among amid past per via like either neither nor too "
    "only within well partly far something someone anything nothing everything somebody itself himself "
    "herself themselves now today".split()
)
_PICTURES = frozenset(
    "picture pictures photo photos photograph photographs image images drawing painting illustration snapshot "
    "shot close-up closeup view scene background foreground distance".split()
)
_GATHERS = frozenset(
    "group groups crowd pair pairs couple bunch herd flock row rows line pile stack piece pieces slice slices "
    "cup cups glass glasses bowl bowls plate plates bottle bottles box boxes bag bags basket baskets can cans "
    "jar jars set lot lots bouquet bucket sheet pack team body bodies stream".split()
)
_ADJECTIVES = frozenset(
    "red green blue yellow purple orange black white brown pink gray grey golden gold silver tan beige teal "
    "cyan violet maroon navy turquoise lavender crimson scarlet olive indigo magenta big small large little "
    "tiny huge tall short long wide narrow thin thick fat heavy light dark bright pale old young new modern "
    "wooden metal metallic plastic empty full open closed wet dry hot cold warm clean dirty round square flat "
    "high low deep steep sandy rocky grassy snowy muddy busy colorful colourful striped spotted dotted "
    "checkered plaid plain solid hollow blond blonde bald beautiful pretty happy sad smiling male female "
    "elderly giant massive enormous medium miniature outdoor indoor one two three four five six seven eight "
    "nine ten dozen".split()
)
_VERBS = frozenset(
    form
    for verb in (
        "stand sit run jump walk play hold ride look wear catch leap lie swim climb carry throw stare smile "
        "show appear contain see hang rest eat drink chase pose take make go come get watch pull push kick "
        "put draw bite lean leave perform try prepare dance fly splash retrieve reach laugh talk speak sleep "
        "travel surf hit grab pass attempt enjoy use give wait read sing turn surround sniff wrestle gather "
        "slide dig swing shake lick touch help bring keep move stop start"
    ).split()
    for form in (verb, f"{verb}s", f"{verb}es")
) | frozenset(
    "sat ran rode held wore caught leapt lay swam threw showed saw hung ate drank took made went came got "
    "drew drawn seen worn held taken made dressed seated hidden placed carries tries flies lies".split()
)
_VERBS_BEFORE_ARTICLES = frozenset(
    form
    for verb in "scale cross face cover race roll feed float dive land stick point skate work climb lead".split()
    for form in (verb, f"{verb}s", f"{verb}es")
)
"""As often nouns: taken for verbs before an article alone."""

_FORMS_OF_BE = frozenset("is are was were has have".split())
_BEFORE_PARTICIPLES = _FORMS_OF_BE | frozenset("be been being while when and".split())
_NOUNS_IN_ED = frozenset("breed steed speed tweed hundred".split())


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase of a text as sent: `text[start:end]`."""

    text: str
    start: int
    end: int


def noun_phrases(text: str) -> list[Phrase]:
    """Return the noun phrases of a text, in order, without their articles; see this module for the rules.

    No two overlap. A text with no content word gives an empty list.
    """
    listed = words(text)
    runs = _joined(text, listed, _runs(text, listed))
    found = []
    for first, last in runs:
        start, end = listed[first].start, listed[last].end
        found.append(Phrase(text[start:end], start, end))
    return found


def _runs(text: str, listed: Sequence[Word]) -> list[tuple[int, int]]:
    """Runs of words that no rule cuts, as numbers of their first and last word."""
    lowered = [word.text.lower() for word in listed]
    found: list[tuple[int, int]] = []
    first: int | None = None
    for at, word in enumerate(listed):
        if first is not None and text[listed[at - 1].end : word.start].strip():
            found.append((first, at - 1))
            first = None
        goes_on = at + 1 < len(listed) and not text[word.end : listed[at + 1].start].strip()
        if _cuts(lowered, at, first, follows=lowered[at + 1] if goes_on else ""):
            if first is not None:
                found.append((first, at - 1))
            first = None
        elif first is None:
            first = at
    if first is not None:
        found.append((first, len(listed) - 1))
    return found


def _cuts(lowered: Sequence[str], at: int, first: int | None, *, follows: str) -> bool:
    """Say whether a word is in no phrase.

    Args:
        lowered: all words.
        at: which one is asked about.
        first: where the run begins that it would go on; None where it would begin one.
        follows: the word after it, where nothing stands between them.
    """
    word, before = lowered[at], lowered[at - 1] if at > 0 else ""
    if word in _CUTS or follows == "than":
        return True
    is_before_noun = bool(follows) and not (follows in _CUTS or follows in _PLACES or follows in _VERBS)
    has_noun = first is not None and any(earlier not in _ADJECTIVES for earlier in lowered[first:at])
    if word in _PLACES:
        return has_noun or not (is_before_noun and before in DETERMINERS)
    if word in _VERBS_BEFORE_ARTICLES and follows in DETERMINERS:
        return has_noun
    if word in _VERBS:
        return follows not in _FORMS_OF_BE and (has_noun or (first is None and before not in DETERMINERS))
    if word.endswith("ing") and len(word) > 4:
        is_doing = follows in DETERMINERS or before in _BEFORE_PARTICIPLES
        opens_a_clause = at > 0 and before not in _CUTS  # it stands after punctuation
        is_verb = word[:-3] in _VERBS and before not in DETERMINERS and (opens_a_clause or not is_before_noun)
        return has_noun or (first is None and (is_doing or is_verb))
    if word.endswith("ed") and len(word) > 4:
        return not is_before_noun and word not in _NOUNS_IN_ED
    return word.endswith("ly") and len(word) > 4 and (has_noun or (first is None and not is_before_noun))


def _joined(text: str, listed: Sequence[Word], runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what "of" and coordinated adjectives hold together, and leave out words for the picture itself."""
    joined: list[tuple[int, int]] = []
    for run in runs:
        if joined and _belong_together(text, listed, joined[-1], run):
            joined[-1] = (joined[-1][0], run[1])
        else:
            joined.append(run)
    return [run for run in joined if not _is_of_the_picture(listed, run) and not _is_only_a_place(listed, run)]


def _belong_together(text: str, listed: Sequence[Word], one: tuple[int, int], other: tuple[int, int]) -> bool:
    between = [word.text.lower() for word in listed[one[1] + 1 : other[0]]]
    gap = text[listed[one[1]].end : listed[other[0]].start].strip().lower()
    last, after = listed[one[1]].text.lower(), [word.text.lower() for word in listed[other[0] : other[1] + 1]]
    if between == ["of"] and gap == "of":
        return last in _GATHERS
    is_described = all(word.text.lower() in _ADJECTIVES for word in listed[one[0] : one[1] + 1])
    describes = after[0] in _ADJECTIVES and any(word not in _ADJECTIVES for word in after)
    return is_described and describes and gap in ("and", "or", ",", ", and")


def _is_of_the_picture(listed: Sequence[Word], run: tuple[int, int]) -> bool:
    if listed[run[1]].text.lower() not in _PICTURES:
        return False
    is_of = run[1] + 1 < len(listed) and listed[run[1] + 1].text.lower() == "of"
    return run[0] == run[1] or is_of


def _is_only_a_place(listed: Sequence[Word], run: tuple[int, int]) -> bool:
    return all(word.text.lower() in _PLACES for word in listed[run[0] : run[1] + 1])
