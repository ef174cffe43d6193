"""Does a manifest fit itself? What can be told from the manifest alone, before a graph is opened."""

from collections.abc import Iterable, Iterator

from runtime.bundle.digest import space_of
from runtime.bundle.manifest import Graph, GraphName, Manifest, TensorSpec

_INPUTS = {
    "image_encoder": ("pixels",),
    "text_encoder": ("ids", "mask"),
    "fusion": ("word_tokens", "mask", "patch_tokens"),
    "word_maps": ("word_tokens", "mask", "patch_tokens"),
    "proof_reader": ("ids", "mask", "image_levels", "image_summary"),
}
_NEEDED_OUTPUTS = {
    "image_encoder": ("image_embedding", "patch_tokens"),
    "text_encoder": ("text_embedding", "word_tokens"),
    "fusion": ("match",),
    "word_maps": ("word_maps",),
    "proof_reader": ("word_error", "correction_ids", "correction_scores"),
}


_REGIONS = ("region_boxes", "region_scores", "region_embeddings")
"""Outputs of a region head."""

_HANDED_ON: tuple[tuple[GraphName, GraphName, str], ...] = (
    ("fusion", "image_encoder", "patch_tokens"),
    ("fusion", "text_encoder", "word_tokens"),
    ("word_maps", "image_encoder", "patch_tokens"),
    ("word_maps", "text_encoder", "word_tokens"),
    ("proof_reader", "image_encoder", "image_levels"),
    ("proof_reader", "image_encoder", "image_summary"),
)
"""(graph, graph before it, tensor): what a graph takes from another."""


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Say what in a manifest contradicts the rest of it, a sentence each; a sound manifest gives none."""
    for role, graph in manifest.graphs.items():
        yield from _names(role, graph)
    image, text = manifest.graphs["image_encoder"], manifest.graphs["text_encoder"]
    side, patches = manifest.image.size_px, manifest.image.patch_rows * manifest.image.patch_columns
    dim = manifest.embedding_dim
    expected: list[tuple[str, Graph, str, int, int]] = [
        ("image_encoder", image, "pixels", 2, side),
        ("image_encoder", image, "pixels", 3, side),
        ("image_encoder", image, "image_embedding", 1, dim),
        ("image_encoder", image, "patch_tokens", 1, patches),
        ("image_encoder", image, "patch_embeddings", 2, dim),
        ("image_encoder", image, "image_levels", 2, patches),
        ("image_encoder", image, "codes", 1, patches),
        ("image_encoder", image, "region_boxes", 2, 4),
        ("image_encoder", image, "region_embeddings", 2, dim),
        ("text_encoder", text, "text_embedding", 1, dim),
    ]
    if maps := manifest.graphs.get("word_maps"):
        expected.append(("word_maps", maps, "word_maps", 2, patches))
    for name, graph, tensor, axis, size in expected:
        found = _size(graph, tensor, axis)
        if found is not None and found != size:
            yield f"{tensor} of {name} has {found} where the rest of the manifest says {size}"
    for taker, giver_name, tensor in _HANDED_ON:
        if taker not in manifest.graphs:
            continue
        giver = manifest.graphs[giver_name]
        if not giver.has_output(tensor):
            yield f"{giver_name} gives no {tensor}, which {taker} takes"
            continue
        given, taken = _shape(giver.outputs, tensor), _shape(manifest.graphs[taker].inputs, tensor)
        if len(given) != len(taken) or any(a != b for a, b in zip(given, taken, strict=True) if _are_fixed(a, b)):
            yield f"{giver_name} gives {tensor} of shape {_said(given)}, {taker} takes {_said(taken)}"
    counts = {count for name in _REGIONS if (count := _size(image, name, 1)) is not None}
    if len(counts) > 1 or any(image.has_output(name) for name in _REGIONS) != all(map(image.has_output, _REGIONS)):
        yield f"image_encoder gives {', '.join(_REGIONS)} together and equally many, or none of them"
    if space_of(manifest.graphs, manifest.text, manifest.image, manifest.files) != manifest.space:
        yield "its files do not make the space that it names"


def _names(name: str, graph: Graph) -> Iterator[str]:
    inputs = tuple(spec.name for spec in graph.inputs)
    if sorted(inputs) != sorted(_INPUTS[name]):
        yield f"{name} takes {', '.join(inputs) or 'nothing'} in place of {', '.join(_INPUTS[name])}"
    for output in _NEEDED_OUTPUTS[name]:
        if not graph.has_output(output):
            yield f"{name} gives no {output}"


def _shape(specs: Iterable[TensorSpec], tensor: str) -> tuple[int | str, ...]:
    return next((spec.shape for spec in specs if spec.name == tensor), ())


def _are_fixed(*sizes: int | str) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _said(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _size(graph: Graph, tensor: str, axis: int) -> int | None:
    """The size of a dimension where the tensor exists and the dimension is fixed."""
    for spec in (*graph.inputs, *graph.outputs):
        if spec.name == tensor and axis < len(spec.shape):
            size = spec.shape[axis]
            return size if isinstance(size, int) else None
    return None
