"""A GPU that was asked for and is not there: the CPU searches, and the log, /info and a metric say so."""

import logging
from pathlib import Path

import pytest

from index.card_kinds import GpuBuild
from tests.unit.server.conftest import serving, settings_for

pytestmark = pytest.mark.skipif(GpuBuild().num_cards() > 0, reason="there is a GPU; tests/gpu uses it")


async def test_asked_for_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving(settings_for(tmp_path, gpu_search="cagra")) as client:
            told = (await client.get("/info")).json()["gpu_search"]
            metrics = (await client.get("/metrics")).text
    assert told == {"wanted": "cagra", "cards": 0, "fallback": GpuBuild().why_none()}
    assert "vernier_gpu_search_fallback 1.0" in metrics
    assert "event=gpu_search_fallback wanted=cagra" in caplog.text


@pytest.mark.parametrize("wanted", ["auto", "off"])
async def test_nothing_is_told_where_nothing_was_asked_for(tmp_path: Path, wanted: str) -> None:
    async with serving(settings_for(tmp_path, gpu_search=wanted)) as client:
        told = (await client.get("/info")).json()["gpu_search"]
        metrics = (await client.get("/metrics")).text
    assert told == {"wanted": wanted, "cards": 0, "fallback": None}
    assert "vernier_gpu_search_fallback 0.0" in metrics
