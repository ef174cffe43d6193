"""What the OpenAPI document says of bodies that are read by hand, because they come in two forms."""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.errors import PROBLEM_TYPE
from server.schemas.common import Problem
from server.schemas.galleries import BulkItem, BulkPart, ItemRequest

_REFERENCE = "#/components/schemas/{model}"
_documented: list[type[BaseModel]] = []


def body_of(model: type[BaseModel], *, multipart: bool = False) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a JSON body, and for its form with a file when `multipart`."""
    if model not in _documented:
        _documented.append(model)
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if multipart:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {"request": schema, "image": {"type": "string", "format": "binary"}},
                "additionalProperties": False,
            },
            "encoding": {"request": {"contentType": "application/json"}},
        }
    return {"requestBody": {"required": True, "content": content}}


def item_body() -> dict[str, Any]:
    """Return the `openapi_extra` of an item's body: JSON, or a form with its picture."""
    extra = body_of(ItemRequest)
    extra["requestBody"]["content"]["multipart/form-data"] = {
        "schema": {
            "type": "object",
            "properties": {
                "image": {"type": "string", "format": "binary"},
                "metadata": {"type": "object"},
                "text": {"type": "string"},
            },
            "additionalProperties": False,
        },
        "encoding": {"metadata": {"contentType": "application/json"}},
    }
    return extra


def bulk_body() -> dict[str, Any]:
    """Return the `openapi_extra` of a bulk write: lines of JSON, or a form with files."""
    lines = body_of(BulkItem)["requestBody"]["content"]["application/json"]
    parts = body_of(BulkPart)["requestBody"]["content"]["application/json"]["schema"]
    form = {
        "schema": {
            "type": "object",
            "properties": {"items": {"type": "array", "items": parts}},
            "additionalProperties": {"type": "string", "format": "binary"},
        },
        "encoding": {"items": {"contentType": "application/json"}},
    }
    return {"requestBody": {"required": True, "content": {"application/x-ndjson": lines, "multipart/form-data": form}}}


def install(app: FastAPI) -> None:
    """Make the application's document complete."""
    build = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            documented: list[type[BaseModel]] = [*_documented, Problem]
            models: list[tuple[type[BaseModel], Literal["validation"]]]
            models = [(model, "validation") for model in documented]
            _, extra = models_json_schema(models, ref_template=_REFERENCE)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(extra.get("$defs", {}))
            _add_problems(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _add_problems(document: dict[str, Any]) -> None:
    problem = {
        "description": "What went wrong; `code` is stable.",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}},
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
