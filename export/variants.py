"""The same graph at other precisions: fp16 for GPUs, int8 for CPUs.

- `fp16`: weights and arithmetic in half precision. Layer norms, soft-max, norms of vectors and what feeds on large
  numbers stay float32, with casts around them. Inputs and outputs stay float32: a bundle reads alike at any precision.
- `int8_dynamic`: weights of matrix products in int8 per column, activations quantised as they come. Needs no samples.
  Convolutions stay float32: ONNX Runtime's dynamic ones are slower than the float32 ones.
- `int8_static`: activations quantised with ranges seen on calibration samples, as Q/DQ pairs around products and
  convolutions; the form that TensorRT reads too.

Which of them a bundle gets is not decided here (`export.choose`).
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from export.canonical import name_standard_domain, save_canonical
from runtime.engines.protocol import Arrays
from runtime.errors import ExportError

Variant = Literal["fp32", "fp16", "int8_dynamic", "int8_static"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

_WIDE = (
    "LayerNormalization InstanceNormalization GroupNormalization Softmax LogSoftmax ReduceL2 ReduceSum ReduceMean "
    "LpNormalization Pow Sqrt Reciprocal Exp Log Range CumSum Clip Div TopK QuantizeLinear DequantizeLinear"
).split()
"""Operations that stay float32 in fp16: their sums and exponents run out of half precision's range or digits, or they
are defined for float32 alone at this opset (weights that come quantised)."""

_PRODUCTS = ["MatMul", "Gemm"]


def write_variant(variant: Variant, source: Path, out: Path, *, samples: Sequence[Arrays] = ()) -> None:
    """Write a graph at another precision.

    Args:
        variant: any but `fp32`.
        source: the float32 graph.
        out: where the variant goes.
        samples: inputs of the graph that are like those it will get, one batch each; `int8_static` needs them.

    Raises:
        ExportError: `precision_unsupported` when the graph cannot be expressed at that precision.
    """
    write = {"fp16": _write_fp16, "int8_dynamic": _write_dynamic, "int8_static": _write_static}[variant]
    try:
        with _quiet():
            write(source, out, samples)
    except Exception as error:  # the converters raise almost anything
        raise ExportError(
            f"{source.name} cannot be expressed as {variant}: {error}", code="precision_unsupported"
        ) from error
    save_canonical(onnx.load(out), out)


def _write_fp16(source: Path, out: Path, samples: Sequence[Arrays]) -> None:
    del samples
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(_read(source), keep_io_types=True, op_block_list=_WIDE)
    # The converter (ONNX Runtime 1.31) writes the cast of a value once per operation that reads it, under one name.
    once = list({tuple(node.output): node for node in reversed(model.graph.node)}.values())[::-1]
    del model.graph.node[:]
    model.graph.node.extend(once)
    OnnxModel.graph_topological_sort(model.graph)
    onnx.save(model, out)


def _write_dynamic(source: Path, out: Path, samples: Sequence[Arrays]) -> None:
    del samples
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(_read(source), out, op_types_to_quantize=_PRODUCTS, per_channel=True, weight_type=QuantType.QInt8)


def _write_static(source: Path, out: Path, samples: Sequence[Arrays]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if not samples:
        raise ValueError("it needs calibration samples")
    quantize_static(
        _read(source),
        out,
        _Reader(samples),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*_PRODUCTS, "Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": False},
    )


def _read(source: Path) -> onnx.ModelProto:
    """The graph without remembered shapes: the exporter's are sometimes wrong, and the quantiser trusts them."""
    model = onnx.load(source)
    del model.graph.value_info[:]
    name_standard_domain(model)
    return model


class _Reader:
    """Hands the calibration samples to ONNX Runtime one after the other."""

    def __init__(self, samples: Sequence[Arrays]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The next inputs, or None at the end."""
        sample = next(self._samples, None)
        return None if sample is None else dict(sample)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice is on steps that are taken elsewhere."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
