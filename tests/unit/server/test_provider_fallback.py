"""What was asked for and cannot be had: the start fails, or, where it is allowed, a fallback is told everywhere."""

import logging
from pathlib import Path

import httpx
import pytest

from runtime.engines.onnx import available_providers
from runtime.errors import EngineError
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.unit.server.conftest import settings_for
from tests.unit.vernier.colour_bundle import write_colour_bundle

pytestmark = pytest.mark.skipif("cuda" in available_providers(), reason="this build of ONNX Runtime offers cuda")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


async def told_by(settings: Settings) -> tuple[dict[str, object], str]:
    """What /info and /metrics of a started server say."""
    app = create_app(settings, service=Service(settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vernier") as client:
            return (await client.get("/info")).json(), (await client.get("/metrics")).text


def test_the_start_stops(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cuda was asked for") as caught:
        Service(settings_for(tmp_path, bundle=bundle, provider="cuda")).start()
    assert caught.value.code == "provider_unavailable"


async def test_an_allowed_fallback_is_in_the_log_in_info_and_in_a_metric(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(tmp_path, bundle=bundle, provider="cuda", provider_fallback=True)
    with caplog.at_level(logging.WARNING):
        info, metrics = await told_by(settings)
    assert "cuda was asked for, cpu runs" in str(info["provider_fallback"])
    assert "vernier_engine_fallback 1.0" in metrics
    assert "falling back to cpu" in caplog.text


async def test_without_one_there_is_nothing_to_tell(bundle: Path, tmp_path: Path) -> None:
    info, metrics = await told_by(settings_for(tmp_path, bundle=bundle, provider="cpu"))
    assert info.get("provider_fallback") is None
    assert "vernier_engine_fallback 0.0" in metrics
