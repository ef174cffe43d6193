"""The demo: the bundle that comes with the source, over a gallery of drawn scenes that is made when it is not there."""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BundleError, GalleryError

if TYPE_CHECKING:
    from index import NewItem
    from index.features import PatchTokens
    from runtime.encoder import Encoder
    from scenes import Scene
    from server.settings import Settings

Progress = Callable[[int, int], None]

SCENES = 600
_SEED = 1
_SIZE_PX = 192
_BATCH = 50
_MARKER = "demo.json"


def demo_bundle() -> Path:
    """Return the bundle used when none is named.

    That is `VERNIER_BUNDLE`, else bundles/demo of the source tree, else that of the working directory.

    Raises:
        BundleError: `bundle_missing`.
    """
    if named := os.environ.get("VERNIER_BUNDLE"):
        return Path(named)
    places = [Path(__file__).resolve().parent.parent / "bundles" / "demo", Path.cwd() / "bundles" / "demo"]
    for place in places:
        if (place / "manifest.json").is_file():
            return place
    raise BundleError(
        f"there is no demo bundle at {' or '.join(str(place) for place in dict.fromkeys(places))}; name a bundle with "
        "--bundle, or make it with `make demo-bundle`.",
        code="bundle_missing",
    )


def demo_settings(settings: "Settings", *, progress: Progress | None = None) -> "Settings":
    """Return settings that serve the demo bundle over the demo gallery, which is made when it is not there yet.

    Raises:
        BundleError: there is no demo bundle.
        GalleryError: the gallery cannot be made.
    """
    bundle = demo_bundle()
    root = settings.galleries_dir if _names_galleries(settings) else Path(".galleries") / "demo"
    demo_gallery(bundle, root=root, progress=progress)
    return settings.model_copy(update={"bundle": bundle, "galleries_dir": root})


def demo_gallery(bundle: Path, *, root: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the demo gallery for a bundle: `default` under `root`.

    It is drawn when nothing is there, and drawn again when a bundle of another space filled it. A gallery that was not
    made here is left as it is.

    Args:
        bundle: what embeds the scenes.
        root: directory of galleries; `VERNIER_GALLERIES_DIR`, or .galleries/demo in the working directory, when None.
        progress: called with (scenes done, scenes).

    Raises:
        BundleError: the bundle cannot be used.
        GalleryError: the gallery cannot be made, or is to be drawn again and is in use.
    """
    root = root or Path(os.environ.get("VERNIER_GALLERIES_DIR") or Path(".galleries") / "demo")
    place, marker = root / "default", root / _MARKER
    wanted = {"space": _space(bundle), "scenes": SCENES, "seed": _SEED, "size_px": _SIZE_PX}
    with _alone(root):
        if place.exists() and (not marker.exists() or _read(marker) == wanted):
            return place
        _refuse_in_use(place)
        staging = root / ".making" / "default"
        shutil.rmtree(staging.parent, ignore_errors=True)
        _fill(staging, bundle, progress)
        # Whenever this is interrupted, the next start sees a missing or an outdated gallery and draws it again.
        marker.write_text(json.dumps(wanted) + "\n")
        shutil.rmtree(place, ignore_errors=True)
        staging.rename(place)
        staging.parent.rmdir()
    return place


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the directory against another process that is making the same gallery."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise GalleryError(
            f"the demo gallery cannot be made in {root} ({error.strerror}); name a directory that can be written in "
            "VERNIER_GALLERIES_DIR.",
            code="gallery_read_only",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _refuse_in_use(place: Path) -> None:
    from index import open_folder

    try:
        open_folder(place).close()
    except GalleryError as error:
        if error.code == "gallery_locked":
            raise


def _names_galleries(settings: "Settings") -> bool:
    return "galleries_dir" in settings.model_fields_set


def _space(bundle: Path) -> str:
    """The bundle's space from its manifest alone: the files' digests are checked by whoever loads it."""
    try:
        return str(json.loads((bundle / "manifest.json").read_text())["space"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{bundle} holds no bundle whose manifest can be read ({error}).") from error


def _read(marker: Path) -> object:
    try:
        return json.loads(marker.read_text())
    except (OSError, ValueError):
        return None


def _fill(place: Path, bundle: Path, progress: Progress | None) -> None:
    from index import open_folder
    from runtime.encoder import Encoder

    encoder = Encoder.load(bundle)
    with open_folder(place, space=encoder.space, dim=encoder.dim, create=True) as gallery:
        done = 0
        for batch in _batches():
            gallery.upsert(_items(encoder, batch, gallery.patch_tokens, first=done))
            done += len(batch)
            if progress is not None:
                progress(done, SCENES)


def _batches() -> Iterator[list["Scene"]]:
    from scenes import generate

    for first in range(0, SCENES, _BATCH):
        numbers = range(first, min(first + _BATCH, SCENES))
        yield [generate(_SEED, number, split="test", size_px=_SIZE_PX) for number in numbers]


def _items(encoder: "Encoder", batch: list["Scene"], patch_tokens: "PatchTokens", *, first: int) -> list["NewItem"]:
    from index import NewItem, content_digest, thumbnail
    from index.features import is_kept_to_proofread, keep

    to_proofread = is_kept_to_proofread(encoder, patch_tokens)
    images = encoder.embed_images([scene.image for scene in batch], to_proofread=to_proofread)
    pictures = [thumbnail(scene.image) for scene in batch]
    kept = keep(encoder, images, pictures, patch_tokens)
    texts = encoder.embed_texts([scene.caption for scene in batch]).embedding
    return [
        NewItem(
            id=f"scene-{first + at:04d}",
            image_embedding=images.embedding[at],
            text_embedding=texts[at],
            text=scene.caption,
            metadata=_metadata(scene),
            picture=pictures[at],
            features=kept[at],
            content_digest=content_digest(picture=_png(scene), text=scene.caption),
        )
        for at, scene in enumerate(batch)
    ]


def _metadata(scene: "Scene") -> dict[str, Any]:
    return {
        "caption": scene.caption,
        "things": sum(thing.look.count for thing in scene.objects),
        "kinds": sorted({thing.kind for thing in scene.objects}),
        "colours": sorted({thing.colour for thing in scene.objects}),
    }


def _png(scene: "Scene") -> bytes:
    stream = io.BytesIO()
    scene.image.save(stream, "PNG")
    return stream.getvalue()
