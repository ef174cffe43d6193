"""The GPU builds of FAISS without a GPU: every name that is used exists, and the CPU's part passes its tests.

`scripts/faiss_gpu.sh` and `scripts/faiss_gpu.sh faiss-gpu-cuvs` bring the two builds; without them these are skipped.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import find_card

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ("faiss-gpu", "faiss-gpu-cuvs")
SOURCE = ROOT / "index" / "card_kinds.py"
OF_CUVS = {"GpuIndexCagra", "GpuIndexCagraConfig", "SearchParametersCagra"}

SET_ON = {"_flat": "GpuIndexFlatConfig", "_ivf_pq": "GpuIndexIVFPQConfig", "_cagra": "GpuIndexCagraConfig"}
"""What the variable `config` of these functions is."""

LOOK = """
import json, faiss
kinds = [n for n in dir(faiss) if isinstance(getattr(faiss, n), type)]
print(json.dumps({"": dir(faiss), **{n: dir(getattr(faiss, n)) for n in kinds}}))
"""


def home_of(build: str) -> Path:
    """The folder that `scripts/faiss_gpu.sh` made for a build."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vernier-tests"
    home = Path(os.environ.get("VERNIER_FAISS_GPU_HOME", cache)) / f"{build}-1.15.1"
    if not (home / ".ready").is_file():
        pytest.skip(f"{build} is not here (`scripts/faiss_gpu.sh {build}` fetches it)")
    return home


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def uses() -> tuple[set[str], set[tuple[str, str]]]:
    """Names that the file asks of FAISS, and (class, attribute) of what it sets on configurations."""
    names: set[str] = set()
    attributes = {("SearchParametersCagra", "itopk_size"), ("GpuIndexIVFPQ", "cp")}
    tree = ast.parse(SOURCE.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "faiss":
            names.add(node.attr)
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in SET_ON]:
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "config":
                attributes.add((SET_ON[function.name], node.attr))
    return names, attributes


@pytest.mark.parametrize("build", BUILDS)
def test_every_name_exists(build: str) -> None:
    ran = run(home_of(build), "-c", LOOK)
    assert ran.returncode == 0, ran.stderr
    there: dict[str, list[str]] = json.loads(ran.stdout)
    names, attributes = uses()
    assert {"GpuIndexFlatIP", "GpuIndexIVFPQ", "GpuIndexCagra", "StandardGpuResources"} <= names
    assert ("GpuIndexFlatConfig", "useFloat16") in attributes
    absent = set() if build == "faiss-gpu-cuvs" else OF_CUVS
    assert {name for name in names if name not in there[""]} == absent
    assert [pair for pair in sorted(attributes) if pair[0] not in absent and pair[1] not in there[pair[0]]] == []


@pytest.mark.skipif(find_card() is not None, reason="there is a GPU: tests/gpu uses it")
@pytest.mark.parametrize("build", BUILDS)
def test_constructors_take_what_they_are_given(build: str) -> None:
    """Each is refused for the one reason that there is no card, not for its arguments."""
    code = (
        "import faiss\n"
        "from index.card_kinds import GpuBuild, CARD_KINDS\n"
        "build = GpuBuild()\n"
        "assert build.num_cards() == 0 and 'finds no GPU' in build.why_none(), build.why_none()\n"
        "for kind in CARD_KINDS:\n"
        "    try:\n"
        "        build.make(kind, 0, dim=256, num_vectors=10_000)\n"
        "    except RuntimeError as error:\n"
        "        print(kind, ' '.join(str(error).split()))\n"
    )
    ran = run(home_of(build), "-c", code)
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert "Invalid GPU device 0" in said["flat"]
    assert "Invalid GPU device 0" in said["ivf-pq"]
    has_cagra = build == "faiss-gpu-cuvs"
    assert ("Invalid GPU device 0" if has_cagra else "has no CAGRA") in said["cagra"]


@pytest.mark.parametrize("build", BUILDS)
def test_the_cpu_s_part_passes_its_tests(build: str) -> None:
    """Exact search, candidates, filters and what a card leaves to the CPU, with this build in place of faiss-cpu."""
    files = ["test_cards.py", "test_obedience.py"] + (["test_candidates.py"] if build == "faiss-gpu" else [])
    ran = run(home_of(build), "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/unit/index/{f}" for f in files))
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
