"""`vernier engines`: TensorRT engines of a bundle, for the GPU of this machine."""

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.source import JsonOption


def engines(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory; engines go into its folder `engines`.")],
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="A batch size to build for; may be given several times. [1 8 32]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Build TensorRT engines on the GPU that will run them; those that disagree with ONNX Runtime are refused."""
    from vernier.cli.extras import needs
    from vernier.cli.output import note, say_json, say_table
    from vernier.progress import progress

    with needs("export"):
        from export.tensorrt import BATCHES, build_engines
    with progress("Building engines") as hook:
        report = build_engines(bundle, batches=batch or BATCHES, force=force, progress=hook)
    if json:
        say_json({"folder": str(report.folder), "built": list(report.built), **report.record.model_dump(mode="json")})
        return
    rows = [["graph", "output", "largest difference", "smallest cosine"]]
    for name, plan in report.record.plans.items():
        rows += [
            [name, key.partition(".")[2], f"{parity.largest_difference:.2e}", f"{parity.smallest_cosine:.6f}"]
            for key, parity in plan.parity.items()
        ]
    say_table(rows)
    note(f"{len(report.built)} engines built; {report.folder} is ready. `provider` auto or tensorrt takes them.")
