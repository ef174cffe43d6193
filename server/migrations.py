"""Moving galleries to other models while they are served: one thread for each gallery that is on its way.

At the switch a gallery and its model change together, in one assignment: a request that has begun keeps the pair it
began with, and the next one gets the new pair.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from index import Gallery
from index.migrate import Migration
from runtime.encoder import Encoder
from runtime.errors import GalleryError, VernierError
from server.galleries import Galleries
from server.models import Model, Models

State = Literal["running", "done", "stopped", "failed"]

_BATCH_SIZE = 8  # small, so that searches beside it wait for little
_SHARE = 0.5
_CLOSING_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Course:
    """How far a migration is.

    Attributes:
        bundle: name of the bundle that the gallery is moved to.
        done: vectors that are made.
        total: vectors that there will be.
        error: why it failed or stopped.
    """

    bundle: str
    state: State = "running"
    done: int = 0
    total: int = 0
    error: VernierError | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Migrations:
    """The migrations of a server, those that have ended included."""

    def __init__(self, galleries: Galleries, models: Models) -> None:
        self._galleries = galleries
        self._models = models
        self._courses: dict[str, Course] = {}
        self._lock = threading.Lock()

    def of(self, gallery: str) -> Course | None:
        """Return the last migration of a gallery since the server started."""
        return self._courses.get(gallery)

    def start(self, gallery: str, bundle: str) -> Course:
        """Begin to move a gallery to a bundle of the operator's folder; one that is at it already goes on.

        Raises:
            GalleryError: `unknown_gallery`, `gallery_read_only`, `migration_running` to another bundle.
            BundleError: `unknown_bundle`, or the bundle cannot be served.
        """
        return self._start(gallery, bundle, lambda: self._models.named(bundle))

    def roll_back(self, gallery: str) -> Course:
        """Begin to move a gallery back to the model that it was moved from; raises as `start`.

        Raises:
            GalleryError: `rollback_impossible`.
        """
        other = self._galleries.get(gallery).standby()
        if other is None:
            raise GalleryError(
                f"gallery '{gallery}' holds no vectors of an earlier model to go back to.", code="rollback_impossible"
            )
        model = self._models.find(other.space)
        if model is None:
            raise GalleryError(
                f"no bundle in VERNIER_BUNDLES_DIR makes vectors of space {other.space}, to which gallery '{gallery}' "
                "would go back.",
                code="rollback_impossible",
            )
        return self._start(gallery, model.engines.encoder.manifest.name, lambda: model)

    def stop(self, gallery: str) -> None:
        """Stop a migration if one runs, and wait until it has; what it did is kept."""
        course = self._courses.get(gallery)
        if course is not None and course.thread is not None:
            course.stop.set()
            course.thread.join(_CLOSING_S)

    def close(self) -> None:
        """Stop every migration."""
        for gallery in list(self._courses):
            self.stop(gallery)

    def _start(self, gallery: str, bundle: str, model: Callable[[], Model]) -> Course:
        opened = self._galleries.get(gallery)
        if opened.read_only:
            raise GalleryError(
                f"another process writes in gallery '{gallery}'; ask that one to move it.", code="gallery_read_only"
            )
        with self._lock:
            running = self._courses.get(gallery)
            if running is not None and running.state == "running":
                if running.bundle == bundle:
                    return running
                raise GalleryError(
                    f"gallery '{gallery}' is being moved to bundle '{running.bundle}'; stop that first.",
                    code="migration_running",
                )
            engines = model().engines
            course = Course(bundle)
            course.thread = threading.Thread(
                target=self._run,
                args=(gallery, opened, engines.encoder, course),
                name=f"migrate-{gallery}",
                daemon=True,
            )
            self._courses[gallery] = course
            course.thread.start()
            return course

    def _run(self, name: str, gallery: Gallery, encoder: Encoder, course: Course) -> None:
        def progress(done: int, total: int) -> None:
            course.done, course.total = done, total

        migration = Migration(
            encoder=encoder, batch_size=_BATCH_SIZE, share=_SHARE, progress=progress, stop=course.stop
        )
        _note("migration_started", name, course)
        try:
            migration.run(gallery, adopt=lambda successor: self._galleries.replace(name, gallery, successor))
            course.state = "done"
            _note("migration_done", name, course)
        except VernierError as error:
            course.error = error
            course.state = "stopped" if error.code == "migration_stopped" else "failed"
            _note(f"migration_{course.state}", name, course, reason=str(error))
        except Exception:
            course.error = GalleryError("something went wrong; the log says what.", code="internal")
            course.state = "failed"
            _log.exception("migration failed", extra={"fields": {"event": "migration_failed", "gallery": name}})


def _note(event: str, gallery: str, course: Course, **more: str) -> None:
    fields = {"event": event, "gallery": gallery, "bundle": course.bundle, "vectors": course.done, **more}
    _log.log(logging.WARNING if "reason" in more else logging.INFO, event.replace("_", " "), extra={"fields": fields})
