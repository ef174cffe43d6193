"""The command line as scripts call it: commands, flags, exit statuses; and that asking for help is cheap."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from vernier.cli import app

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = {
    "serve": {"--bundle", "--gallery", "--host", "--port"},
    "index add": {
        "gallery", "pictures", "--bundle", "--images", "--captions-as-text", "--picture-px", "--patch-tokens", "--json",
    },
    "index stats": {"gallery", "--near-duplicates", "--json"},
    "index verify": {"gallery", "--json"},
    "index compact": {"gallery", "--json"},
    "index rebuild": {"gallery", "--json"},
    "index features": {"gallery", "--bundle", "--patch-tokens", "--again", "--json"},
    "index tune": {"gallery", "--vectors", "--kind", "--json"},
    "index import-clip": {"gallery", "folder", "--bundle", "--images", "--trust", "--json"},
    "index copy": {"source", "destination", "--json"},
    "index migrate": {"gallery", "--bundle", "--rollback", "--discard", "--url", "--api-key"},
    "search": {
        "text", "--image", "--url", "--gallery", "--bundle", "--top-k", "--target", "--filter", "--rerank",
        "--min-match", "--explain", "--pictures", "--api-key", "--json",
    },
    "ground": {
        "image", "phrases", "--out", "--heat", "--top-k", "--threshold", "--budget", "--url", "--bundle",
        "--pictures", "--api-key", "--json",
    },
    "proofread": {"image", "texts", "--suggestions", "--threshold", "--url", "--bundle", "--api-key", "--json"},
    "audit": {"captions", "--images", "--bundle", "--out", "--threshold", "--worst", "--json"},
    "scenes": {
        "out", "--count", "--seed", "--split", "--world", "--size", "--shards", "--probes", "--videos", "--json"
    },
    "train": {
        "--recipe", "--data", "--workdir", "--resume", "--max-steps", "--quiet", "--seed", "--num-steps",
        "--start-from", "--json",
    },
    "export": {
        "checkpoint", "--out", "--precision", "--data", "--validation", "--images", "--name", "--json",
    },
    "engines": {"bundle", "--batch", "--force", "--json"},
    "import": {"source", "--out", "--precision", "--validation", "--images", "--name", "--json"},
    "eval": {
        "bundle", "--suite", "--retrieval", "--hard-negatives", "--grounding", "--judgements", "--image-pairs",
        "--statements", "--mentions", "--occlusions", "--near-duplicates", "--detection", "--images", "--split",
        "--limit", "--data", "--json", "--items", "--report", "--ground-budget", "--threads",
    },
    "doctor": {"--bundle", "--gallery", "--host", "--port", "--json"},
}  # fmt: skip

HEAVY = ("torch", "transformers", "numpy", "onnxruntime", "faiss", "fastapi", "httpx", "PIL", "tokenizers")


def run(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def vernier(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(
        f"import sys; sys.argv = ['vernier', *{list(arguments)!r}]; from vernier.cli import main; main()", cwd=cwd
    )


def flags_of(command: typer.main.TyperCommand | object) -> set[str]:
    names = {name for parameter in command.params for name in (parameter.opts or [parameter.name])}  # type: ignore[attr-defined]
    return {name for name in names if name not in ("--help", "-h")}


def test_commands_and_flags_are_as_promised() -> None:
    group = typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            found |= {f"{name} {inner}": flags_of(part) for inner, part in command.commands.items()}
        else:
            found[name] = flags_of(command)
    assert found == COMMANDS


def test_all_that_print_a_result_take_json() -> None:
    without = {name for name, flags in COMMANDS.items() if "--json" not in flags}
    assert without == {"serve", "index migrate"}  # neither prints one


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["eval", "--help"], ["index", "add", "--help"]])
def test_help_loads_no_stage(arguments: list[str], tmp_path: Path) -> None:
    ran = run(
        f"""
import sys
sys.argv = ["vernier", *{arguments!r}]
from vernier.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
print("loaded:", sorted(set(sys.modules) & set({HEAVY!r})))
""",
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "loaded: []"
    assert "Usage" in ran.stdout


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    ran = run(f"import sys, numpy; print(sorted(set(sys.modules) & set({HEAVY!r})))", cwd=tmp_path)
    assert "numpy" in ran.stdout


def test_help_of_serve_lists_every_setting(tmp_path: Path) -> None:
    from server.settings import PREFIX, Settings

    ran = vernier("serve", "--help", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    for name in Settings.model_fields:
        assert f"{PREFIX}{name.upper()}" in ran.stdout


def test_what_serving_commands_load_holds_no_torch(tmp_path: Path) -> None:
    ran = run(
        """
import sys, vernier, vernier.demo, vernier.doctor, server.run
from vernier import Client
from vernier.cli import doctor, eval, ground, index, proofread, scenes, search, serve
print(sorted(name for name in ("torch", "transformers", "onnx") if name in sys.modules))
""",
        cwd=tmp_path,
    )
    assert ran.stdout.strip() == "[]", ran.stderr


def test_exit_statuses(tmp_path: Path) -> None:
    assert vernier("--help", cwd=tmp_path).returncode == 0
    for call in (
        [],
        ["nothing"],
        ["scenes"],
        ["search"],
        ["scenes", "x", "--count", "1", "--seed", "1", "--split", "x"],
    ):
        wrong = vernier(*call, cwd=tmp_path)
        assert wrong.returncode == 2, (call, wrong)
    failed = vernier("index", "stats", "missing", cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("vernier: there is no gallery at missing")
    assert failed.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['vernier', 'doctor', '--json']; from vernier.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read().decode()
        running.wait(timeout=120)
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_the_public_names() -> None:
    import vernier

    assert vernier.__all__ == sorted(vernier.__all__)
    for name in vernier.__all__:
        assert getattr(vernier, name) is not None
    with pytest.raises(AttributeError):
        _ = vernier.Nothing
