"""The canonical form of a graph: the same weights and operations always give the same bytes.

Exporters write down where each operation came from: file names, line numbers, the exporter's version, names from a
counter. None of that is the model, but all of it would be in a file's digest, and so in the name of the embedding
space: the same checkpoint exported from another folder would refuse its own gallery.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto

_PRODUCER = "vernier"


def canonicalise(model: ModelProto) -> ModelProto:
    """Return the same graph without remarks, and with names that follow from its structure alone.

    Inputs and outputs keep their names. Shapes of values between operations are left out: whoever runs the graph works
    them out again.
    """
    plain = ModelProto()
    plain.CopyFrom(model)
    name_standard_domain(plain)
    plain.producer_name, plain.producer_version, plain.doc_string, plain.domain = _PRODUCER, "", "", ""
    plain.model_version = 0
    plain.graph.name = "graph"
    del plain.metadata_props[:]
    del plain.functions[:]
    opsets = sorted((opset for opset in plain.opset_import if _is_used(opset.domain, plain)), key=lambda o: o.domain)
    del plain.opset_import[:]
    plain.opset_import.extend(opsets)
    _name_anew(plain.graph, {}, "")
    return plain


def name_standard_domain(model: ModelProto) -> None:
    """Write ONNX's own domain in its shorter form, and once, which some tools look for; both forms are allowed."""
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        versions[domain] = max(opset.version, versions.get(domain, 0))
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    for graph in _graphs(model.graph):
        for node in graph.node:
            node.domain = "" if node.domain == "ai.onnx" else node.domain


def save_canonical(model: ModelProto, file: Path) -> None:
    """Write the canonical form, as bytes that depend on nothing else."""
    file.write_bytes(canonicalise(model).SerializeToString(deterministic=True))


def _is_used(domain: str, model: ModelProto) -> bool:
    return any(node.domain == domain for graph in _graphs(model.graph) for node in graph.node)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in _inner(node.attribute):
            yield from _graphs(inner)


def _inner(attributes: list[AttributeProto]) -> Iterator[GraphProto]:
    for attribute in attributes:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _name_anew(graph: GraphProto, outer: dict[str, str], prefix: str) -> None:
    """Give every value the name of the operation that makes it, and every weight that of the first that reads it."""
    names = dict(outer)
    kept = [*graph.input, *graph.output]
    names |= {value.name: value.name for value in kept} if not prefix else _numbered(kept, prefix)
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    for number, node in enumerate(graph.node):
        node.name = f"{prefix}{node.op_type}_{number}"
        node.doc_string = ""
        del node.metadata_props[:]
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        for attribute in attributes:
            attribute.doc_string = ""
        for at, name in enumerate(node.input):
            if name in weights and name not in names:
                names[name] = f"{node.name}/weight_{at}"
        for at, name in enumerate(node.output):
            if name and name not in names:
                names[name] = f"{node.name}/{at}"
        for at, inner in enumerate(_inner(attributes)):
            _name_anew(inner, names, f"{node.name}/{at}/")
        copied = [AttributeProto.FromString(attribute.SerializeToString()) for attribute in attributes]
        del node.attribute[:]
        node.attribute.extend(copied)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    used = [tensor for tensor in graph.initializer if tensor.name in names]
    for tensor in used:
        tensor.name = names[tensor.name]
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    ordered = sorted((_raw(tensor) for tensor in used), key=lambda tensor: tensor.name)
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    for value in kept:
        value.name = names[value.name]
        value.doc_string = ""
        del value.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    del graph.quantization_annotation[:]
    graph.doc_string = ""


def _numbered(values: list[onnx.ValueInfoProto], prefix: str) -> dict[str, str]:
    return {value.name: f"{prefix}value_{at}" for at, value in enumerate(values)}


def _raw(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The one way to hold numbers, of several that ONNX allows."""
    if tensor.HasField("raw_data") or tensor.data_type == onnx.TensorProto.STRING:
        return tensor
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
