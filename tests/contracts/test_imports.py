"""Serving never loads torch, and a stage is imported only when its command runs."""

import subprocess
import sys

import pytest

FORBIDDEN = ("torch", "transformers", "onnx")


def loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter and return which forbidden modules it loaded."""
    code = f"{statement}\nimport sys\nprint(*(name for name in {FORBIDDEN!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["server.app", "index", "evaluation", "evaluation.run", "runtime.encoder", "scenes"])
def test_serving_packages_do_not_load_torch(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_the_command_line_loads_no_stage_by_itself() -> None:
    assert loaded_by("import vernier.cli") == set()


def test_training_needs_little_installed() -> None:
    """Neither what serves nor what only some data or some reports need."""
    absent = ("pydantic", "fastapi", "fsspec", "tensorboard", "onnx", "faiss")
    code = f"import sys\nsys.modules |= dict.fromkeys({absent!r})\n"
    code += "import training.train, training.recipes.baseline, training.data.found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_this_test_can_fail() -> None:
    assert "torch" in loaded_by("import torch")
