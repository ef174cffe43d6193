"""Nothing is sent to anybody: ONNX Runtime's telemetry is off before its first session."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.vernier.colour_bundle import write_colour_bundle

ROOT = Path(__file__).resolve().parents[2]

LOAD_THE_BUNDLE = "from runtime.encoder import Encoder; Encoder.load(sys.argv[1]).embed_texts(['red'])"


def left_at_home(code: str, bundle: Path, home: Path) -> list[str]:
    """Run code with an empty home and return the files that it leaves there."""
    home.mkdir()
    switches = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI")
    environment = {name: value for name, value in os.environ.items() if name not in switches}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"import sys\n{code}", str(bundle)], env=environment, check=True, timeout=120)
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_no_device_is_named_and_no_uploader_made(tmp_path: Path) -> None:
    write_colour_bundle(tmp_path / "bundle")
    assert left_at_home(LOAD_THE_BUNDLE, tmp_path / "bundle", tmp_path / "home") == []
