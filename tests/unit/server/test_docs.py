"""docs/http.md says what is: every code with its status, every setting with its default, every route."""

import pytest

from server.app import create_app
from server.errors import CODES
from server.settings import PREFIX, Settings
from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_listed(code: str) -> None:
    status, title = CODES[code]
    assert f"| {status} | `{code}` | {title} |" in DOCUMENT


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_listed(name: str) -> None:
    field = Settings.model_fields[name]
    default = "" if field.default in (None, ()) else f"`{field.default}`"
    assert f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |" in DOCUMENT


@pytest.mark.parametrize("path", list(create_app(Settings()).openapi()["paths"]))
def test_every_route_has_an_example(path: str) -> None:
    example = path.replace("{gallery}", "mugs").replace("{item}", "mug-1")
    assert f"$U{example}" in DOCUMENT
