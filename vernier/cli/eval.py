"""`vernier eval`: what a bundle is worth, measured through the runtime that serves it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluation.items import Item

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
    mentions: Annotated[_File, typer.Option(metavar="FILE", help="Phrases within captions, with their boxes.")] = None,
    occlusions: Annotated[_File, typer.Option(metavar="FILE", help="Pictures with their main thing covered.")] = None,
    near_duplicates: Annotated[_File, typer.Option(metavar="FILE", help="Pictures beside almost equal ones.")] = None,
    detection: Annotated[
        _File, typer.Option(metavar="FILE", help="Classes with their boxes, as COCO has them.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Keep only the retrieval rows of this split.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="At most the first N rows of each file.")] = None,
    data: Annotated[
        _File, typer.Option(metavar="DIR", help="What a suite's paths are relative to, in place of its own folder.")
    ] = None,
    json: Annotated[
        _File, typer.Option("--json", metavar="OUT", help="Write the numbers there, as JSON; - prints them.")
    ] = None,
    items: Annotated[
        _File, typer.Option(metavar="OUT", help="Write what became of each item there, as JSON lines.")
    ] = None,
    report: Annotated[
        _File, typer.Option(metavar="OUT", help="Write a page of tables and plots there, as HTML.")
    ] = None,
    ground_budget: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Masked pictures to look at for each picture that is grounded in, where the bundle is two encoders "
            "alone; 0 grounds by the similarity of patches.",
            min=0,
        ),
    ] = 0,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Threads of the model; 0 leaves it to the engine.", min=0)
    ] = 0,
) -> None:
    """Evaluate a bundle on JSON-lines files, or on a suite of them."""
    from evaluation.items import write_items
    from evaluation.report import render
    from vernier.cli.output import say

    files = {
        "retrieval": retrieval,
        "hard_negatives": hard_negatives,
        "grounding": grounding,
        "judgements": judgements,
        "image_pairs": image_pairs,
        "statements": statements,
        "mentions": mentions,
        "occlusions": occlusions,
        "near_duplicates": near_duplicates,
        "detection": detection,
    }
    given = {name: file for name, file in files.items() if file is not None}
    write_page = _page_writer() if report is not None else None
    if detection is not None:
        _check_detection()
    found: list[Item] = []
    if suite is not None:
        if given or images or split or limit or ground_budget:
            raise UsageError(
                "a suite names its files itself; leave --images, --split, --limit, --ground-budget and the files out."
            )
        result, pictures = _evaluate_suite(bundle, suite, data=data, threads=threads, found=found)
    elif data is not None:
        raise UsageError("--data is what a suite's paths are relative to; name a --suite too.")
    else:
        if not given:
            raise UsageError("there is nothing to evaluate; name --suite, or at least one file such as --retrieval.")
        if images is None:
            raise UsageError("name the folder of the pictures with --images.")
        result = _evaluate(
            bundle,
            given,
            images=images,
            split=split,
            limit=limit,
            ground_budget=ground_budget,
            threads=threads,
            found=found,
        )
        pictures = {"": images}
    if json != Path("-"):
        say(render(result).rstrip())
    if items is not None:
        write_items(items, found)
    if report is not None and write_page is not None:
        write_page(report, result, found, pictures=pictures)
    if json is not None:
        _write_json(json, result)


def _page_writer() -> "Callable[..., None]":
    """What writes the page; asked for first, so that a missing library is said before the work and not after it."""
    from vernier.cli.extras import needs

    with needs("plots"):
        from evaluation.page import write_page
    return write_page


def _check_detection() -> None:
    """Ask for what counts detections before the work."""
    from vernier.cli.extras import needs

    with needs("detection"):
        import pycocotools.cocoeval  # noqa: F401


def _evaluate(
    bundle: Path,
    files: dict[str, Path],
    *,
    images: Path,
    split: str | None,
    limit: int | None,
    ground_budget: int,
    threads: int,
    found: "list[Item]",
) -> dict[str, Any]:
    from evaluation.run import evaluate
    from vernier.progress import progress

    with progress("Evaluating") as hook:
        return evaluate(
            bundle,
            images=images,
            **files,
            split=split,
            limit=limit,
            ground_budget=ground_budget,
            num_threads=threads,
            progress=hook,
            on_items=found.extend,
        )


def _evaluate_suite(
    bundle: Path, suite: Path, *, data: Path | None, threads: int, found: "list[Item]"
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The result, and the folder of pictures of each run."""
    from evaluation.suite import evaluate_suite, load
    from vernier.progress import progress

    listed = load(suite, data=data)
    with progress("Evaluating") as hook:
        result = evaluate_suite(bundle, listed, num_threads=threads, progress=hook, on_items=found.extend)
    return result, {run.name: run.images for run in listed.runs}


def _write_json(out: Path, result: dict[str, Any]) -> None:
    import json

    from vernier.cli.output import say_json

    if out == Path("-"):
        say_json(result)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
