"""TensorRT plans in a bundle: `engines/<compute capability>-trt<version>-<precision>/`, with a record of what they are.

A plan only runs on the kind of GPU and the version of TensorRT that built it, so both are in the folder's name. The
record is written last, after the plans agreed with ONNX Runtime: a folder without one is never served.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.bundle.digest import file_digest
from runtime.bundle.manifest import GraphName, OutputParity, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import EngineError

FOLDER, RECORD = "engines", "engines.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(_Part):
    """What a plan depends on: another value of any of these needs another plan."""

    graph: str
    tensorrt: str
    compute_capability: str
    precision: Precision


class Plan(_Part):
    """One plan: its file, the file's sha256, what it was built from and how it compares with ONNX Runtime."""

    file: str
    sha256: str
    key: Key
    batches: tuple[int, ...]
    parity: dict[str, OutputParity]


class Record(_Part):
    """The plans of a bundle for one kind of GPU and one version of TensorRT."""

    plans: dict[GraphName, Plan]


def key_of(bundle: Bundle, name: GraphName, *, tensorrt: str, compute_capability: str) -> Key:
    """Return the key of a graph's plan."""
    graph = bundle.manifest.graphs[name]
    return Key(
        graph=bundle.manifest.files[graph.file],
        tensorrt=tensorrt,
        compute_capability=compute_capability,
        precision=graph.precision,
    )


def folder_of(bundle: Bundle, *, tensorrt: str, compute_capability: str) -> Path:
    """Return where the plans for one kind of GPU and one version of TensorRT lie."""
    precisions = sorted({graph.precision for graph in bundle.manifest.graphs.values()})
    return bundle.directory / FOLDER / f"{compute_capability}-trt{tensorrt}-{'+'.join(precisions)}"


def has_plans(bundle: Bundle) -> bool:
    """Say whether engines were ever built for this bundle, for whatever machine."""
    return any((bundle.directory / FOLDER).glob(f"*/{RECORD}"))


def read_record(folder: Path) -> Record | None:
    """Return the record of a folder; None when it has none.

    Raises:
        EngineError: the record cannot be read.
    """
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        return Record.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise EngineError(f"{file} cannot be read ({error}). Run `vernier engines` again.") from error


def read_plan(bundle: Bundle, name: GraphName, *, tensorrt: str, compute_capability: str) -> tuple[Path, Plan]:
    """Return a graph's plan for this machine, found whole.

    Raises:
        EngineError: `provider_unavailable` when none was built for this GPU, this TensorRT and this graph;
            `engine_failed` when it is damaged.
    """
    folder = folder_of(bundle, tensorrt=tensorrt, compute_capability=compute_capability)
    record = read_record(folder)
    plan = record.plans.get(name) if record else None
    if plan is None or plan.key != key_of(bundle, name, tensorrt=tensorrt, compute_capability=compute_capability):
        others = sorted(path.parent.name for path in (bundle.directory / FOLDER).glob(f"*/{RECORD}"))
        raise EngineError(
            f"no TensorRT engine of {name} was built for this graph, a GPU of compute capability {compute_capability} "
            f"and TensorRT {tensorrt} (found: {', '.join(others) or 'none'}). "
            f"Run `vernier engines {bundle.directory}` on this machine.",
            code="provider_unavailable",
        )
    file = folder / plan.file
    if not file.is_file() or file_digest(file) != plan.sha256:
        raise EngineError(f"the engine {file} is missing or damaged. Run `vernier engines {bundle.directory}` again.")
    return file, plan
