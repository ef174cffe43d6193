"""What the OpenAPI document says of bodies that are read by hand, because they come in two forms."""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.errors import PROBLEM_TYPE
from server.schemas.common import Problem
from server.schemas.galleries import BulkItem, BulkPart, ItemRequest

_REFERENCE = "#/components/schemas/{model}"
_PICTURE = {"type": "string", "format": "binary"}
_WITH_PICTURE = "only when the body is a picture (`image/*`); else a field of the body"
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
        content["image/*"] = {"schema": _PICTURE}
        return {"requestBody": {"required": True, "content": content}, "parameters": _parameters(model)}
    return {"requestBody": {"required": True, "content": content}}


def picture_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes JSON or one picture, which needs no fields beside it."""
    extra = body_of(model)
    extra["requestBody"]["content"]["image/*"] = {"schema": _PICTURE}
    return extra


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return a model's fields as parameters of the query string, for when the body is a picture."""
    properties = model.model_json_schema(ref_template=_REFERENCE)["properties"]
    return [
        {"name": name, "in": "query", "description": _WITH_PICTURE, **_parameter(schema)}
        for name, schema in properties.items()
        if name != "image"
    ]


def _parameter(schema: dict[str, Any]) -> dict[str, Any]:
    shapes = [schema, *schema.get("anyOf", ())]
    if any(shape.get("type") == "object" for shape in shapes):
        return {"content": {"application/json": {"schema": schema}}}
    return {"schema": schema}


def item_body() -> dict[str, Any]:
    """Return the `openapi_extra` of an item's body: JSON, or a form with its picture."""
    extra = body_of(ItemRequest)
    extra["requestBody"]["content"]["image/*"] = {"schema": _PICTURE}
    extra["parameters"] = _parameters(ItemRequest)
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
