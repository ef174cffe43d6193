"""Every TensorRT name that is used exists in the bindings of 10.16 and of 11, and every CUDA name in cuda-bindings.

TensorRT's libraries cannot be installed without NVIDIA's index, but its Python bindings are ordinary wheels. They
import once the three libraries that they link to are there; here those are empty shells made by gcc. Nothing can be
built with them, but every class and method can be looked at.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("10.16.1.11", "11.4.0.106")
SOURCES = ("runtime/engines/tensorrt.py", "export/tensorrt.py")

HOLDS = {
    "trt": None,
    "logger": "Logger",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "parser": "OnnxParser",
    "timing": "ITimingCache",
    "context": "IExecutionContext",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
}
"""What the variables of the two files hold; None is the module itself."""

LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
NOT_ASSEMBLED = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")

LOOK = """
import json, tensorrt_bindings as t
kinds = [n for n in dir(t) if isinstance(getattr(t, n), type)]
print(json.dumps({"": dir(t), **{n: dir(getattr(t, n)) for n in kinds}}))
"""


def uses(source: str) -> set[tuple[str | None, str]]:
    """Every (class, name) that a file asks of TensorRT; of names with dots, such as `Logger.WARNING`, each step."""
    found: set[tuple[str | None, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        holder = ast.unparse(node.value)
        if holder in HOLDS:
            found.add((HOLDS[holder], node.attr))
        elif holder.startswith("trt."):
            found.add((holder.removeprefix("trt."), node.attr))
    return found


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vernier-tests" / "tensorrt"


def unpacked(version: str) -> Path:
    """The bindings of a version with shells for their libraries, fetched once."""
    folder = cache() / version
    if (folder / "ready").is_file():
        return folder
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("gcc and nm are needed to stand in for TensorRT's libraries")
    partial = folder.with_name(f".{version}-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        got = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
             "--dest", str(partial), f"tensorrt-cu13-bindings=={version}"],
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        wheels = list(partial.glob("*.whl"))
        if got.returncode != 0 or not wheels:
            pytest.skip(f"the bindings of TensorRT {version} cannot be had: {got.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(partial)
        wheels[0].unlink()
        stand_in(partial, version.split(".")[0])
        (partial / "ready").touch()
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def stand_in(folder: Path, major: str) -> None:
    """Make the libraries that the bindings link to, every function of them returning null."""
    binding = folder / "tensorrt_bindings" / "tensorrt.so"
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(binding)], capture_output=True, text=True, check=True
    ).stdout
    symbols = sorted(
        name
        for name in (line.split()[-1] for line in listed.splitlines())
        if "INTERNAL" in name or "PluginRegistry" in name or "initLib" in name or "ParserVersion" in name
        if not any(f"@{library}" in name for library in NOT_ASSEMBLED)
    )
    lines = [".text"]
    for symbol in symbols:
        lines += [f".globl {symbol}", f".type {symbol},@function", f"{symbol}: xorl %eax,%eax", " ret"]
    lines.append('.section .note.GNU-stack,"",@progbits')
    (folder / "shell.s").write_text("\n".join(lines) + "\n")
    for library in LIBRARIES:
        name = f"{library}.so.{major}"
        subprocess.run(
            ["gcc", "-shared", "-o", str(folder / name), f"-Wl,-soname,{name}", str(folder / "shell.s")], check=True
        )


@pytest.fixture(scope="module", params=VERSIONS)
def names(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Class to its names, of the real bindings; the module's own under an empty name."""
    folder = unpacked(request.param)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    ran = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def missing(asked: set[tuple[str | None, str]], names: dict[str, list[str]]) -> list[str]:
    return sorted(f"{kind or 'tensorrt'}.{name}" for kind, name in asked if name not in names.get(kind or "", []))


@pytest.mark.parametrize("source", SOURCES)
def test_every_name_exists(source: str, names: dict[str, list[str]]) -> None:
    asked = uses((ROOT / source).read_text())
    assert len(asked) >= 10, "the variables that hold TensorRT's objects were renamed; say so in HOLDS"
    assert missing(asked, names) == []


def test_what_was_removed_in_11_would_be_found(names: dict[str, list[str]]) -> None:
    """The check can fail: a made-up name is missing everywhere, and a name of 10 alone is missing in 11."""
    asked = uses("config.int8_calibrator = 1\nbuilder.build_everything()\ntrt.BuilderFlag.FP16")
    assert asked == {("IBuilderConfig", "int8_calibrator"), ("Builder", "build_everything"), (None, "BuilderFlag"),
                     ("BuilderFlag", "FP16")}  # fmt: skip
    found = missing(asked, names)
    assert "Builder.build_everything" in found
    is_eleven = "device_memory_size" not in names["ICudaEngine"]
    assert ("BuilderFlag.FP16" in found) == is_eleven
    assert ("IBuilderConfig.int8_calibrator" in found) == is_eleven


def test_every_cuda_name_exists() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    source = (ROOT / "runtime/engines/cuda.py").read_text()
    asked = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("cuda", "self._cuda")
    }
    assert len(asked) >= 15
    assert sorted(name for name in asked if not hasattr(runtime, name)) == []
    for enum, names in {
        "cudaMemcpyKind": ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"),
        "cudaStreamCaptureMode": ("cudaStreamCaptureModeThreadLocal",),
        "cudaDeviceAttr": ("cudaDevAttrComputeCapabilityMajor", "cudaDevAttrComputeCapabilityMinor"),
        "cudaError_t": ("cudaSuccess",),
    }.items():
        assert all(name in source and hasattr(getattr(runtime, enum), name) for name in names)
