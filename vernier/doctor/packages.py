"""The compiled packages: which build is installed, and whether it does what it is for."""

from collections.abc import Iterator
from typing import Any

from runtime.errors import VernierError
from vernier.doctor.finding import Finding
from vernier.doctor.machine import has_gpu

_SERVING = "install what serving needs again: pip install --force-reinstall -r requirements/serve.txt"
_GPU_BUILDS = "pip uninstall onnxruntime faiss-cpu, then pip install -r requirements/gpu.txt"


def onnx_runtime() -> Iterator[Finding]:
    """Look which providers ONNX Runtime has."""
    try:
        import onnxruntime

        from runtime.engines.onnx import available_providers

        providers = available_providers()
        version = onnxruntime.__version__
    except ImportError as error:
        yield Finding(what="onnxruntime", state="wrong", found=str(error), remedy=_SERVING)
        return
    misses_gpu = has_gpu() and "cuda" not in providers
    yield Finding(
        what="onnxruntime",
        state="note" if misses_gpu else "good",
        found=f"{version}, providers {', '.join(providers)}",
        remedy=f"there is a GPU and this build does not use it: {_GPU_BUILDS}" if misses_gpu else "",
    )


def tensorrt_libraries() -> Iterator[Finding]:
    """TensorRT matters where there is a GPU; elsewhere nothing is said of it."""
    if not has_gpu():
        return
    try:
        from runtime.engines.cuda import compute_capability
        from runtime.engines.tensorrt import tensorrt

        version, capability = tensorrt().__version__, compute_capability()
    except (ImportError, VernierError) as error:
        yield Finding(
            what="tensorrt",
            state="note",
            found=str(error),
            remedy="only the provider `tensorrt` needs it; cuda does not",
        )
        return
    yield Finding(
        what="tensorrt",
        state="good",
        found=f"{version}, compute capability {capability}: `vernier engines` can build here",
    )


def faiss_build() -> Iterator[Finding]:
    """Look whether FAISS finds a vector among others, and whether its build uses a GPU that is there."""
    try:
        import faiss

        says = f"{faiss.__version__} ({faiss.get_compile_options().strip()}), GPUs: {faiss.get_num_gpus()}"
        works = _finds(faiss)
    except Exception as error:  # a build for another processor or numpy fails in its own ways
        yield Finding(what="faiss", state="wrong", found=f"{type(error).__name__}: {error}", remedy=_SERVING)
        return
    if not works:
        yield Finding(what="faiss", state="wrong", found=f"{says}; it does not find what it holds", remedy=_SERVING)
        return
    misses_gpu = has_gpu() and not hasattr(faiss, "StandardGpuResources")
    yield Finding(
        what="faiss",
        state="note" if misses_gpu else "good",
        found=says,
        remedy=f"there is a GPU and galleries are searched on the CPU: {_GPU_BUILDS}" if misses_gpu else "",
    )


def _finds(faiss: Any) -> bool:  # noqa: ANN401  a module
    import numpy as np

    vectors = np.eye(16, dtype=np.float32)
    index = faiss.IndexFlatIP(16)
    index.add(vectors)
    return bool((index.search(vectors, 1)[1][:, 0] == np.arange(16)).all())
