"""`vernier eval`: what a bundle is worth, measured through the runtime that serves it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.errors import UsageError

_File = Path | None


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    images: Annotated[
        _File, typer.Option(metavar="DIR", help="The folder that pictures are named relative to.")
    ] = None,
    suite: Annotated[_File, typer.Option(metavar="FILE", help="A TOML file that lists several evaluations.")] = None,
    retrieval: Annotated[_File, typer.Option(metavar="FILE", help="Pictures with their captions.")] = None,
    hard_negatives: Annotated[_File, typer.Option(metavar="FILE", help="Captions beside wrong ones.")] = None,
    grounding: Annotated[_File, typer.Option(metavar="FILE", help="Phrases with their boxes.")] = None,
    judgements: Annotated[_File, typer.Option(metavar="FILE", help="Captions that people have judged.")] = None,
    image_pairs: Annotated[_File, typer.Option(metavar="FILE", help="Pictures that differ in one thing.")] = None,
    statements: Annotated[_File, typer.Option(metavar="FILE", help="Statements that are true or false.")] = None,
    split: Annotated[str | None, typer.Option(help="Keep only the retrieval rows of this split.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="At most the first N rows of each file.")] = None,
    json: Annotated[_File, typer.Option("--json", metavar="OUT", help="Write the numbers there, as JSON.")] = None,
) -> None:
    """Evaluate a bundle on JSON-lines files, or on a suite of them."""
    from evaluation.report import render
    from vernier.cli.output import say

    files = {
        "retrieval": retrieval,
        "hard_negatives": hard_negatives,
        "grounding": grounding,
        "judgements": judgements,
        "image_pairs": image_pairs,
        "statements": statements,
    }
    given = {name: file for name, file in files.items() if file is not None}
    if suite is not None:
        if given or images or split or limit:
            raise UsageError("a suite names its files itself; leave --images, --split, --limit and the files out.")
        result = _evaluate_suite(bundle, suite)
    else:
        result = _evaluate(bundle, given, images=images, split=split, limit=limit)
    say(render(result).rstrip())
    if json is not None:
        _write_json(json, result)


def _evaluate(
    bundle: Path, files: dict[str, Path], *, images: Path | None, split: str | None, limit: int | None
) -> dict[str, Any]:
    from evaluation.run import evaluate
    from vernier.cli.progress import progress

    if not files:
        raise UsageError("there is nothing to evaluate; name --suite, or at least one file such as --retrieval.")
    if images is None:
        raise UsageError("name the folder of the pictures with --images.")
    with progress("Evaluating") as hook:
        return evaluate(bundle, images=images, **files, split=split, limit=limit, progress=hook)


def _evaluate_suite(bundle: Path, suite: Path) -> dict[str, Any]:
    from evaluation.suite import evaluate_suite, load
    from vernier.cli.progress import progress

    listed = load(suite)
    with progress("Evaluating") as hook:
        return evaluate_suite(bundle, listed, progress=hook)


def _write_json(out: Path, result: dict[str, Any]) -> None:
    import json

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
