"""Does a manifest fit itself? What can be told from the manifest alone, before a graph is opened."""

from collections.abc import Iterator

from runtime.bundle.digest import space_of
from runtime.bundle.manifest import Graph, Manifest

_INPUTS = {
    "image_encoder": ("pixels",),
    "text_encoder": ("ids", "mask"),
    "fusion": ("word_tokens", "mask", "patch_tokens"),
}
_NEEDED_OUTPUTS = {
    "image_encoder": ("image_embedding", "patch_tokens"),
    "text_encoder": ("text_embedding", "word_tokens"),
    "fusion": ("match",),
}


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
        ("text_encoder", text, "text_embedding", 1, dim),
    ]
    for name, graph, tensor, axis, size in expected:
        found = _size(graph, tensor, axis)
        if found is not None and found != size:
            yield f"{tensor} of {name} has {found} where the rest of the manifest says {size}"
    fusion = manifest.graphs.get("fusion")
    if fusion is not None:
        for name, giver, tensor in (("image_encoder", image, "patch_tokens"), ("text_encoder", text, "word_tokens")):
            given, taken = _size(giver, tensor, 2), _size(fusion, tensor, 2)
            if given != taken:
                yield f"{name} gives {tensor} of width {given}, fusion takes {taken}"
    if space_of(manifest.graphs, manifest.text, manifest.image, manifest.files) != manifest.space:
        yield "its files do not make the space that it names"


def _names(name: str, graph: Graph) -> Iterator[str]:
    inputs = tuple(spec.name for spec in graph.inputs)
    if sorted(inputs) != sorted(_INPUTS[name]):
        yield f"{name} takes {', '.join(inputs) or 'nothing'} in place of {', '.join(_INPUTS[name])}"
    for output in _NEEDED_OUTPUTS[name]:
        if not graph.has_output(output):
            yield f"{name} gives no {output}"


def _size(graph: Graph, tensor: str, axis: int) -> int | None:
    """The size of a dimension where the tensor exists and the dimension is fixed."""
    for spec in (*graph.inputs, *graph.outputs):
        if spec.name == tensor and axis < len(spec.shape):
            size = spec.shape[axis]
            return size if isinstance(size, int) else None
    return None
