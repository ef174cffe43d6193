"""A suite: several evaluations of one bundle, listed in a TOML file.

    images = "photos"                  # for every run that names no folder of its own

    [[run]]
    name = "Flickr8k dev"
    retrieval = "flickr8k/captions.jsonl"
    split = "dev"

    [[run]]
    name = "SugarCrepe"
    images = "coco/val2017"
    format = "sugarcrepe"              # a public dataset in its own layout; see `evaluation.public`
    path = "sugar-crepe/data"

Paths are relative to the suite file, or to a folder of data that is named beside it. A run takes the files that
`vernier eval` takes (`retrieval`, `hard_negatives`, `grounding`, `image_pairs`, `judgements`, `statements`, `mentions`,
`occlusions`, `near_duplicates`), or
`format` and `path`; and `split` and `limit`. Unknown keys are refused.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from evaluation.public import FORMATS, read
from evaluation.run import OnItems, evaluate, evaluate_rows
from evaluation.sweep import Progress
from runtime.encoder import Encoder
from runtime.errors import UsageError

_PROBES = ("mentions", "occlusions", "near_duplicates")
_FILES = ("retrieval", "hard_negatives", "grounding", "image_pairs", "judgements", "statements", *_PROBES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """One evaluation of a suite; see `evaluation.run.evaluate` for what the fields mean.

    Attributes:
        name: what the run is called in the result; unique in the suite.
        format: a public dataset's layout, of `evaluation.public.FORMATS`; then no other file is named.
        path: the file or folder in that layout.
    """

    name: str
    images: Path
    retrieval: Path | None = None
    hard_negatives: Path | None = None
    grounding: Path | None = None
    image_pairs: Path | None = None
    judgements: Path | None = None
    statements: Path | None = None
    mentions: Path | None = None
    occlusions: Path | None = None
    near_duplicates: Path | None = None
    format: str | None = None
    path: Path | None = None
    split: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Evaluations that belong together, in the order of the file."""

    runs: tuple[SuiteRun, ...]


def load(path: Path | str, *, data: Path | str | None = None) -> Suite:
    """Read a suite file.

    Args:
        path: the file.
        data: the folder that the paths in it are relative to; that of the suite file when left out.

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
    folder = path.parent if data is None else Path(data)
    runs = tuple(
        _run(run, shared, folder, f"run {number} of the suite {path}", name=f"run {number}")
        for number, run in enumerate(listed, start=1)
    )
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the suite {path} has several runs named '{name}'; give each its own name.")
    return Suite(runs=runs)


def _run(given: Mapping[str, object], shared: Mapping[str, object], folder: Path, where: str, *, name: str) -> SuiteRun:
    _refuse_unknown(given, [field.name for field in fields(SuiteRun)], where)
    values: dict[str, Any] = {"name": name, **shared, **given}
    if "images" not in values:
        raise UsageError(f"{where} names no folder of `images`.")
    for key, value in values.items():
        if key == "limit":
            _check_kind(value, int, "a whole number", f"{where}: `{key}`")
            if value < 1:
                raise UsageError(f"{where}: `{key}` must be at least 1, not {value}.")
            continue
        _check_kind(value, str, "a text", f"{where}: `{key}`")
        if key not in ("name", "split", "format"):
            values[key] = folder / Path(str(value)).expanduser()
    _check_format(values, where)
    return SuiteRun(**values)


def _check_format(given: Mapping[str, object], where: str) -> None:
    if ("format" in given) != ("path" in given):
        raise UsageError(f"{where}: `format` and `path` go together.")
    files = [key for key in _FILES if key in given]
    if "format" not in given:
        if not files:
            raise UsageError(f"{where} names nothing to evaluate; give at least one of {', '.join(_FILES)}.")
        return
    if given["format"] not in FORMATS:
        close = difflib.get_close_matches(str(given["format"]), FORMATS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(FORMATS)}."
        raise UsageError(f"{where}: unknown format '{given['format']}'; {hint}")
    if files:
        raise UsageError(f"{where}: a run with a `format` takes no other file; leave `{files[0]}` out.")


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


def evaluate_suite(
    bundle: Path | str | Encoder,
    suite: Suite,
    *,
    num_threads: int = 0,
    progress: Progress | None = None,
    on_items: OnItems | None = None,
) -> dict[str, Any]:
    """Evaluate a bundle on every run of a suite: `{"bundle": …, "runs": {name: result}}`.

    The bundle is loaded once. Progress starts anew with every run; items say which run they are of.

    Raises:
        VernierError: as `evaluation.run.evaluate`.
    """
    encoder = bundle if isinstance(bundle, Encoder) else Encoder.load(bundle, num_threads=num_threads)
    runs: dict[str, Any] = {}
    for run in suite.runs:
        runs[run.name] = _evaluate(encoder, run, progress, _of_run(run.name, on_items))
    described = next(iter(runs.values()))["bundle"]
    return {"bundle": described, "runs": {name: _without_bundle(result) for name, result in runs.items()}}


def _of_run(name: str, on_items: OnItems | None) -> OnItems | None:
    if on_items is None:
        return None
    return lambda items: on_items(replace(item, run=name) for item in items)


def _evaluate(encoder: Encoder, run: SuiteRun, progress: Progress | None, on_items: OnItems | None) -> dict[str, Any]:
    if run.format is not None and run.path is not None:
        rows = read(run.format, run.path, split=run.split).first(run.limit)
        return evaluate_rows(encoder, rows, images=run.images, progress=progress, on_items=on_items)
    return evaluate(
        encoder,
        images=run.images,
        retrieval=run.retrieval,
        hard_negatives=run.hard_negatives,
        grounding=run.grounding,
        image_pairs=run.image_pairs,
        judgements=run.judgements,
        statements=run.statements,
        mentions=run.mentions,
        occlusions=run.occlusions,
        near_duplicates=run.near_duplicates,
        split=run.split,
        limit=run.limit,
        progress=progress,
        on_items=on_items,
    )


def _without_bundle(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "bundle"}
