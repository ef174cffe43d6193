"""The doctor, with each thing made wrong for real: the finding names it, and says how to mend it."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from index import NewItem, content_digest, open_folder
from runtime.encoder import Encoder
from tests.unit.vernier.colour_bundle import write_colour_bundle
from tests.unit.vernier.conftest import Running
from vernier.doctor import Finding, examine, machine, packages, served

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours"
    write_colour_bundle(out)
    return out


@pytest.fixture
def gallery(bundle: Path, tmp_path: Path) -> Path:
    """A gallery of one text."""
    encoder = Encoder.load(bundle)
    place = tmp_path / "gallery"
    with open_folder(place, space=encoder.space, dim=encoder.dim, create=True) as opened:
        vector = encoder.embed_texts(["red"]).embedding[0]
        digest = content_digest(picture=None, text="red")
        opened.upsert([NewItem(id="red", text="red", text_embedding=vector, content_digest=digest)])
    return place


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place first on the path for an `nvidia-smi` as a machine in that state has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "nvidia-smi"


def write_tool(tool: Path, script: str) -> None:
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def only(findings: list[Finding], what: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.what == what]
    return finding


def test_nothing_is_wrong_where_nothing_is_wrong(bundle: Path, gallery: Path, unused_port: int) -> None:
    findings = examine(bundle=bundle, gallery=gallery, host="127.0.0.1", port=unused_port)
    assert [finding for finding in findings if finding.state == "wrong"] == []
    assert "1 items" in only(findings, "gallery").found
    assert only(findings, "port").state == "good"


def test_a_driver_that_does_not_fit_its_module(tool: Path) -> None:
    write_tool(tool, 'echo "Failed to initialize NVML: Driver/library version mismatch" >&2; exit 18')
    (finding,) = machine.gpu()
    assert finding.state == "note"
    assert "Driver/library version mismatch" in finding.found
    assert "reboot" in finding.remedy


def test_a_driver_that_cannot_be_asked(tool: Path) -> None:
    write_tool(tool, "exit 9")
    (finding,) = machine.gpu()
    assert "ended with 9" in finding.found
    assert finding.remedy


def test_a_gpu_that_the_builds_do_not_use(tool: Path) -> None:
    write_tool(tool, 'echo "NVIDIA L4, 570.86, 23034 MiB, 8.9"')
    (card,) = machine.gpu()
    assert (card.state, card.what) == ("good", "gpu 0")
    assert "compute capability 8.9" in card.found
    for (finding,) in (packages.onnx_runtime(), packages.faiss_build()):
        if finding.state == "note":  # a machine with the GPU's builds has nothing to mend
            assert "requirements/gpu.txt" in finding.remedy
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert only(list(packages.onnx_runtime()), "onnxruntime").state == "note"


@pytest.mark.parametrize(
    ("module", "check", "content", "said"),
    [
        ("faiss", "faiss_build", "raise ImportError('libfaiss.so: cannot open shared object file')", "libfaiss.so"),
        ("faiss", "faiss_build", "raise RuntimeError('this build needs AVX512')", "AVX512"),
        ("faiss", "faiss_build", "__version__ = '1'", "AttributeError"),
        ("onnxruntime", "onnx_runtime", "raise ImportError('DLL load failed')", "DLL load failed"),
    ],
)
def test_a_package_whose_build_does_not_work(tmp_path: Path, module: str, check: str, content: str, said: str) -> None:
    (tmp_path / f"{module}.py").write_text(content + "\n")
    code = f"from vernier.doctor import packages\nfor f in packages.{check}(): print(f.state, f.found, '->', f.remedy)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout.startswith("wrong "), ran.stderr
    assert said in ran.stdout
    assert "requirements/serve.txt" in ran.stdout


def test_a_faiss_that_finds_something_else(tmp_path: Path) -> None:
    (tmp_path / "faiss.py").write_text(
        "import numpy as np\n__version__ = '1'\n"
        "def get_compile_options(): return 'GENERIC'\ndef get_num_gpus(): return 0\n"
        "class IndexFlatIP:\n    def __init__(self, dim): pass\n    def add(self, vectors): pass\n"
        "    def search(self, vectors, k): return None, np.zeros((len(vectors), 1), int)\n"
    )
    code = "from vernier.doctor import packages\nprint(next(packages.faiss_build()))"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "does not find what it holds" in ran.stdout, ran.stderr


def test_a_provider_that_this_machine_does_not_have(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has CUDA")
    monkeypatch.setenv("VERNIER_PROVIDER", "cuda")
    (finding,) = served.bundle(bundle)
    assert (finding.what, finding.state) == ("provider", "wrong")
    assert "VERNIER_PROVIDER=auto" in finding.remedy
    monkeypatch.setenv("VERNIER_PROVIDER_FALLBACK", "true")
    findings = list(served.bundle(bundle))
    assert only(findings, "bundle").state == "good"
    assert only(findings, "provider").state == "note"


def test_settings_that_cannot_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_PORT", "eight thousand")
    monkeypatch.setenv("VERNIER_BUNDLE_FOLDER", "misspelt")
    wrong, note = served.settings()
    assert (wrong.state, note.state) == ("wrong", "note")
    assert "VERNIER_PORT" in wrong.found
    assert "VERNIER_BUNDLE_FOLDER" in note.found
    assert "vernier serve --help" in wrong.remedy


@pytest.mark.parametrize("harm", ["missing", "flipped", "shortened", "no manifest"])
def test_a_bundle_that_is_not_whole(bundle: Path, tmp_path: Path, harm: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    file = broken / "text_encoder.onnx"
    data = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif harm == "shortened":
        file.write_bytes(data[:-10])
    else:
        (broken / "manifest.json").write_text("{")
    (finding,) = served.bundle(broken)
    assert (finding.what, finding.state) == ("bundle", "wrong")
    assert "text_encoder.onnx" in finding.found or "manifest" in finding.found
    assert "--bundle" in finding.remedy


def test_a_gallery_of_another_bundle(gallery: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_colour_bundle(other, turn=1)
    (finding,) = served.gallery(gallery, other)
    assert finding.state == "wrong"
    assert "another space" in finding.found
    assert "vernier index migrate" in finding.remedy


def test_a_gallery_that_is_not_there_and_one_that_is_damaged(gallery: Path, bundle: Path, tmp_path: Path) -> None:
    (missing,) = served.gallery(tmp_path / "nothing", bundle)
    assert missing.state == "wrong"
    assert "vernier index add" in missing.remedy
    file = gallery / "items.sqlite"
    file.write_bytes(b"x" * file.stat().st_size)
    (damaged,) = served.gallery(gallery, bundle)
    assert damaged.state == "wrong"
    assert "items.sqlite" in damaged.remedy


def test_a_port_that_somebody_has(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        (finding,) = served.port("127.0.0.1", somebody.getsockname()[1])
    assert finding.state == "wrong"
    assert "--port" in finding.remedy


def test_a_port_that_a_server_of_ours_has(server: Running) -> None:
    (finding,) = served.port("127.0.0.1", int(server.url.rpartition(":")[2]))
    assert finding.state == "note"
    assert "a Vernier server answers" in finding.found


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_this_machine_does_not_have(host: str, unused_port: int) -> None:
    (finding,) = served.port(host, unused_port)
    assert finding.state == "wrong"
    assert "--host" in finding.remedy


IN_ITS_OWN = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'


def test_a_disk_that_is_full_or_cannot_be_written(tmp_path: Path) -> None:
    """On real file systems, which only some machines let a test have."""
    within = ["unshare", "-Urm", "sh", "-c", IN_ITS_OWN, str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be made here")
    place = f"Path({str(tmp_path)!r})"
    look = f"from pathlib import Path; from vernier.doctor import machine; print(next(machine.disk({place})))"
    ran = subprocess.run([*within, sys.executable, "-c", look], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert "state='wrong'" in ran.stdout, ran.stderr
    assert "free some room" in ran.stdout
    read_only = ["sh", "-c", f'mount -t tmpfs -o size=3g,ro none "{tmp_path}" && exec "$@"', "sh"]
    ran = subprocess.run(
        [*within, *read_only, sys.executable, "-c", look], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert "state='note'" in ran.stdout, ran.stderr
    assert "cannot be written in" in ran.stdout
