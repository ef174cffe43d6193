"""Moves a gallery to another model: every item is embedded again from what is stored of it, and then all at once.

The items' stored pictures (512 pixels at their longest side, unless more was kept) and texts are what the new vectors
are made from. Until the switch the gallery answers and takes writes as before; an item that is written meanwhile is
embedded again. The old vectors are kept: going back is another migration, to the old bundle, for which hardly anything
is left to do. Stopped or killed at any moment, it goes on where it was.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from index.features import PatchTokens, is_kept_to_proofread, keep
from index.gallery import Gallery, Move
from index.generations import Pending, Reembedded
from index.records import Target
from index.video import mean_embedding
from runtime.encoder import Encoder, Floats
from runtime.errors import GalleryError, VernierError
from runtime.preprocess.image import decode_image

Progress = Callable[[int, int], None]
"""Called with how many vectors are made and how many there will be."""

_MOST_NAMED = 10


@dataclass(slots=True, kw_only=True)
class Migration:
    """A migration to a bundle.

    Attributes:
        batch_size: items that are embedded together.
        share: share of the time that it works; in the rest it waits, so that searches beside it stay quick.
        progress: told after every batch.
        stop: set it to end the work after the batch in hand.
    """

    encoder: Encoder
    batch_size: int = 32
    share: float = 1.0
    progress: Progress | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _patch_tokens: PatchTokens = field(default="none", init=False)

    def run(self, gallery: Gallery, *, adopt: Callable[[Gallery], None] | None = None) -> Gallery:
        """Move a gallery, and return the gallery of the new space. The one that was given is closed with it.

        Args:
            gallery: open for writing. One that is of the bundle's space already is returned as it is.
            adopt: called with the gallery of the new space at the moment of the switch.

        Raises:
            GalleryError: `migration_incomplete`: items cannot be embedded by this bundle; the message names them.
                `migration_stopped`: `stop` was set. The gallery answers as before, and what is done is kept.
        """
        if gallery.space == self.encoder.space:
            return gallery
        self._patch_tokens = gallery.patch_tokens
        move = gallery.move_to(space=self.encoder.space, dim=self.encoder.dim)
        broken = self._embed_all(move)
        if broken:
            raise _incomplete(broken)
        return move.switch(lambda items: self._embedded(items, {}), adopt=adopt)

    def _embed_all(self, move: Move) -> dict[str, str]:
        """Embed what is not embedded yet; return id and reason of what cannot be."""
        done, total = move.progress()
        self._tell(done, total)
        broken: dict[str, str] = {}
        while items := move.pending(self.batch_size):
            started = time.monotonic()
            made = self._embedded(items, broken)
            move.put(made)
            done += sum(len(entry.vectors) for entry in made)
            self._tell(min(done, total), total)
            if self.stop.wait((time.monotonic() - started) * (1 / self.share - 1)):
                raise GalleryError("the migration was stopped; begun again it goes on.", code="migration_stopped")
        return broken

    def _embedded(self, items: Sequence[Pending], broken: dict[str, str]) -> list[Reembedded]:
        """Return the vectors of those items that can be embedded; note the others in `broken`."""
        pixels: list[Floats] = []
        texts: list[str] = []
        good: list[Pending] = []
        videos: dict[str, Floats] = {}
        for item in items:
            try:
                prepared = self._prepared(item)
                if item.frames and "image" in item.targets:
                    videos[item.id] = self._embedded_frames(item)
            except VernierError as error:
                broken[item.id] = str(error)
                continue
            good.append(item)
            pixels += [] if prepared is None else [prepared]
            texts += [item.text] if item.text is not None and "text" in item.targets else []
        to_proofread = is_kept_to_proofread(self.encoder, self._patch_tokens)
        found = self.encoder.embed_pixels(pixels, to_proofread=to_proofread)
        pictures = [item.picture for item in good if "image" in item.targets and item.picture is not None]
        kept = keep(self.encoder, found, pictures, self._patch_tokens)
        images = iter(zip(found.embedding, kept, strict=True))
        sentences = iter(self.encoder.embed_texts(texts).embedding if texts else ())
        made: list[Reembedded] = []
        for item in good:
            vectors: dict[Target, Floats] = {}
            features = None
            if "image" in item.targets:
                vectors["image"], features = next(images)
                if item.id in videos:
                    vectors["image"] = mean_embedding(videos[item.id])
            if "text" in item.targets:
                vectors["text"] = next(sentences)
            made.append(Reembedded(item=item, vectors=vectors, features=features, frames=videos.get(item.id)))
        return made

    def _embedded_frames(self, item: Pending) -> Floats:
        """Return the vectors of a video's frames: [frames, dim]."""
        size_px = self.encoder.manifest.image.size_px
        frames = [decode_image(jpeg, target_px=size_px) for jpeg in item.frames]
        return self.encoder.embed_pixels([self.encoder.image_input(frame) for frame in frames]).embedding

    def _prepared(self, item: Pending) -> Floats | None:
        """Return the pixels of an item's picture, if it has one.

        Raises:
            VernierError: the item cannot be embedded.
        """
        if "text" in item.targets:
            if item.text is None:
                raise GalleryError("its text was not stored, only its vector", code="migration_incomplete")
            self.encoder.text_transform.encode([item.text])
        if "image" not in item.targets:
            return None
        if item.picture is None:
            raise GalleryError("its picture was not stored, only its vector", code="migration_incomplete")
        image = decode_image(item.picture, target_px=self.encoder.manifest.image.size_px)
        return self.encoder.image_input(image)

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


def _incomplete(broken: dict[str, str]) -> GalleryError:
    named = "; ".join(f"{item_id}: {reason.rstrip('.')}" for item_id, reason in list(broken.items())[:_MOST_NAMED])
    more = f"; and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
    return GalleryError(
        f"{len(broken)} items cannot be embedded by the new model, and the gallery stays with the old one "
        f"({named}{more}). Delete them, or store them again with picture and text; then run the migration again.",
        code="migration_incomplete",
    )


def roll_back(gallery: Gallery, encoder: Encoder | None, *, progress: Progress | None = None) -> Gallery:
    """Move a gallery back to the model that it was moved from, and return the gallery of that space.

    Args:
        gallery: open for writing.
        encoder: of the model to go back to; not needed when no item was stored since.
        progress: told after every batch.

    Raises:
        GalleryError: `rollback_impossible`: there is nothing to go back to, or items were stored since and no
            encoder of that space was given.
    """
    other = gallery.standby()
    if other is None:
        raise GalleryError(
            "the gallery holds no vectors of an earlier model to go back to.", code="rollback_impossible"
        )
    if encoder is not None:
        if encoder.space != other.space:
            raise GalleryError(
                f"the gallery would go back to space {other.space}, and this bundle's is {encoder.space}.",
                code="rollback_impossible",
            )
        return Migration(encoder=encoder, progress=progress).run(gallery)
    move = gallery.move_to(space=other.space, dim=other.dim)
    if move.pending(1):
        raise GalleryError(
            f"items were stored since, and the model of space {other.space} must embed them: name its bundle too.",
            code="rollback_impossible",
        )
    return move.switch(lambda _: [])
