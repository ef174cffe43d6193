"""`vernier proofread`: the words of a text, or of several, that are wrong of a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import VernierError
from vernier.cli.source import ApiKeyOption, BundleOption, JsonOption, Source, UrlOption

if TYPE_CHECKING:
    from vernier.client.models import Problem, ProofreadText


def proofread(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    texts: Annotated[list[str], typer.Argument(help="What is claimed of it; each text is judged by itself.")],
    suggestions: Annotated[int, typer.Option(metavar="N", help="Most suggestions per wrong word.", min=0)] = 3,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", help="Probability from which a word is wrong.", min=0, max=1)
    ] = None,
    url: UrlOption = None,
    bundle: BundleOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Check texts against a picture, word by word. The picture is looked at once."""
    from vernier.cli.output import say_json

    source = Source(url=url, api_key=api_key, bundle=bundle)
    if len(texts) == 1:
        (text,) = texts
        answer = source.ask(lambda client: client.proofread(image, text, suggestions=suggestions, threshold=threshold))
        if json:
            say_json(answer.model_dump(mode="json", exclude_none=True))
        else:
            _say(answer, text)
        return
    answers = source.ask(
        lambda client: client.proofread_all(image, texts, suggestions=suggestions, threshold=threshold)
    )
    if json:
        say_json({"results": [answer.model_dump(mode="json", exclude_none=True) for answer in answers]})
    else:
        _say_all(answers, texts)
    if bad := sum(hasattr(answer, "code") for answer in answers):
        raise VernierError(f"{bad} of {len(texts)} texts could not be judged.")


def _say_all(answers: "list[ProofreadText | Problem]", texts: list[str]) -> None:
    from vernier.cli.output import note, say
    from vernier.client.models import Problem

    for number, (answer, text) in enumerate(zip(answers, texts, strict=True)):
        if number:
            say()
        say(f"{text}:")
        if isinstance(answer, Problem):
            note(f"{text!r} could not be judged: {answer.detail or answer.code}")
        else:
            _say(answer, text)


def _say(answer: "ProofreadText", text: str) -> None:
    from vernier.cli.output import Coloured, say, say_table

    say_table(
        [
            [
                Coloured("wrong" if word.is_error else "", "red"),
                f"{word.error_probability:.2f}",
                Coloured(word.word, "red") if word.is_error else word.word,
                ", ".join(f"{suggestion.word} ({suggestion.probability:.2f})" for suggestion in word.suggestions),
            ]
            for word in answer.words
        ]
    )
    say(f"match: {answer.match:.3f}")
    if answer.corrected_text != text:
        say(f"corrected: {answer.corrected_text}")
