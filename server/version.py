"""Which version of this program runs."""

from importlib.metadata import PackageNotFoundError, version


def version_of_vernier() -> str:
    """Return the version of this program."""
    try:
        return version("vernier")
    except PackageNotFoundError:
        return "unknown"
