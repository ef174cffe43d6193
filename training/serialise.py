"""Configs as JSON and back.

Each nested dataclass is written with its `kind` (`module:Class`), so that a checkpoint says by itself how to build its
model. Reading back only follows names inside the `training` package, and an unknown field is an error that names the
nearest known one.
"""

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from runtime.errors import DataError

KIND = "kind"


def to_json(value: object) -> Any:  # noqa: ANN401 - JSON is any of several types
    """A config as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {KIND: f"{type(value).__module__}:{type(value).__qualname__}", **fields}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a config cannot hold a {type(value).__name__}")


def from_json(value: Any) -> Any:  # noqa: ANN401
    """What `to_json` wrote, as a config again; lists come back as tuples.

    Raises:
        DataError: a kind outside `training`, or a field that the kind does not have.
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if isinstance(value, Mapping):
        return _config(value)
    return value


def _config(value: Mapping[str, Any]) -> object:
    kind = _kind(str(value.get(KIND, "")))
    known = {field.name for field in dataclasses.fields(kind)}
    given = {name: from_json(item) for name, item in value.items() if name != KIND}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{kind.__name__} has no field {name!r}.{hint}", code="config_invalid")
    return kind(**given)


def _kind(name: str) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    if module_name.split(".")[0] != "training":
        raise DataError(f"{name!r} is no config of this program.", code="config_invalid")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise DataError(f"this program has no config {name!r}.", code="config_invalid") from error
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise DataError(f"{name!r} is no config.", code="config_invalid")
    return kind
