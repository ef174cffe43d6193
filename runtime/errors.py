"""Every error that Vernier raises on purpose.

VernierError
├── UsageError          the call itself is wrong (command line: exit status 2)
├── InputError          what the caller sent is wrong
│   ├── ImageError      image_undecodable, image_too_large
│   └── TextError       text_empty, text_too_long
├── BundleError         bundle_missing, bundle_invalid, bundle_damaged, bundle_too_new
│   └── GraphMissingError   graph_missing
├── EngineError         provider_unavailable, engine_failed
├── GalleryError        unknown_gallery, gallery_locked, gallery_damaged, space_mismatch, …
├── DataError           a dataset's file or line is wrong
└── ExportError         parity_failed, …

A message says what was wrong and what to do. `code` is stable: clients may compare it.
"""


class VernierError(Exception):
    """Base of every deliberate error.

    Attributes:
        code: a stable snake_case name of what happened.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class UsageError(VernierError):
    """An argument, option or setting that cannot be meant."""

    code = "usage"


class InputError(VernierError):
    """A picture or text that cannot be used."""

    code = "input_invalid"


class ImageError(InputError):
    """A picture that cannot be decoded (`image_undecodable`) or is larger than allowed (`image_too_large`)."""

    code = "image_undecodable"


class TextError(InputError):
    """A text with nothing in it (`text_empty`) or more than is accepted (`text_too_long`)."""

    code = "text_empty"


class BundleError(VernierError):
    """A bundle that is not there, not complete, damaged, or newer than this program."""

    code = "bundle_invalid"


class GraphMissingError(BundleError):
    """Something was asked for that needs a graph or output which this bundle does not have."""

    code = "graph_missing"


class EngineError(VernierError):
    """An engine that cannot be started on the provider asked for, or that failed while running."""

    code = "engine_failed"


class GalleryError(VernierError):
    """A gallery that is unknown, in use, damaged, or filled by another model."""

    code = "gallery_invalid"


class DataError(VernierError):
    """A dataset whose file or line cannot be used."""

    code = "data_invalid"


class ExportError(VernierError):
    """A checkpoint that could not be turned into a faithful bundle."""

    code = "export_failed"
