"""A suite: several evaluations of one bundle, listed in a TOML file.

    images = "photos"                  # for every run that names no folder of its own

    [[run]]
    name = "Flickr8k dev"
    retrieval = "flickr8k/captions.jsonl"
    split = "dev"

    [[run]]
    name = "SugarCrepe"
    images = "coco/images"
    hard_negatives = "sugarcrepe.jsonl"

Paths are relative to the suite file. A run takes the files that `vernier eval` takes: `retrieval`, `hard_negatives`,
`grounding`, `image_pairs`, `judgements`, and `split` and `limit`. Unknown keys are refused.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evaluation.run import evaluate
from evaluation.sweep import Progress
from runtime.encoder import Encoder
from runtime.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """One evaluation of a suite; see `evaluation.run.evaluate` for what the fields mean.

    Attributes:
        name: what the run is called in the result; unique in the suite.
    """

    name: str
    images: Path
    retrieval: Path | None = None
    hard_negatives: Path | None = None
    grounding: Path | None = None
    image_pairs: Path | None = None
    judgements: Path | None = None
    split: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Evaluations that belong together, in the order of the file."""

    runs: tuple[SuiteRun, ...]


def load(path: Path | str) -> Suite:
    """Read a suite file.

    Raises:
        UsageError: the file cannot be read, is no TOML, or a key is unknown (the message says which was likely meant),
            missing, or of the wrong kind.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the suite {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the suite {path} is not valid TOML: {error}.") from error
    _refuse_unknown(content, ("images", "run"), f"the suite {path}")
    listed = content.get("run", [])
    if not isinstance(listed, list) or not listed or not all(isinstance(run, dict) for run in listed):
        raise UsageError(f"the suite {path} lists no run; give at least one [[run]].")
    shared = {"images": content["images"]} if "images" in content else {}
    runs = tuple(_run(run, shared, path, number) for number, run in enumerate(listed, start=1))
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the suite {path} has several runs named '{name}'; give each its own name.")
    return Suite(runs=runs)


def _run(given: Mapping[str, object], shared: Mapping[str, object], path: Path, number: int) -> SuiteRun:
    where = f"run {number} of the suite {path}"
    _refuse_unknown(given, [field.name for field in fields(SuiteRun)], where)
    values: dict[str, Any] = {"name": f"run {number}", **shared, **given}
    if "images" not in values:
        raise UsageError(f"{where} names no folder of `images`.")
    for key, value in values.items():
        if key == "limit":
            _check_kind(value, int, "a whole number", f"{where}: `{key}`")
            continue
        _check_kind(value, str, "a text", f"{where}: `{key}`")
        if key not in ("name", "split"):
            values[key] = path.parent / Path(str(value)).expanduser()
    return SuiteRun(**values)


def _check_kind(value: object, kind: type, called: str, where: str) -> None:
    if type(value) is not kind:  # not isinstance: True is no whole number
        raise UsageError(f"{where} must be {called}, not {value!r}.")


def _refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}."
            raise UsageError(f"{where}: unknown key `{key}`; {hint}")


def evaluate_suite(bundle: Path | str | Encoder, suite: Suite, *, progress: Progress | None = None) -> dict[str, Any]:
    """Evaluate a bundle on every run of a suite: `{"bundle": …, "runs": {name: result}}`.

    The bundle is loaded once. Progress starts anew with every run.

    Raises:
        VernierError: as `evaluation.run.evaluate`.
    """
    encoder = bundle if isinstance(bundle, Encoder) else Encoder.load(bundle)
    runs: dict[str, Any] = {}
    for run in suite.runs:
        runs[run.name] = evaluate(
            encoder,
            images=run.images,
            retrieval=run.retrieval,
            hard_negatives=run.hard_negatives,
            grounding=run.grounding,
            image_pairs=run.image_pairs,
            judgements=run.judgements,
            split=run.split,
            limit=run.limit,
            progress=progress,
        )
    described = next(iter(runs.values()))["bundle"]
    return {"bundle": described, "runs": {name: _without_bundle(result) for name, result in runs.items()}}


def _without_bundle(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "bundle"}
