"""What a command says when the packages it needs are not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import VernierError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Wrap the imports of a stage that an extra brings.

    Raises:
        VernierError: `extra_missing`, naming the package that is missing and how it is installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise VernierError(
            f"this needs {error.name}, which is not installed; the extra `{extra}` brings it: "
            f"pip install 'vernier[{extra}]'",
            code="extra_missing",
        ) from error
